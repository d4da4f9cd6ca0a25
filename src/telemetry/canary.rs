//! What became of canaries: crises of nobody that go the whole way of a real one.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use keepwell_workers::clock::{SharedClock, UnixMs};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

use super::job_metrics::CRISIS_BUCKETS;

/// So many canaries in a row that were not answered, or not in time, are no accident.
const BAD_IN_A_ROW_MIN: u32 = 3;

/// How a canary ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CanaryResult {
    /// It was answered in time.
    Ok,
    /// It was answered later than a critical crisis may be.
    Late,
    /// It was not answered.
    Failed,
}

impl CanaryResult {
    /// Every result.
    const ALL: [CanaryResult; 3] = [CanaryResult::Ok, CanaryResult::Late, CanaryResult::Failed];

    /// Its name in metrics and in `/health`.
    pub const fn name(self) -> &'static str {
        match self {
            CanaryResult::Ok => "ok",
            CanaryResult::Late => "late",
            CanaryResult::Failed => "failed",
        }
    }
}

/// How canaries fare at present.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CanaryStanding {
    /// What became of the last one, and when; `None` before the first one has ended.
    pub last: Option<(CanaryResult, UnixMs)>,
    /// How long the last answer took.
    pub last_took: Option<Duration>,
    /// Why the last one was not well, in words for an operator.
    pub because: Option<String>,
    /// Canaries in a row, up to the last one, that were not answered, or not in time.
    pub bad_in_a_row: u32,
}

impl CanaryStanding {
    /// Whether that is more than an accident.
    pub const fn is_failing(&self) -> bool {
        self.bad_in_a_row >= BAD_IN_A_ROW_MIN
    }
}

/// What is counted of the canaries of this process.
#[derive(Debug)]
pub struct CanaryMetrics {
    runs: Family<ResultLabels, Counter>,
    durations: Histogram,
    bad_in_a_row: Gauge,
    /// `None` if this process sends none.
    standing: Mutex<Option<CanaryStanding>>,
    clock: SharedClock,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabels {
    result: &'static str,
}

impl CanaryMetrics {
    pub(super) fn register(registry: &mut Registry, clock: SharedClock) -> Self {
        let (runs, durations) = (Family::default(), Histogram::new(CRISIS_BUCKETS));
        registry.register(
            "canary_runs",
            "Crises of nobody that went the way of a real one",
            Family::clone(&runs),
        );
        registry.register_with_unit(
            "canary_duration",
            "From before a canary was recorded to when its answer was committed",
            Unit::Seconds,
            durations.clone(),
        );
        let bad_in_a_row = Gauge::default();
        registry.register(
            "canary_bad_in_a_row",
            "Canaries in a row, up to the last one, that were not answered, or not in time",
            bad_in_a_row.clone(),
        );
        Self { runs, durations, bad_in_a_row, standing: Mutex::default(), clock }
    }

    /// Canaries are sent from now on.
    pub fn starts(&self) {
        for result in CanaryResult::ALL {
            _ = self.runs.get_or_create(&ResultLabels { result: result.name() });
        }
        *self.lock() = Some(CanaryStanding::default());
    }

    /// An answer took so long.
    pub fn took(&self, took: Duration) {
        self.durations.observe(took.as_secs_f64());
        if let Some(standing) = &mut *self.lock() {
            standing.last_took = Some(took);
        }
    }

    /// A canary ended like this, and why if that is not well; answers with how they fare now.
    pub fn ended(&self, result: CanaryResult, because: Option<String>) -> CanaryStanding {
        self.runs.get_or_create(&ResultLabels { result: result.name() }).inc();
        let mut locked = self.lock();
        let standing = locked.get_or_insert_default();
        standing.last = Some((result, self.clock.now_ms()));
        standing.because = because;
        standing.bad_in_a_row =
            if result == CanaryResult::Ok { 0 } else { standing.bad_in_a_row.saturating_add(1) };
        self.bad_in_a_row.set(i64::from(standing.bad_in_a_row));
        standing.clone()
    }

    /// How canaries fare; `None` if this process sends none.
    pub fn standing(&self) -> Option<CanaryStanding> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Option<CanaryStanding>> {
        // What a panic interrupted is overwritten by the next canary.
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use keepwell_workers::clock::ManualClock;
    use prometheus_client::encoding::text::encode;

    use super::*;

    #[test]
    fn only_several_bad_canaries_in_a_row_mean_that_they_fail() {
        let mut registry = Registry::with_prefix("keepwell");
        let metrics = CanaryMetrics::register(&mut registry, ManualClock::at(5_000));
        assert_eq!(metrics.standing(), None);
        metrics.starts();
        let (failed, late, ok) = (CanaryResult::Failed, CanaryResult::Late, CanaryResult::Ok);
        let failing = [failed, late, ok, failed, late, failed, failed, ok].map(|result| {
            let because = (result != ok).then(|| result.name().to_owned());
            metrics.ended(result, because).is_failing()
        });
        assert_eq!(failing, [false, false, false, false, false, true, true, false]);
        let standing = metrics.standing().unwrap();
        assert_eq!((standing.last, standing.because), (Some((ok, 5_000)), None));
        metrics.took(Duration::from_millis(15));
        metrics.ended(failed, None);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for line in [
            "keepwell_canary_runs_total{result=\"ok\"} 2\n",
            "keepwell_canary_runs_total{result=\"late\"} 2\n",
            "keepwell_canary_runs_total{result=\"failed\"} 5\n",
            "keepwell_canary_bad_in_a_row 1\n",
            "keepwell_canary_duration_seconds_bucket{le=\"0.01\"} 0\n",
            "keepwell_canary_duration_seconds_bucket{le=\"0.02\"} 1\n",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }
}
