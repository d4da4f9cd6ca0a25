//! How long to wait before something that failed is tried again.

use std::time::Duration;

/// `wait`, by chance up to a half less, so that those who failed together do not all try again at once.
pub fn shortened(wait: Duration) -> Duration {
    wait.mul_f64(0.5 + rand::random::<f64>() / 2.0)
}

/// Waits that are twice as long each time, up to a bound.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
    min: Duration,
    max: Duration,
}

impl Backoff {
    /// Waits from `min` on that are no longer than `max`.
    pub(crate) fn new(min: Duration, max: Duration) -> Self {
        Self { next: min, min, max }
    }

    /// How long to wait now, [`shortened`].
    pub(crate) fn next(&mut self) -> Duration {
        let wait = self.next;
        self.next = (wait * 2).min(self.max);
        shortened(wait)
    }

    /// It has succeeded: the next wait is the first one again.
    pub(crate) fn reset(&mut self) {
        self.next = self.min;
    }
}
