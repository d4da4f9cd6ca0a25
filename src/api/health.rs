//! `GET /health` and its two short forms: how the daemon is, in the shape that FullMind's deployment scripts
//! read.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    response::{IntoResponse as _, Response},
};
use http::{HeaderValue, StatusCode, header};
use keepwell_jobs::care::emergency::SwitchName;
use keepwell_workers::engine::EngineHealth;
use serde::Serialize;
use serde_json::{Value, json};

use super::{emergency::view, instant::rfc3339, state::ApiState};
use crate::{
    receiver::stats::ReceiverStats,
    telemetry::{CanaryStanding, CrisisSummary, Metrics, ProcessUsage, VERSION, WindowSummary, milliseconds},
};

/// A share of memory from which on it counts as used up.
const MEMORY_SHARE_MAX: f64 = 0.9;

/// A share of webhooks and of crisis answers below which something is wrong.
const SHARE_MIN: f64 = 0.95;

/// The whole report. Shares go from 0 to 1, `uptime` is in seconds, other times are in milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    status: &'static str,
    timestamp: String,
    environment: String,
    version: &'static str,
    uptime: f64,
    memory: Memory,
    webhook_processing: WebhookProcessing,
    crisis_safety: CrisisSafety,
    emergency: Emergency,
    maintenance: Maintenance,
    dependencies: Dependencies,
    schedules: Schedules,
    monitors: Monitors,
    /// What is wrong with the database, in words for an operator.
    #[serde(skip_serializing_if = "Option::is_none")]
    database_trouble: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct Memory {
    used: Option<u64>,
    total: Option<u64>,
    percentage: Option<f64>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct WebhookProcessing {
    total_processed: u64,
    success_rate: f64,
    average_response_time: f64,
    last_processed_at: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct CrisisSafety {
    response_time_compliance: f64,
    emergency_access_active: bool,
    last_crisis_response: Option<f64>,
    crisis_system_healthy: bool,
}

/// What operators have switched on.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Emergency {
    bypass: Value,
    global_bypass: Value,
}

/// Whether work is being done. What is kept meanwhile is always kept.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Maintenance {
    #[serde(flatten)]
    switch: Value,
    preserve_crisis_access: bool,
    preserve_therapeutic_access: bool,
}

/// What appears by itself.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Schedules {
    /// What nobody has ticked for a minute, or what has left out ticks for an hour because its own job is owed.
    late: Vec<String>,
}

/// What keepwell has seen of itself.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Monitors {
    /// Crises of nobody; `null` if none are sent.
    canary: Option<CanaryCheck>,
    /// How crises were answered of late.
    responses: Vec<ResponseWindow>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct CanaryCheck {
    /// Several in a row were not answered, or not in time.
    failing: bool,
    last_result: Option<&'static str>,
    last_at: Option<String>,
    last_duration: Option<f64>,
    because: Option<String>,
}

impl CanaryCheck {
    fn of(standing: CanaryStanding) -> Self {
        Self {
            failing: standing.is_failing(),
            last_result: standing.last.map(|(result, _)| result.name()),
            last_at: standing.last.map(|(_, at_ms)| rfc3339(at_ms)),
            last_duration: standing.last_took.map(milliseconds),
            because: standing.because,
        }
    }
}

/// Percentiles are at most 1 % too long; `null` where nothing was answered.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct ResponseWindow {
    window: &'static str,
    answered: u64,
    in_time: u64,
    failed: u64,
    in_time_share: f64,
    p50: Option<f64>,
    p95: Option<f64>,
    p99: Option<f64>,
    max: Option<f64>,
}

impl ResponseWindow {
    fn all(metrics: &Metrics) -> Vec<Self> {
        let window = |summary: WindowSummary| {
            let [p50, p95, p99] =
                summary.quantiles.map_or([None; 3], |times| times.map(|time| Some(milliseconds(time))));
            Self {
                window: summary.window,
                answered: summary.answered,
                in_time: summary.in_time,
                failed: summary.failed,
                in_time_share: summary.in_time_share(),
                p50,
                p95,
                p99,
                max: summary.max.map(milliseconds),
            }
        };
        metrics.windows().summaries().into_iter().map(window).collect()
    }
}

