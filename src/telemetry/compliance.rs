//! The figures of the compliance report about the last hour, in the form that Prometheus reads.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use keepwell_jobs::care::report::{crisis::CrisisReport, share::Status};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, gauge::ConstGauge},
};

/// What a report about an hour comes to.
#[derive(Debug, Clone, PartialEq)]
pub struct ComplianceFigures {
    /// What was measured, its share in percent (`None` where there was nothing to measure) and what it should be.
    shares: [(&'static str, Option<f64>, u64); 4],
    /// Crises that were answered.
    answered: u64,
    /// Crises that were answered late or not at all, and interruptions of care.
    violations: u64,
    /// Whether all of it is as it should be.
    status: Status,
}

impl ComplianceFigures {
    /// What `report` comes to.
    pub fn of(report: &CrisisReport) -> Self {
        let (times, therapeutic) = (&report.response_time_compliance, &report.therapeutic_access_compliance);
        let (emergency, audit) = (&report.emergency_access_compliance, &report.audit_compliance);
        Self {
            shares: [
                ("response_time", times.actual, times.target),
                ("therapeutic_access", therapeutic.actual, therapeutic.target),
                ("emergency_access", emergency.actual, emergency.target),
                ("audit", audit.actual, audit.target),
            ],
            answered: report.safety_metrics.crisis_events_handled,
            violations: report.safety_metrics.compliance_violations,
            status: report.overall_status,
        }
    }

    /// Whether something is not as it should be.
    pub fn is_wrong(&self) -> bool {
        self.status == Status::NonCompliant
    }

    /// The names of what falls short of its target.
    pub fn short(&self) -> Vec<&'static str> {
        let short = self
            .shares
            .iter()
            .filter(|(_, percent, target)| percent.is_some_and(|percent| percent < *target as f64));
        short.map(|(name, ..)| *name).collect()
    }
}

/// The figures that were made last.
#[derive(Debug, Clone, Default)]
pub struct Compliance(Arc<Mutex<Option<ComplianceFigures>>>);

impl Compliance {
    /// They are these from now on.
    pub fn set(&self, figures: ComplianceFigures) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(figures);
    }
}

/// Tells Prometheus the figures whenever it asks.
#[derive(Debug)]
pub(super) struct ComplianceMetrics(pub(super) Compliance);

impl Collector for ComplianceMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let figures = self.0.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(figures) = figures else { return Ok(()) };
        let ratios = [
            (
                "compliance_ratio",
                "The share of an hour's crises that was as it should be, by what was measured",
            ),
            ("compliance_target_ratio", "What that share should be at least"),
        ];
        for (place, (name, help)) in ratios.into_iter().enumerate() {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (figure, percent, target) in figures.shares {
                let percent = if place == 0 { percent } else { Some(target as f64) };
                let Some(percent) = percent else { continue };
                ConstGauge::new(percent / 100.0).encode(family.encode_family(&[("figure", figure)])?)?;
            }
        }
        for (name, help, count) in [
            ("compliance_crises", "Crises that were answered in an hour", figures.answered),
            (
                "compliance_violations",
                "Crises of an hour that were answered late or not at all, and interruptions of care",
                figures.violations,
            ),
        ] {
            let gauge = ConstGauge::new(count);
            gauge.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
        }
        Ok(())
    }
}
