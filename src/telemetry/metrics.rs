//! Everything that is measured, in one place, in the form that Prometheus reads.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering::Relaxed},
    },
    time::Duration,
};

use keepwell_jobs::{Care, watch::recorded_urgency};
use keepwell_schedules::board::Board;
use keepwell_workers::{
    clock::{SharedClock, UnixMs},
    engine::{Engine, EngineHealth},
    job::Job,
    observer::{Observer, RunEnded},
};
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, info::Info},
    registry::{Registry, Unit},
};

use super::{
    alert_metrics::AlertMetrics,
    canary::CanaryMetrics,
    compliance::{Compliance, ComplianceMetrics},
    crisis_times::{CrisisSummary, CrisisTimes},
    emergency_metrics::EmergencyMetrics,
    job_metrics::{JobMetrics, is_canary, is_crisis_failure, is_crisis_response},
    lane_metrics::LaneMetrics,
    monitor_runs::MonitorRuns,
    process::ProcessUsage,
    process_metrics::ProcessMetrics,
    response_windows::{ResponseWindows, WindowMetrics},
    schedule_metrics::ScheduleMetrics,
    stripe_metrics::{AddressMetrics, StripeMetrics},
    success::{SuccessWindow, Taken},
    webhook_metrics::WebhookMetrics,
};
use crate::{
    alerts::AlertBoard,
    receiver::{source::Source, stats::ReceiverStats},
};

/// Everything that is measured. Shared by whoever measures and whoever asks.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    jobs: JobMetrics,
    lanes: LaneMetrics,
    uptime: Gauge,
    dependencies: Family<DependencyLabels, Gauge>,
    webhooks: Arc<ReceiverStats>,
    success: SuccessWindow,
    crises: CrisisTimes,
    windows: Arc<ResponseWindows>,
    canary: CanaryMetrics,
    monitors: MonitorRuns,
    compliance: Compliance,
    crisis_resources: Counter,
    audit_sealed: Counter,
    audit_broken: Gauge,
    audit_acknowledged: Gauge,
    audit_is_broken: AtomicBool,
    care: Option<Care>,
    crisis_limit: Duration,
    /// 0 is never.
    last_run_ended_ms: AtomicI64,
    clock: SharedClock,
    started_ms: UnixMs,
}

/// Something that keepwell cannot do without.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DependencyLabels {
    dependency: &'static str,
}

impl Metrics {
    /// Nothing measured yet. A crisis of unknown severity that was answered within `crisis_limit` counts as
    /// compliant. Uptime counts from now.
    pub fn new(webhooks: Arc<ReceiverStats>, crisis_limit: Duration, clock: SharedClock) -> Self {
        let mut registry = Registry::with_prefix("keepwell");
        registry.register("build", "What is running", Info::new([("version", super::VERSION)]));
        let uptime = Gauge::default();
        registry.register_with_unit("uptime", "How long it has been running", Unit::Seconds, uptime.clone());
        let dependencies = Family::default();
        let help = "1 if it answers: the database (and takes jobs), Redis";
        registry.register("dependency_up", help, dependencies.clone());
        let crisis_resources = Counter::default();
        let help = "Times that somebody was told where to find help";
        registry.register("crisis_resources_answered", help, crisis_resources.clone());
        let (audit_sealed, audit_broken) = (Counter::default(), Gauge::default());
        registry.register(
            "audit_sealed",
            "Entries of the audit trail bound into a block",
            audit_sealed.clone(),
        );
        let help = "1 while the audit trail cannot be sealed, or is not whole and nobody has acknowledged that; \
             `keepwell audit verify` says more";
        registry.register("audit_broken", help, audit_broken.clone());
        let audit_acknowledged = Gauge::default();
        let help =
            "Findings in the audit trail that somebody has acknowledged, as far as it was looked through";
        registry.register("audit_findings_acknowledged", help, audit_acknowledged.clone());
        let jobs = JobMetrics::register(&mut registry);
        let lanes = LaneMetrics::register(&mut registry);
        registry.register_collector(Box::new(WebhookMetrics(Arc::clone(&webhooks))));
        registry.register_collector(Box::new(ProcessMetrics));
        let (windows, compliance) = (ResponseWindows::new(Arc::clone(&clock)), Compliance::default());
        registry.register_collector(Box::new(WindowMetrics(Arc::clone(&windows))));
        registry.register_collector(Box::new(ComplianceMetrics(compliance.clone())));
        let canary = CanaryMetrics::register(&mut registry, Arc::clone(&clock));
        let monitors = MonitorRuns::register(&mut registry, Arc::clone(&clock));
        Self {
            registry,
            jobs,
            lanes,
            uptime,
            dependencies,
            webhooks,
            success: SuccessWindow::default(),
            crises: CrisisTimes::default(),
            windows,
            canary,
            monitors,
            compliance,
            crisis_resources,
            audit_sealed,
            audit_broken,
            audit_acknowledged,
            audit_is_broken: AtomicBool::new(false),
            care: None,
            crisis_limit,
            last_run_ended_ms: AtomicI64::new(0),
            started_ms: clock.now_ms(),
            clock,
        }
    }

    /// The same, with what is counted of `care`.
    #[must_use]
    pub fn with_care(mut self, care: &Care) -> Self {
        let (care, clock) = (care.clone(), Arc::clone(&self.clock));
        self.care = Some(care.clone());
        self.registry.register_collector(Box::new(StripeMetrics(care.clone())));
        self.registry.register_collector(Box::new(EmergencyMetrics { care, clock }));
        self
    }