/// `true` or `false` where it is known; a word where there is nothing to know.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Dependencies {
    stripe: Value,
    database: bool,
    redis: bool,
    emergency_services: bool,
}

/// What the report is made from, as it was seen at one moment.
struct Seen<'s> {
    engine: EngineHealth,
    process: ProcessUsage,
    crises: CrisisSummary,
    webhooks: &'s ReceiverStats,
    success_rate: f64,
    stripe_configured: bool,
    late_schedules: Vec<String>,
    canary: Option<CanaryStanding>,
}

impl Seen<'_> {
    /// Whether a crisis would be answered. Redis is not needed for it: without it, crisis jobs run straight
    /// from the ledger.
    fn crisis_system_healthy(&self) -> bool {
        self.engine.takes_jobs() && !self.engine.draining
    }

    fn is_healthy(&self) -> bool {
        self.crisis_system_healthy()
            && self.engine.lanes_ok
            && self.crises.compliance > SHARE_MIN
            && self.success_rate > SHARE_MIN
            && self.process.memory_share().is_none_or(|share| share < MEMORY_SHARE_MAX)
            && self.late_schedules.is_empty()
            && !self.canary.as_ref().is_some_and(CanaryStanding::is_failing)
    }
}

/// `GET /health`: everything; 503 as soon as anything is not as it should be. A load balancer that should
/// only leave out a daemon that cannot take work asks `/health/ready`.
pub(super) async fn full(State(state): State<Arc<ApiState>>) -> Response {
    let metrics = &state.metrics;
    let now_ms = state.clock.now_ms();
    let seen = Seen {
        engine: state.engine.health(),
        process: metrics.process(),
        crises: metrics.crises(),
        webhooks: metrics.webhooks(),
        success_rate: metrics.webhook_success_recent(),
        stripe_configured: state.stripe_configured,
        late_schedules: state.board.late(now_ms).into_iter().map(|standing| standing.row.name).collect(),
        canary: metrics.canary().standing(),
    };
    let switches = state.desk.switches().await;
    let switch = |name| view(switches.get(name), now_ms);
    let healthy = seen.is_healthy();
    let report = Report {
        status: if healthy { "healthy" } else { "degraded" },
        timestamp: rfc3339(now_ms),
        environment: state.environment.clone(),
        version: VERSION,
        uptime: metrics.uptime().as_secs_f64(),
        memory: Memory {
            used: seen.process.memory_used_bytes,
            total: seen.process.memory_total_bytes,
            percentage: seen.process.memory_share(),
        },
        webhook_processing: WebhookProcessing {
            total_processed: seen.webhooks.recorded.get() + seen.webhooks.duplicates.get(),
            success_rate: seen.success_rate,
            average_response_time: seen.webhooks.answers.mean().as_secs_f64() * 1_000.0,
            last_processed_at: metrics.last_run_ended_ms().map(rfc3339),
        },
        crisis_safety: CrisisSafety {
            response_time_compliance: seen.crises.compliance,
            emergency_access_active: state.desk.is_emergency_open()
                || switches.waives_payment(now_ms).is_some(),
            last_crisis_response: seen.crises.last.map(|(_, ms)| ms),
            crisis_system_healthy: seen.crisis_system_healthy(),
        },
        emergency: Emergency {
            bypass: switch(SwitchName::Bypass),
            global_bypass: switch(SwitchName::GlobalBypass),
        },
        maintenance: Maintenance {
            switch: switch(SwitchName::Maintenance),
            preserve_crisis_access: true,
            preserve_therapeutic_access: true,
        },
        dependencies: Dependencies {
            stripe: if seen.stripe_configured { "configured".into() } else { "not configured".into() },
            database: seen.engine.takes_jobs(),
            redis: seen.engine.lanes_ok,
            // Where to find help is answered from memory; as long as we answer at all, it is there.
            emergency_services: true,
        },
        database_trouble: database_trouble(seen.engine),
        schedules: Schedules { late: seen.late_schedules },
        monitors: Monitors {
            canary: seen.canary.map(CanaryCheck::of),
            responses: ResponseWindow::all(metrics),
        },
    };
    respond(healthy, Json(report))
}

