//! The line that a run ends in.

use hdrhistogram::Histogram;
use serde::Serialize;

/// What was measured, in the field names that every measured queue uses.
#[derive(Debug, Clone, Default, Serialize)]
pub struct BenchLine {
    /// Who was measured.
    pub peer: &'static str,
    /// With what.
    pub workload: &'static str,
    /// How many jobs.
    pub n: usize,
    /// Of how many runs this is the one in the middle.
    pub runs: usize,
    /// How long it took.
    pub seconds: Option<f64>,
    /// Jobs per second.
    pub rate: Option<f64>,
    /// Half were faster than this.
    pub p50_ms: Option<f64>,
    /// One in a hundred was slower than this.
    pub p99_ms: Option<f64>,
    /// The slowest.
    pub max_ms: Option<f64>,
    /// The times of the same without what they were measured beside.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alone: Option<Times>,
    /// Memory of Redis per waiting job.
    pub redis_bytes_per_job: Option<f64>,
    /// The databases, the commit mode, the shares of processor time.
    pub notes: String,
}

/// How long something took.
#[derive(Debug, Clone, Serialize)]
pub struct Times {
    /// Half were faster than this.
    pub p50_ms: f64,
    /// One in a hundred was slower than this.
    pub p99_ms: f64,
    /// The slowest.
    pub max_ms: f64,
}

impl Times {
    /// The percentiles of `times`, which are in microseconds.
    pub(super) fn of(times: &Histogram<u64>) -> Self {
        let milliseconds = |microseconds: u64| microseconds as f64 / 1_000.0;
        Self {
            p50_ms: milliseconds(times.value_at_quantile(0.50)),
            p99_ms: milliseconds(times.value_at_quantile(0.99)),
            max_ms: milliseconds(times.max()),
        }
    }
}

impl BenchLine {
    /// A line about `n` jobs of `workload`.
    pub(super) fn new(workload: super::Workload, n: usize) -> Self {
        Self { peer: "keepwell", workload: workload.name(), n, runs: 1, ..Self::default() }
    }

    /// What runs are compared by.
    pub(super) fn measure(&self) -> f64 {
        self.redis_bytes_per_job.or(self.rate).or(self.max_ms).unwrap_or_default()
    }

    /// Notes how long it took.
    #[must_use]
    pub(super) fn took(mut self, seconds: f64) -> Self {
        self.seconds = Some(seconds);
        self.rate = Some(self.n as f64 / seconds);
        self
    }

    /// Notes the percentiles of `times`, which are in microseconds.
    pub(super) fn set_times(&mut self, times: &Histogram<u64>) {
        let Times { p50_ms, p99_ms, max_ms } = Times::of(times);
        (self.p50_ms, self.p99_ms, self.max_ms) = (Some(p50_ms), Some(p99_ms), Some(max_ms));
    }
}
