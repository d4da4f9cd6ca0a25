//! What the receiver has counted, in the form that Prometheus reads.

use std::{fmt, sync::Arc};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Unit,
};

use crate::receiver::{
    refusal::Refusal,
    stats::{Histogram, ReceiverStats},
};

/// Reads the receiver's counters whenever somebody asks for metrics.
#[derive(Debug)]
pub(crate) struct WebhookMetrics(pub(crate) Arc<ReceiverStats>);

impl Collector for WebhookMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let stats = &*self.0;
        let counters = [
            ("requests", "Webhook requests of any kind", &stats.requests),
            ("valid", "Webhook requests whose signature was good and fresh", &stats.valid),
            ("recorded", "Events recorded for the first time", &stats.recorded),
            ("duplicates", "Events that had been recorded before", &stats.duplicates),
            ("unhandled", "Recorded events of a type that nobody handles", &stats.unhandled),
            ("set_aside", "Recorded events of another mode or account than expected", &stats.set_aside),
            ("crisis_exemptions", "Requests let in beyond the limits for a crisis", &stats.crisis_exemptions),
        ];
        let violations = ConstCounter::new(stats.violations());
        let help = "Webhook requests refused because they could not prove where they came from";
        let descriptor = encoder.encode_descriptor("security_violations", help, None, MetricType::Counter)?;
        violations.encode(descriptor)?;
        let last = stats.last_violation().map_or(0.0, |(_, at_ms)| at_ms as f64 / 1_000.0);
        let help = "When the last of them was refused, since the Unix epoch; 0 is never";
        let name = "security_last_violation_timestamp";
        ConstGauge::new(last).encode(encoder.encode_descriptor(
            name,
            help,
            Some(&Unit::Seconds),
            MetricType::Gauge,
        )?)?;
        for (name, help, counter) in counters {
            let name = format!("webhook_{name}");
            let counter = ConstCounter::new(counter.get());
            counter.encode(encoder.encode_descriptor(&name, help, None, MetricType::Counter)?)?;
        }
        let gauges = [
            ("connections", "Open connections of the public listener", stats.connections.get()),
            ("webhook_in_flight", "Webhooks being read and recorded", stats.in_flight.get()),
        ];
        for (name, help, value) in gauges {
            let gauge = ConstGauge::new(value as u64);
            gauge.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
        }
        encode_refusals(&mut encoder, stats)?;
        let validation = ("webhook_validation", "How long verifying a signature took");
        encode_histogram(&mut encoder, validation, &stats.validation)?;
        let answer = ("webhook_answer", "From a verified webhook's headers to its answer");
        encode_histogram(&mut encoder, answer, &stats.answers)
    }
}

fn encode_refusals(encoder: &mut DescriptorEncoder<'_>, stats: &ReceiverStats) -> fmt::Result {
    let mut family = encoder.encode_descriptor(
        "webhook_blocked",
        "Webhook requests refused, by reason",
        None,
        MetricType::Counter,
    )?;
    for reason in Refusal::ALL {
        let counter = ConstCounter::new(stats.blocked(reason));
        counter.encode(family.encode_family(&[("reason", reason.code())])?)?;
    }
    Ok(())
}

fn encode_histogram(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help): (&str, &str),
    histogram: &Histogram,
) -> fmt::Result {
    // Prometheus' own type cannot be filled from outside, so the buckets are encoded as they are.
    let buckets: Vec<(f64, u64)> = histogram
        .buckets()
        .map(|(edge_us, count)| (edge_us.map_or(f64::INFINITY, |us| us as f64 / 1_000_000.0), count))
        .collect();
    let count = buckets.iter().map(|(_, count)| count).sum();
    let mut metric = encoder.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Histogram)?;
    metric.encode_histogram::<NoLabelSet>(histogram.sum().as_secs_f64(), count, &buckets, None)
}

#[cfg(test)]
mod tests {
    use prometheus_client::{encoding::text::encode, registry::Registry};

    use super::*;

    #[test]
    fn every_refusal_has_a_line_from_the_first_scrape_on() {
        let mut registry = Registry::with_prefix("keepwell");
        registry.register_collector(Box::new(WebhookMetrics(Arc::new(ReceiverStats::new()))));
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for reason in Refusal::ALL {
            let line = format!("keepwell_webhook_blocked_total{{reason=\"{}\"}} 0\n", reason.code());
            assert!(text.contains(&line), "{line} in {text}");
        }
        for line in [
            "# TYPE keepwell_webhook_recorded counter\nkeepwell_webhook_recorded_total 0\n",
            "# TYPE keepwell_webhook_answer_seconds histogram\n",
            "keepwell_webhook_answer_seconds_bucket{le=\"0.025\"} 0\n",
            "keepwell_webhook_answer_seconds_bucket{le=\"+Inf\"} 0\n",
            "keepwell_connections 0\n",
            "keepwell_security_violations_total 0\n",
            "keepwell_security_last_violation_timestamp_seconds 0.0\n",
            "keepwell_webhook_requests_total 0\n",
            "keepwell_webhook_valid_total 0\n",
            "keepwell_webhook_validation_seconds_sum 0.0\n",
            "keepwell_webhook_validation_seconds_count 0\n",
            "keepwell_webhook_crisis_exemptions_total 0\n",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }
}
