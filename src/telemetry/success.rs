//! The share of verified webhooks that could be taken, of late: what went wrong an hour ago must not keep a
//! daemon that has recovered out of a load balancer, where it would never get the chance to do better.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

use keepwell_workers::clock::UnixMs;

use crate::receiver::{refusal::Refusal, stats::ReceiverStats};

/// How far back "of late" reaches, in milliseconds (five minutes).
const WINDOW_MS: i64 = 5 * 60 * 1_000;

/// The least time between two samples, in milliseconds; bounds how many are kept.
const SAMPLE_MS: i64 = 5_000;

/// Remembers how the counters stood.
#[derive(Debug, Default)]
pub(crate) struct SuccessWindow {
    samples: Mutex<VecDeque<(UnixMs, Taken)>>,
}

/// What became of webhooks that were signed well.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Taken {
    /// Recorded now or before.
    pub(crate) taken: u64,
    /// Sent away because they could not be recorded.
    pub(crate) failed: u64,
}

impl Taken {
    /// As `stats` have them.
    pub(crate) fn of(stats: &ReceiverStats) -> Self {
        Self {
            taken: stats.recorded.get() + stats.duplicates.get(),
            // Not those turned away before they were verified: a flood must not make us look ill.
            failed: stats.blocked(Refusal::NotRecorded),
        }
    }

    /// The share that was taken, from 0 to 1; 1 if there was none.
    pub(crate) fn share(self) -> f64 {
        let all = self.taken + self.failed;
        if all == 0 { 1.0 } else { self.taken as f64 / all as f64 }
    }

    fn since(self, earlier: Taken) -> Taken {
        Taken {
            taken: self.taken.saturating_sub(earlier.taken),
            failed: self.failed.saturating_sub(earlier.failed),
        }
    }
}

impl SuccessWindow {
    /// What became of those that came in of late, now that the counters stand at `current`.
    pub(crate) fn recent(&self, now_ms: UnixMs, current: Taken) -> Taken {
        let mut samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        // The newest sample that is older than the window is where the window begins.
        while samples.get(1).is_some_and(|(at_ms, _)| now_ms - at_ms >= WINDOW_MS) {
            samples.pop_front();
        }
        let start = samples.front().map_or(Taken::default(), |(_, taken)| *taken);
        if samples.back().is_none_or(|(at_ms, _)| now_ms - at_ms >= SAMPLE_MS) {
            samples.push_back((now_ms, current));
        }
        current.since(start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(taken: u64, failed: u64) -> Taken {
        Taken { taken, failed }
    }

    #[test]
    fn without_webhooks_nothing_failed() {
        assert!((SuccessWindow::default().recent(0, taken(0, 0)).share() - 1.0).abs() < f64::EPSILON);
    }

    #[test]
    fn failures_are_forgiven_when_the_window_has_passed() {
        let window = SuccessWindow::default();
        assert_eq!(window.recent(0, taken(0, 0)), taken(0, 0));
        assert_eq!(window.recent(10_000, taken(50, 50)), taken(50, 50));
        assert_eq!(window.recent(WINDOW_MS, taken(50, 50)), taken(50, 50));
        assert_eq!(window.recent(WINDOW_MS + 10_000, taken(60, 50)), taken(10, 0));
    }

    #[test]
    fn samples_are_bounded_however_often_somebody_asks() {
        let window = SuccessWindow::default();
        for now_ms in 0..2 * WINDOW_MS {
            if now_ms % 100 == 0 {
                window.recent(now_ms, taken(0, 0));
            }
        }
        let kept = window.samples.lock().unwrap().len() as i64;
        assert!(kept <= WINDOW_MS / SAMPLE_MS + 2, "{kept}");
    }
}
