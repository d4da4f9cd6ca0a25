//! How fast recent crises were answered: from the signal's arrival to the commit of what it changes.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use keepwell_jobs::care::severity::is_late;
use keepwell_workers::clock::UnixMs;

/// Answers that are remembered, at most. Percentiles of a thousand values are steady enough.
const REMEMBERED_MAX: usize = 1_024;

/// How long one counts as recent, in milliseconds (a quarter of an hour): one slow answer must not call a
/// whole day bad.
const RECENT_MS: i64 = 15 * 60 * 1_000;

/// The times of recent answers to crises. Bounded in number and age.
#[derive(Debug, Default)]
pub(super) struct CrisisTimes {
    times: Mutex<VecDeque<Answered>>,
}

/// One answer.
#[derive(Debug, Clone, Copy)]
struct Answered {
    at_ms: UnixMs,
    time: Duration,
    limit: Duration,
}

impl CrisisTimes {
    /// Remembers an answer that was there at `now_ms`, and had taken `time` where it may take `limit`.
    pub(super) fn remember(&self, now_ms: UnixMs, time: Duration, limit: Duration) {
        let mut times = self.lock();
        if times.len() == REMEMBERED_MAX {
            times.pop_front();
        }
        times.push_back(Answered { at_ms: now_ms, time, limit });
    }

    /// What the recent ones amount to, each measured against its own limit.
    pub(super) fn summary(&self, now_ms: UnixMs) -> CrisisSummary {
        let times = self.lock();
        let recent = times.iter().filter(|answer| now_ms.saturating_sub(answer.at_ms) <= RECENT_MS);
        let within = recent.clone().filter(|answer| !is_late(answer.time, answer.limit)).count();
        let mut recent_ms: Vec<f64> = recent.map(|answer| milliseconds(answer.time)).collect();
        recent_ms.sort_by(f64::total_cmp);
        CrisisSummary {
            compliance: if recent_ms.is_empty() { 1.0 } else { within as f64 / recent_ms.len() as f64 },
            last: times.back().map(|answer| (answer.at_ms, milliseconds(answer.time))),
            sorted_ms: recent_ms,
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Answered>> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the recent answers amount to.
#[derive(Debug, Clone, PartialEq)]
pub struct CrisisSummary {
    /// The share that kept the limit, from 0 to 1; 1 if there was none.
    pub compliance: f64,
    /// When the latest one was there (Unix milliseconds), recent or not, and how long it had taken, in
    /// milliseconds.
    pub last: Option<(UnixMs, f64)>,
    /// How long each took, in milliseconds, the fastest first.
    pub sorted_ms: Vec<f64>,
}

impl CrisisSummary {
    /// The time that `share` (0 to 1) of the answers kept, in milliseconds.
    pub fn percentile_ms(&self, share: f64) -> Option<f64> {
        let rank = (self.sorted_ms.len() as f64 * share.clamp(0.0, 1.0)).ceil() as usize;
        self.sorted_ms.get(rank.saturating_sub(1)).copied()
    }

    /// The mean, in milliseconds.
    pub fn mean_ms(&self) -> Option<f64> {
        let count = self.sorted_ms.len();
        (count > 0).then(|| self.sorted_ms.iter().sum::<f64>() / count as f64)
    }
}

/// `time` in milliseconds, to the microsecond.
pub(crate) fn milliseconds(time: Duration) -> f64 {
    time.as_micros() as f64 / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_millis(200);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn without_a_crisis_nothing_was_violated() {
        let summary = CrisisTimes::default().summary(0);
        assert_eq!(summary, CrisisSummary { compliance: 1.0, last: None, sorted_ms: vec![] });
        assert_eq!((summary.percentile_ms(0.95), summary.mean_ms()), (None, None));
    }

    #[test]
    fn compliance_is_the_share_that_kept_the_limit() {
        let times = CrisisTimes::default();
        for (time, limit) in [(10, 100), (200, 200), (201, 200), (20, 100)] {
            times.remember(1_000, ms(time), ms(limit));
        }
        let summary = times.summary(1_000);
        assert!((summary.compliance - 0.75).abs() < f64::EPSILON);
        assert_eq!(summary.last, Some((1_000, 20.0)));
        assert_eq!(summary.percentile_ms(0.5), Some(20.0));
        assert_eq!(summary.percentile_ms(0.95), Some(201.0));
        times.remember(1_000, ms(150), ms(100));
        assert!((times.summary(1_000).compliance - 0.6).abs() < f64::EPSILON, "each has its own limit");
    }

    #[test]
    fn an_old_answer_no_longer_counts_but_is_still_the_last() {
        let times = CrisisTimes::default();
        times.remember(0, ms(5_000), LIMIT);
        let summary = times.summary(RECENT_MS + 1);
        assert!((summary.compliance - 1.0).abs() < f64::EPSILON);
        assert_eq!((summary.last, summary.sorted_ms.len()), (Some((0, 5_000.0)), 0));
    }

    #[test]
    fn only_so_many_are_remembered() {
        let times = CrisisTimes::default();
        for _ in 0..REMEMBERED_MAX + 10 {
            times.remember(0, ms(1), LIMIT);
        }
        assert_eq!(times.summary(0).sorted_ms.len(), REMEMBERED_MAX);
    }
}