    /// The same, with the alerts on `board` and what `care` tells their receivers.
    #[must_use]
    pub(crate) fn with_alerts(mut self, care: &Care, board: AlertBoard) -> Self {
        self.registry.register_collector(Box::new(AlertMetrics { care: care.clone(), board }));
        self
    }

    /// The same, with how the schedules on `board` stand.
    #[must_use]
    pub fn with_schedules(mut self, board: Board) -> Self {
        let clock = Arc::clone(&self.clock);
        self.registry.register_collector(Box::new(ScheduleMetrics { board, clock }));
        self
    }

    /// The same, with how old the addresses are that the sender to `source` publishes.
    #[must_use]
    pub fn with_addresses(mut self, source: Arc<Source>) -> Self {
        let clock = Arc::clone(&self.clock);
        self.registry.register_collector(Box::new(AddressMetrics { source, clock }));
        self
    }

    /// How often a crisis has opened emergency access.
    pub fn emergency_activations(&self) -> Option<u64> {
        self.care.as_ref().map(|care| care.tallies.emergencies())
    }

    /// Everything, as Prometheus and OpenMetrics read it. Asks the lanes and the ledger of `engine` how they
    /// stand, but not for long.
    pub async fn text(&self, engine: &Engine) -> String {
        self.lanes.read(engine).await;
        self.set_dependencies(engine.health());
        self.uptime.set(self.uptime().as_secs() as i64);
        self.monitors.look();
        let mut text = String::new();
        // Writing to a String cannot fail, and no metric of ours refuses to be written.
        let _ = encode(&mut text, &self.registry);
        text
    }

    fn set_dependencies(&self, health: EngineHealth) {
        for (dependency, is_up) in [("database", health.takes_jobs()), ("redis", health.lanes_ok)] {
            self.dependencies.get_or_create(&DependencyLabels { dependency }).set(i64::from(is_up));
        }
    }

    /// What the receiver has counted.
    pub fn webhooks(&self) -> &ReceiverStats {
        &self.webhooks
    }

    /// The share of verified webhooks that could be taken in the last minutes, from 0 to 1; 1 if there were
    /// none.
    pub fn webhook_success_recent(&self) -> f64 {
        self.success.recent(self.clock.now_ms(), Taken::of(&self.webhooks)).share()
    }

    /// So many entries of the audit trail were bound into blocks.
    pub fn audit_sealed(&self, entries: u64) {
        self.audit_sealed.inc_by(entries);
    }

    /// The audit trail cannot be sealed, or is not whole; whether that is news.
    pub fn audit_failed(&self) -> bool {
        self.audit_broken.set(1);
        !self.audit_is_broken.swap(true, Relaxed)
    }

    /// So many findings in the audit trail are acknowledged.
    pub fn audit_acknowledged(&self, findings: u64) {
        self.audit_acknowledged.set(i64::try_from(findings).unwrap_or(i64::MAX));
    }

    /// The audit trail is sealed, and as far as it was looked through it is whole.
    pub fn audit_works(&self) {
        self.audit_broken.set(0);
        self.audit_is_broken.store(false, Relaxed);
    }

    /// Somebody was told where to find help.
    pub fn answered_crisis_resources(&self) {
        self.crisis_resources.inc();
    }

    /// How often somebody was told where to find help.
    pub fn crisis_resources_answered(&self) -> u64 {
        self.crisis_resources.get()
    }

    /// How recent crises were answered.
    pub fn crises(&self) -> CrisisSummary {
        self.crises.summary(self.clock.now_ms())
    }

    /// How crises were answered in the last minutes.
    pub fn windows(&self) -> &ResponseWindows {
        &self.windows
    }

    /// What became of canaries.
    pub fn canary(&self) -> &CanaryMetrics {
        &self.canary
    }

    /// Whether the monitors run.
    pub fn monitors(&self) -> &MonitorRuns {
        &self.monitors
    }

    /// The compliance figures of the last hour.
    pub fn compliance(&self) -> &Compliance {
        &self.compliance
    }

    /// When a run of a job last ended.
    pub fn last_run_ended_ms(&self) -> Option<UnixMs> {
        Some(self.last_run_ended_ms.load(Relaxed)).filter(|ms| *ms != 0)
    }

    /// What this process takes of its machine, now.
    pub fn process(&self) -> ProcessUsage {
        ProcessUsage::read()
    }

    /// How long it has been running.
    pub fn uptime(&self) -> Duration {
        let since_ms = self.clock.now_ms().saturating_sub(self.started_ms);
        Duration::from_millis(u64::try_from(since_ms).unwrap_or(0))
    }
}

impl Observer for Metrics {
    fn run_ended(&self, ended: &RunEnded<'_>) {
        self.jobs.run_ended(ended);
        if is_canary(ended) {
            return;
        }
        let now_ms = self.clock.now_ms();
        self.last_run_ended_ms.store(now_ms, Relaxed);
        if is_crisis_response(ended) {
            // What cannot be said on one clock is neither in time nor late.
            if let Some(time) = ended.took() {
                let limit = self.limit_of(ended.job);
                self.crises.remember(now_ms, time, limit);
                self.windows.answered(time, limit);
            }
        } else if is_crisis_failure(ended) {
            self.windows.failed();
        }
    }
}

impl Metrics {
    /// How long the answer to the crisis that `job` tells of may take.
    fn limit_of(&self, job: &Job) -> Duration {
        let limit_ms = self.care.as_ref().zip(recorded_urgency(job)).map(|(care, (_, severity))| {
            let limit_ms = care.watch.limit_ms(severity);
            u64::try_from(limit_ms).unwrap_or(0)
        });
        limit_ms.map_or(self.crisis_limit, Duration::from_millis)
    }
}
