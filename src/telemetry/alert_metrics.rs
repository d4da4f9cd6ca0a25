//! Which alerts are open and how telling of them goes, in the form that Prometheus reads.

use std::fmt;

use keepwell_jobs::{
    Care,
    alerts::{rules::RULES, telling::Receiver},
};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
};

use crate::alerts::AlertBoard;

/// Reads the board and the receivers' counters whenever somebody asks for metrics.
#[derive(Debug)]
pub(crate) struct AlertMetrics {
    pub(crate) care: Care,
    pub(crate) board: AlertBoard,
}

impl Collector for AlertMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Alerts that are open, on all nodes";
        let mut family = encoder.encode_descriptor("alerts_firing", help, None, MetricType::Gauge)?;
        for rule in RULES {
            let labels = [("rule", rule.name), ("severity", rule.severity.name())];
            ConstGauge::new(self.board.open(rule.name)).encode(family.encode_family(&labels)?)?;
        }
        let help = "Times that a receiver of alerts was told something, by what became of it";
        let mut family = encoder.encode_descriptor("alert_deliveries", help, None, MetricType::Counter)?;
        for (receiver, result, count) in self.counts() {
            let labels = [("receiver", receiver.name()), ("result", result)];
            ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
        }
        let help = "Times that something was said to have happened and nobody could hear it";
        let dropped = ConstCounter::new(self.care.alert_sink.dropped());
        dropped.encode(encoder.encode_descriptor("alert_events_dropped", help, None, MetricType::Counter)?)
    }
}

impl AlertMetrics {
    fn counts(&self) -> Vec<(Receiver, &'static str, u64)> {
        self.care
            .alerts
            .as_ref()
            .map(keepwell_jobs::outbound::alerts::AlertDelivery::counts)
            .unwrap_or_default()
    }
}
