//! What watches (003: crisis monitoring). Each monitor is a loop of its own in this process and no schedule of the
//! engine: what watches the queue must not wait in it, and what it finds is told by the process that is asked. What
//! each process must see for itself (its door, its memory, its crisis pool) each one watches; the compliance figures,
//! which are the same for all, are made where schedules are ticked.

mod access;
mod alarm;
mod canary;
mod compliance;
mod health;
mod responses;

use std::sync::Arc;

use keepwell_jobs::{Care, store::reports::ReportSettings};
use keepwell_workers::{clock::SharedClock, database::Database, engine::Engine};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::rounds::Rounds;
use crate::{
    telemetry::{Looked, Metrics, Monitor},
    trail::Trail,
};
use access::AccessMonitor;
use canary::Canary;
use compliance::ComplianceMonitor;
use health::HealthMonitor;
use responses::ResponseMonitor;

pub(super) use canary::CanaryEar;

/// How often it is looked how crises were answered of late, in milliseconds (003).
const RESPONSES_EVERY_MS: i64 = 1_000;

/// How often it is looked whether everybody in need has what that calls for, in milliseconds (003).
const ACCESS_EVERY_MS: i64 = 30_000;

/// How often it is looked whether a crisis would be answered, in milliseconds (003).
const HEALTH_EVERY_MS: i64 = 300_000;

/// While a crisis might not be answered, it is looked so often, in milliseconds: what is over must not stay an alert.
const UNHEALTHY_EVERY_MS: i64 = 5_000;

/// How often the compliance figures are made, in milliseconds (003).
const COMPLIANCE_EVERY_MS: i64 = 3_600_000;

/// What looks back begins so long after the start, in milliseconds, which has other things to do.
const FIRST_AFTER_MS: i64 = 2_000;

/// What a monitor does.
trait Look: Send + 'static {
    /// Which it is.
    const MONITOR: Monitor;

    /// After how long it looks again if something was wrong, in milliseconds, unless it does so sooner anyway.
    const AGAIN_AFTER_MS: i64 = i64::MAX;

    /// Looks once, and says so if that is news.
    fn look(&mut self) -> impl Future<Output = Looked> + Send;
}

/// What the monitors of a process are made of.
pub(super) struct Monitors {
    pub(super) engine: Engine,
    pub(super) database: Database,
    pub(super) care: Care,
    pub(super) clock: SharedClock,
    pub(super) metrics: Arc<Metrics>,
    pub(super) trail: Trail,
    /// Hears which canaries this process has answered.
    pub(super) ear: CanaryEar,
    pub(super) report_settings: ReportSettings,
    /// How often a canary is sent, in milliseconds; 0 is never.
    pub(super) canary_every_ms: u64,
}

impl Monitors {
    /// Has them watch until `stop`; also over what is the same for all processes, if this one `watches_all`.
    pub(super) fn spawn(self, watches_all: bool, tasks: &mut JoinSet<()>, stop: &CancellationToken) {
        let Self { engine, database, care, clock, metrics, trail, ear, report_settings, canary_every_ms } =
            self;
        let every = |first_ms, every_ms| {
            (Rounds::after(first_ms, every_ms, clock.clone()), metrics.clone(), stop.clone())
        };
        if let Ok(every_ms @ 1..) = i64::try_from(canary_every_ms) {
            let limit_ms = care.watch.limit_ms(keepwell_jobs::care::severity::Severity::Critical);
            let canary = Canary::new(engine.clone(), ear, every_ms, limit_ms, clock.clone(), metrics.clone());
            tasks.spawn(canary.run(stop.clone()));
        }
        let responses = ResponseMonitor::new(Arc::clone(&metrics));
        tasks.spawn(watch(responses, every(RESPONSES_EVERY_MS, RESPONSES_EVERY_MS)));
        let health = HealthMonitor::new(engine, care.clone(), Arc::clone(&clock), Arc::clone(&metrics));
        tasks.spawn(watch(health, every(FIRST_AFTER_MS, HEALTH_EVERY_MS)));
        if watches_all {
            let compliance = ComplianceMonitor::new(
                trail.clone(),
                report_settings,
                Arc::clone(&clock),
                Arc::clone(&metrics),
            );
            tasks.spawn(watch(compliance, every(FIRST_AFTER_MS, COMPLIANCE_EVERY_MS)));
        }
        let access = AccessMonitor::new(database, care, Arc::clone(&clock), trail);
        tasks.spawn(watch(access, every(FIRST_AFTER_MS, ACCESS_EVERY_MS)));
    }
}

/// Has `monitor` look whenever it is time. Whoever is interrupted by the end looks again in the next life.
async fn watch<L: Look>(
    mut monitor: L,
    (mut rounds, metrics, stop): (Rounds, Arc<Metrics>, CancellationToken),
) {
    metrics.monitors().starts(L::MONITOR, rounds.every_ms());
    while rounds.next(&stop).await {
        let looked = tokio::select! {
            () = stop.cancelled() => return,
            looked = monitor.look() => looked,
        };
        metrics.monitors().ran(L::MONITOR, looked);
        if looked == Looked::Wrong {
            rounds.sooner(L::AGAIN_AFTER_MS);
        }
    }
}
