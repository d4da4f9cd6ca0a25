//! What is counted of every run of a job.

use std::{
    collections::HashSet,
    sync::{Arc, PoisonError, RwLock},
};

use keepwell_jobs::{alerts::rules::RULES, kinds, store::reports::is_crisis_event};
use keepwell_workers::{lane::Lane, observer::RunEnded};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::{Registry, Unit},
};

/// Kinds that are told apart, at most; those beyond are counted as `other`, so that no flood of unknown kinds
/// can grow the metrics without bound.
const KINDS_MAX: usize = 128;

/// Waits from half a millisecond to half an hour, in seconds.
const WAIT_BUCKETS: [f64; 16] =
    [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1_800.0];

/// Runs from half a millisecond to a minute, in seconds.
const RUN_BUCKETS: [f64; 13] =
    [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 15.0, 60.0];

/// With the limits of the rules among them: 20 and 50 ms (our own), 100, 200 and 300 ms (by severity), in
/// seconds.
pub(super) const CRISIS_BUCKETS: [f64; 14] =
    [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 15.0];

/// What is counted of every run of a job.
#[derive(Debug)]
pub(crate) struct JobMetrics {
    ended: Family<EndLabels, Counter>,
    waits: Family<LaneLabels, Histogram, fn() -> Histogram>,
    runs: Family<LaneLabels, Histogram, fn() -> Histogram>,
    crisis_responses: Histogram,
    kinds: RwLock<HashSet<Arc<str>>>,
}

/// The lane that a number is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct LaneLabels {
    lane: &'static str,
}

impl LaneLabels {
    pub(crate) fn of(lane: Lane) -> Self {
        Self { lane: lane.name() }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EndLabels {
    kind: Arc<str>,
    lane: &'static str,
    outcome: &'static str,
}

impl JobMetrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            ended: Family::default(),
            waits: Family::new_with_constructor(|| Histogram::new(WAIT_BUCKETS)),
            runs: Family::new_with_constructor(|| Histogram::new(RUN_BUCKETS)),
            crisis_responses: Histogram::new(CRISIS_BUCKETS),
            kinds: RwLock::default(),
        };
        registry.register(
            "jobs_ended",
            "Runs of jobs that have ended, but for canaries",
            metrics.ended.clone(),
        );
        registry.register_with_unit(
            "job_wait",
            "From when a job was recorded to when its handler started",
            Unit::Seconds,
            metrics.waits.clone(),
        );
        registry.register_with_unit(
            "job_run",
            "From when a handler started to when the ledger had settled its job",
            Unit::Seconds,
            metrics.runs.clone(),
        );
        registry.register_with_unit(
            "crisis_response",
            "From the arrival of a crisis signal to the commit of what it changes",
            Unit::Seconds,
            metrics.crisis_responses.clone(),
        );
        metrics.begin_what_alerts_count();
        metrics
    }

    /// Prometheus sees no growth in a line that is 1 when it first appears, so what alerts count one by one is there
    /// from the beginning.
    fn begin_what_alerts_count(&self) {
        for series in RULES.iter().flat_map(|rule| rule.series()) {
            let label =
                |name| series.labels.iter().find(|(label, _)| *label == name).map(|(_, value)| *value);
            if let (Some(kind), Some(outcome)) = (label("kind"), label("outcome")) {
                let kind = self.bounded(&kind.into());
                for lane in Lane::ALL {
                    let labels = EndLabels { kind: Arc::clone(&kind), lane: lane.name(), outcome };
                    let _ = self.ended.get_or_create(&labels);
                }
            }
        }
    }

    /// Counts a run.
    pub(crate) fn run_ended(&self, ended: &RunEnded<'_>) {
        // Seventeen thousand well ones a day would hide the failures of everybody else.
        if is_canary(ended) {
            return;
        }
        let lane = ended.job.lane;
        let kind = self.bounded(&ended.job.kind);
        let labels = EndLabels { kind, lane: lane.name(), outcome: ended.outcome };
        self.ended.get_or_create(&labels).inc();
        if let Some(waited) = ended.waited {
            self.waits.get_or_create(&LaneLabels::of(lane)).observe(waited.as_secs_f64());
        }
        self.runs.get_or_create(&LaneLabels::of(lane)).observe(ended.ran.as_secs_f64());
        if let Some(took) = ended.took().filter(|_| is_crisis_response(ended)) {
            self.crisis_responses.observe(took.as_secs_f64());
        }
    }

    fn bounded(&self, kind: &Arc<str>) -> Arc<str> {
        if self.kinds.read().unwrap_or_else(PoisonError::into_inner).contains(kind) {
            return Arc::clone(kind);
        }
        let mut kinds = self.kinds.write().unwrap_or_else(PoisonError::into_inner);
        if kinds.len() < KINDS_MAX {
            kinds.insert(Arc::clone(kind));
            Arc::clone(kind)
        } else {
            "other".into()
        }
    }
}

