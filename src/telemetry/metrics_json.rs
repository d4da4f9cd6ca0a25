//! The metrics as JSON, in the names that FullMind's dashboards use. What is not measured is `null`, never a
//! guess.

use std::time::Duration;

use serde::Serialize;

use super::{
    crisis_times::{CrisisSummary, milliseconds},
    metrics::Metrics,
    process::ProcessUsage,
    success::Taken,
};
use crate::{
    api::instant::rfc3339,
    receiver::{refusal::Refusal, stats::ReceiverStats},
};

/// The whole document. Times are in milliseconds, shares go from 0 to 1.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct JsonMetrics {
    /// Since when the numbers have been counted, in seconds.
    uptime: f64,
    memory_usage: Option<f64>,
    avg_response_time: f64,
    security: SecurityMetrics,
    system_health: SystemHealthMetrics,
    crisis_safety: CrisisSafetyMetrics,
    performance: PerformanceMetrics,
    #[serde(flatten)]
    dashboard: Dashboard,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct SecurityMetrics {
    total_requests: u64,
    valid_requests: u64,
    blocked_requests: u64,
    average_validation_time: f64,
    crisis_exemptions: u64,
    /// The reasons for which unverified requests were refused.
    security_violations: Vec<&'static str>,
    /// The instant and the reason of the last one.
    last_security_event: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct SystemHealthMetrics {
    /// Verified webhooks per second since the start.
    webhook_processing_rate: f64,
    average_response_time: f64,
    error_rate: f64,
    crisis_response_compliance: f64,
    security_violations: u64,
    system_availability: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct CrisisSafetyMetrics {
    crisis_response_time: Vec<f64>,
    emergency_access_activations: Option<u64>,
    therapeutic_continuity_maintained: Option<u64>,
    grace_period_activations: Option<u64>,
    crisis_override_count: u64,
    hotline_integration_usage: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct PerformanceMetrics {
    /// Processors busy on average since the start; 2.0 is two whole ones.
    cpu_usage: Option<f64>,
    memory_usage: Option<f64>,
    network_latency: Option<f64>,
    #[serde(rename = "diskIOUtilization")]
    disk_io_utilization: Option<f64>,
    cache_hit_rate: Option<f64>,
    database_response_time: Option<f64>,
}

/// The names on the dashboard's panels.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
struct Dashboard {
    crisis_response_time_avg: Option<f64>,
    crisis_response_time_p95: Option<f64>,
    crisis_response_time_p99: Option<f64>,
    webhook_processing_time_avg: f64,
    webhook_success_rate: f64,
    webhook_failure_rate: f64,
    webhook_throughput: f64,
}

impl JsonMetrics {
    /// As `metrics` stand.
    pub fn of(metrics: &Metrics) -> Self {
        Self::from_parts(
            metrics.webhooks(),
            &metrics.crises(),
            metrics.process(),
            metrics.uptime(),
            metrics.crisis_resources_answered(),
            metrics.emergency_activations(),
        )
    }

    fn from_parts(
        stats: &ReceiverStats,
        crises: &CrisisSummary,
        process: ProcessUsage,
        uptime: Duration,
        hotline_integration_usage: u64,
        emergency_access_activations: Option<u64>,
    ) -> Self {
        let seconds = uptime.as_secs_f64().max(1.0);
        let rate = stats.valid.get() as f64 / seconds;
        let success = Taken::of(stats).share();
        let answer_ms = milliseconds(stats.answers.mean());
        let memory_usage = process.memory_share();
        Self {
            uptime: uptime.as_secs_f64(),
            memory_usage,
            avg_response_time: answer_ms,
            security: SecurityMetrics::of(stats),
            system_health: SystemHealthMetrics {
                webhook_processing_rate: rate,
                average_response_time: answer_ms,
                error_rate: 1.0 - success,
                crisis_response_compliance: crises.compliance,
                security_violations: stats.violations(),
                system_availability: success,
            },
            crisis_safety: CrisisSafetyMetrics {
                crisis_response_time: crises.sorted_ms.clone(),
                emergency_access_activations,
                therapeutic_continuity_maintained: None,
                grace_period_activations: None,
                crisis_override_count: stats.crisis_exemptions.get(),
                hotline_integration_usage,
            },
            performance: PerformanceMetrics {
                cpu_usage: process.cpu_seconds.map(|cpu| cpu / seconds),
                memory_usage,
                network_latency: None,
                disk_io_utilization: None,
                cache_hit_rate: None,
                database_response_time: None,
            },
            dashboard: Dashboard {
                crisis_response_time_avg: crises.mean_ms(),
                crisis_response_time_p95: crises.percentile_ms(0.95),
                crisis_response_time_p99: crises.percentile_ms(0.99),
                webhook_processing_time_avg: answer_ms,
                webhook_success_rate: success,
                webhook_failure_rate: 1.0 - success,
                webhook_throughput: rate,
            },
        }
    }
}

impl SecurityMetrics {
    fn of(stats: &ReceiverStats) -> Self {
        let last = stats.last_violation();
        Self {
            total_requests: stats.requests.get(),
            valid_requests: stats.valid.get(),
            blocked_requests: stats.blocked_total(),
            average_validation_time: milliseconds(stats.validation.mean()),
            crisis_exemptions: stats.crisis_exemptions.get(),
            security_violations: violations(stats).map(Refusal::code).collect(),
            last_security_event: last.map(|(reason, at_ms)| format!("{} {}", rfc3339(at_ms), reason.code())),
        }
    }
}

/// The reasons for which requests of unproved origin were refused at least once.
fn violations(stats: &ReceiverStats) -> impl Iterator<Item = Refusal> {
    Refusal::ALL.into_iter().filter(|reason| reason.is_violation() && stats.blocked(*reason) > 0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_document_has_the_names_of_the_dashboards_and_admits_what_it_does_not_know() {
        let crises = CrisisSummary { compliance: 0.5, last: Some((0, 300.0)), sorted_ms: vec![10.0, 300.0] };
        let process = ProcessUsage {
            resident_bytes: None,
            memory_used_bytes: Some(1),
            memory_total_bytes: Some(4),
            cpu_seconds: Some(5.0),
        };
        let metrics = JsonMetrics::from_parts(
            &ReceiverStats::new(),
            &crises,
            process,
            Duration::from_secs(10),
            3,
            Some(2),
        );
        assert_eq!(
            serde_json::to_value(metrics).unwrap(),
            json!({
                "uptime": 10.0,
                "memoryUsage": 0.25,
                "avgResponseTime": 0.0,
                "security": {
                    "totalRequests": 0, "validRequests": 0, "blockedRequests": 0, "averageValidationTime": 0.0,
                    "crisisExemptions": 0, "securityViolations": [], "lastSecurityEvent": null,
                },
                "systemHealth": {
                    "webhookProcessingRate": 0.0, "averageResponseTime": 0.0, "errorRate": 0.0,
                    "crisisResponseCompliance": 0.5, "securityViolations": 0, "systemAvailability": 1.0,
                },
                "crisisSafety": {
                    "crisisResponseTime": [10.0, 300.0], "emergencyAccessActivations": 2,
                    "therapeuticContinuityMaintained": null, "gracePeriodActivations": null,
                    "crisisOverrideCount": 0, "hotlineIntegrationUsage": 3,
                },
                "performance": {
                    "cpuUsage": 0.5, "memoryUsage": 0.25, "networkLatency": null, "diskIOUtilization": null,
                    "cacheHitRate": null, "databaseResponseTime": null,
                },
                "crisis_response_time_avg": 155.0,
                "crisis_response_time_p95": 300.0,
                "crisis_response_time_p99": 300.0,
                "webhook_processing_time_avg": 0.0,
                "webhook_success_rate": 1.0,
                "webhook_failure_rate": 0.0,
                "webhook_throughput": 0.0,
            })
        );
    }
}
