//! What was asked of Stripe beside webhooks, in the form that Prometheus reads.

use std::{fmt, sync::Arc};

use keepwell_jobs::{Care, backfill::Taken, reconcile::Reconciled};
use keepwell_workers::clock::SharedClock;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
};

use crate::receiver::source::Source;

/// Reads the counters of care whenever somebody asks for metrics. Nothing is told if Stripe cannot be asked.
#[derive(Debug)]
pub(crate) struct StripeMetrics(pub(crate) Care);

impl Collector for StripeMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Care { stripe: Some(_), tallies, .. } = &self.0 else { return Ok(()) };
        let help = "Events that back-fills came upon, by what became of them";
        let mut family = encoder.encode_descriptor("stripe_backfilled", help, None, MetricType::Counter)?;
        for taken in Taken::ALL {
            let counter = ConstCounter::new(tallies.backfills(taken));
            counter.encode(family.encode_family(&[("result", taken.name())])?)?;
        }
        let help = "Subscriptions on Stripe's list, by how they compared with what is known";
        let mut family = encoder.encode_descriptor("stripe_reconciled", help, None, MetricType::Counter)?;
        for found in Reconciled::ALL {
            let counter = ConstCounter::new(tallies.reconciliations(found));
            counter.encode(family.encode_family(&[("result", found.name())])?)?;
        }
        Ok(())
    }
}

/// Reads how old the addresses are that Stripe publishes. Nothing is told if they do not count.
#[derive(Debug)]
pub(crate) struct AddressMetrics {
    pub(crate) source: Arc<Source>,
    pub(crate) clock: SharedClock,
}

impl Collector for AddressMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        if !self.source.published_only {
            return Ok(());
        }
        let published = self.source.published_networks();
        let count = published.as_ref().map_or(0, |published| published.networks.len() as i64);
        let help = "Addresses on the last good list that Stripe has published; 0 if anybody may try";
        let gauge = ConstGauge::new(count);
        gauge.encode(encoder.encode_descriptor("stripe_addresses", help, None, MetricType::Gauge)?)?;
        let Some(published) = published else { return Ok(()) };
        let help = "How old that list is";
        let age_ms = self.clock.now_ms().saturating_sub(published.fetched_ms).max(0);
        let gauge = ConstGauge::new(age_ms / 1_000);
        gauge.encode(encoder.encode_descriptor(
            "stripe_addresses_age_seconds",
            help,
            None,
            MetricType::Gauge,
        )?)
    }
}