/// Whether somebody's crisis was answered by this run. One that was retried first counts with the whole time that went
/// by; a second delivery that found nothing to do answers nothing, and what we made ourselves nobody waits for.
pub(crate) fn is_crisis_response(ended: &RunEnded<'_>) -> bool {
    is_somebodys_crisis(ended) && ended.outcome == "done"
}

/// Whether this run ends what somebody in a crisis waits for, and nothing will answer it.
pub(crate) fn is_crisis_failure(ended: &RunEnded<'_>) -> bool {
    is_somebodys_crisis(ended) && ended.outcome == "dead"
}

fn is_somebodys_crisis(ended: &RunEnded<'_>) -> bool {
    ended.job.lane == Lane::Crisis && is_crisis_event(&ended.job.kind)
}

/// Whether it was a canary: those have metrics of their own, and would drown the few that people wait for.
pub(crate) fn is_canary(ended: &RunEnded<'_>) -> bool {
    &*ended.job.kind == kinds::CRISIS_CANARY
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use keepwell_workers::{id::JobId, job::Job};
    use prometheus_client::encoding::text::encode;

    use super::*;

    fn job(kind: &str, lane: Lane) -> Job {
        Job {
            id: JobId::new(0),
            kind: kind.into(),
            lane,
            dedupe_key: None,
            subject: None,
            payload: bytes::Bytes::new(),
            attempts: 0,
            created_ms: 0,
            trace: None,
        }
    }

    fn end(metrics: &JobMetrics, job: &Job, outcome: &'static str) {
        let (waited, ran) = (Some(Duration::from_millis(15)), Duration::from_millis(25));
        metrics.run_ended(&RunEnded { job, outcome, waited, ran });
    }

    fn text(registry: &Registry) -> String {
        let mut text = String::new();
        encode(&mut text, registry).unwrap();
        text
    }

    #[test]
    fn runs_are_counted_by_kind_lane_and_outcome() {
        let mut registry = Registry::default();
        let metrics = JobMetrics::register(&mut registry);
        end(&metrics, &job("app.signal", Lane::Crisis), "done");
        end(&metrics, &job("app.signal", Lane::Crisis), "retry");
        end(&metrics, &job(kinds::CRISIS_CANARY, Lane::Crisis), "done");
        let text = text(&registry);
        assert!(!text.contains("canary"), "canaries have metrics of their own");
        for line in [
            "jobs_ended_total{kind=\"app.signal\",lane=\"crisis\",outcome=\"done\"} 1\n",
            "jobs_ended_total{kind=\"app.signal\",lane=\"crisis\",outcome=\"retry\"} 1\n",
            "job_wait_seconds_count{lane=\"crisis\"} 2\n",
            "job_run_seconds_bucket{le=\"0.025\",lane=\"crisis\"} 2\n",
            // 40 ms: only the run that was done.
            "crisis_response_seconds_bucket{le=\"0.02\"} 0\n",
            "crisis_response_seconds_bucket{le=\"0.05\"} 1\n",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }

    #[test]
    fn unknown_kinds_without_end_become_one() {
        let mut registry = Registry::default();
        let metrics = JobMetrics::register(&mut registry);
        let counted_by_alerts = metrics.kinds.read().unwrap().len();
        assert!((1..20).contains(&counted_by_alerts));
        for number in 0..KINDS_MAX - counted_by_alerts + 10 {
            end(&metrics, &job(&format!("kind{number}"), Lane::Standard), "done");
        }
        assert!(text(&registry).contains("{kind=\"other\",lane=\"standard\",outcome=\"done\"} 10\n"));
    }
}