/// `GET /health/live`: the process turns. For a supervisor that restarts what no longer answers.
pub(super) async fn live() -> Response {
    respond(true, Json(json!({ "status": "live" })))
}

/// `GET /health/ready`: whether work is accepted. Redis may be away; the database may neither be away nor refuse what
/// it is given.
pub(super) async fn ready(State(state): State<Arc<ApiState>>) -> Response {
    let health = state.engine.health();
    let because =
        if health.draining { Some("it is shutting down".to_owned()) } else { database_trouble(health) };
    match because {
        None => respond(true, Json(json!({ "status": "ready" }))),
        Some(because) => respond(false, Json(json!({ "status": "not ready", "because": because }))),
    }
}

/// Why nothing can be recorded; `None` if it can.
fn database_trouble(health: EngineHealth) -> Option<String> {
    match health.trouble {
        Some(trouble) => Some(trouble.to_string()),
        None if !health.ledger_ok => Some("the database does not answer".to_owned()),
        None => None,
    }
}

fn respond(well: bool, report: Json<impl Serialize>) -> Response {
    let status = if well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))], report).into_response()
}

#[cfg(test)]
mod tests {
    use keepwell_workers::database::Trouble;

    use super::*;

    const WELL: EngineHealth =
        EngineHealth { ledger_ok: true, trouble: None, lanes_ok: true, lanes_behind: false, draining: false };

    fn is_healthy(engine: EngineHealth, compliance: f64, success_rate: f64, memory_used: u64) -> bool {
        is_healthy_with((&[], 0), engine, (compliance, success_rate), memory_used)
    }

    fn is_healthy_with(
        (late, bad_canaries): (&[&str], u32),
        engine: EngineHealth,
        (compliance, success_rate): (f64, f64),
        memory_used: u64,
    ) -> bool {
        let process = ProcessUsage {
            resident_bytes: None,
            memory_used_bytes: Some(memory_used),
            memory_total_bytes: Some(100),
            cpu_seconds: None,
        };
        let crises = CrisisSummary { compliance, last: None, sorted_ms: vec![] };
        let webhooks = &ReceiverStats::new();
        let late_schedules = late.iter().map(|name| (*name).to_owned()).collect();
        let canary = Some(CanaryStanding { bad_in_a_row: bad_canaries, ..CanaryStanding::default() });
        let stripe_configured = false;
        Seen { engine, process, crises, webhooks, success_rate, stripe_configured, late_schedules, canary }
            .is_healthy()
    }

    #[test]
    fn one_thing_that_is_wrong_is_enough_to_be_degraded() {
        assert!(is_healthy(WELL, 1.0, 1.0, 89));
        assert!(!is_healthy(EngineHealth { ledger_ok: false, ..WELL }, 1.0, 1.0, 1));
        assert!(!is_healthy(EngineHealth { trouble: Some(Trouble::Full), ..WELL }, 1.0, 1.0, 1));
        assert!(!is_healthy(EngineHealth { lanes_ok: false, ..WELL }, 1.0, 1.0, 1));
        assert!(!is_healthy(EngineHealth { draining: true, ..WELL }, 1.0, 1.0, 1));
        assert!(!is_healthy(WELL, 0.95, 1.0, 1));
        assert!(!is_healthy(WELL, 1.0, 0.95, 1));
        assert!(!is_healthy(WELL, 1.0, 1.0, 90));
        assert!(!is_healthy_with((&["nightly"], 0), WELL, (1.0, 1.0), 1));
        assert!(is_healthy_with((&[], 2), WELL, (1.0, 1.0), 1));
        assert!(!is_healthy_with((&[], 3), WELL, (1.0, 1.0), 1));
    }
}
