//! How fast somebody outside may be asked: so many at a time, so many a second, and not at all for a while after they
//! have said that it was too much.
//!
//! Nobody waits here. Whoever is too early learns when to come again, and leaves its place in the pool to others.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

/// How soon somebody who found all places taken should come again.
const FULL_WAIT: Duration = Duration::from_millis(250);

/// A pace that is kept by everybody who asks for leave.
#[derive(Debug)]
pub(super) struct Pace {
    places: Arc<Semaphore>,
    /// Between one and the next, once the burst is spent.
    gap: Duration,
    burst: Duration,
    /// When the next one would be due if they came one after another; `None` before the first.
    due: Mutex<Option<Instant>>,
}

impl Pace {
    /// `at_a_time` at a time, `a_second` a second, after a second's worth at once.
    pub(super) fn new(at_a_time: usize, a_second: u32) -> Self {
        Self {
            places: Arc::new(Semaphore::new(at_a_time.max(1))),
            gap: Duration::from_secs(1) / a_second.max(1),
            burst: Duration::from_secs(1),
            due: Mutex::new(None),
        }
    }

    /// A place for as long as it is held, or when to come again.
    pub(super) fn enter(&self) -> Result<OwnedSemaphorePermit, Duration> {
        self.enter_at(Instant::now())
    }

    /// Nobody enters for `rest`.
    pub(super) fn rest(&self, rest: Duration) {
        self.rest_at(Instant::now(), rest);
    }

    fn enter_at(&self, now: Instant) -> Result<OwnedSemaphorePermit, Duration> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| FULL_WAIT)?;
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        let next = due.map_or(now, |due| due.max(now));
        let early = next.saturating_duration_since(now + self.burst);
        if !early.is_zero() {
            return Err(early.max(self.gap));
        }
        *due = Some(next + self.gap);
        Ok(place)
    }

    fn rest_at(&self, now: Instant, rest: Duration) {
        let until = now + rest + self.burst;
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        *due = Some(due.map_or(until, |due| due.max(until)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_let_through_and_then_so_many_a_second() {
        let (pace, now) = (Pace::new(100, 10), Instant::now());
        let entered = |now| (0..30).filter(|_| pace.enter_at(now).is_ok()).count();
        assert_eq!(entered(now), 11);
        assert!(pace.enter_at(now).is_err_and(|wait| wait >= Duration::from_millis(100)));
        assert_eq!(entered(now + Duration::from_secs(1)), 10);
    }

    #[test]
    fn whoever_said_that_it_was_too_much_is_left_alone_for_as_long_as_asked() {
        let (pace, now) = (Pace::new(100, 10), Instant::now());
        let enter_after = |wait_ms| pace.enter_at(now + Duration::from_millis(wait_ms)).map(drop);
        pace.rest_at(now, Duration::from_secs(7));
        assert_eq!(enter_after(0), Err(Duration::from_secs(7)));
        assert!(enter_after(6_999).is_err());
        assert_eq!(enter_after(7_000), Ok(()));
    }

    #[test]
    fn a_place_is_free_again_once_it_is_given_back() {
        let pace = Pace::new(1, 1_000);
        let held = pace.enter();
        assert_eq!(pace.enter().map(drop), Err(FULL_WAIT));
        drop(held);
        assert!(pace.enter().is_ok());
    }
}
