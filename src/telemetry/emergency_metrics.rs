//! What is counted of emergencies, in the form that Prometheus reads.

use std::fmt;

use keepwell_jobs::{Care, care::emergency::SwitchName};
use keepwell_workers::clock::SharedClock;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
};

/// Reads the counters of care whenever somebody asks for metrics.
#[derive(Debug)]
pub(crate) struct EmergencyMetrics {
    pub(crate) care: Care,
    pub(crate) clock: SharedClock,
}

impl Collector for EmergencyMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Self { care, clock } = self;
        let tallies = &care.tallies;
        let [checked, missing, mended] = tallies.access();
        let counters = [
            ("emergency_access_activations", "Crises that opened emergency access", tallies.emergencies()),
            (
                "crisis_response_violations",
                "Crises that were not answered within their time",
                tallies.missed(),
            ),
            ("grace_period_activations", "Grace periods that have begun", tallies.graces()),
            ("crisis_granted_from_memory", "Times the basic set was granted from memory", tallies.granted()),
            (
                "contact_jobs_found_dead",
                "Jobs about emergency contacts that were found dead, having died elsewhere or before the start",
                tallies.contact_jobs_found_dead(),
            ),
            (
                "access_checked",
                "Times it was looked whether somebody in need has what that calls for",
                checked,
            ),
            ("access_missing", "Times somebody in need lacked something of it", missing),
            ("access_mended", "Times that could be mended at once", mended),
        ];
        for (name, help, count) in counters {
            let counter = ConstCounter::new(count);
            counter.encode(encoder.encode_descriptor(name, help, None, MetricType::Counter)?)?;
        }
        let switches = care.switches.last();
        let mut family = encoder.encode_descriptor(
            "emergency_switch_on",
            "Whether operators have switched it on",
            None,
            MetricType::Gauge,
        )?;
        for name in SwitchName::ALL {
            let on = u64::from(switches.on(name, clock.now_ms()).is_some());
            ConstGauge::new(on).encode(family.encode_family(&[("switch", name.name())])?)?;
        }
        Ok(())
    }
}
