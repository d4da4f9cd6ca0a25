//! How fast somebody outside may be asked: so many at a time, so many a second, and not at all for a while after they
//! have said that it was too much.
//!
//! Nobody waits here. Whoever is too early learns when to come again, and leaves its place in the pool to others. The
//! more are turned away, the further apart they come again, so that a long queue is not a crowd at the door.

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

/// Those who were turned away come again over at least this long, not all at once.
const SPREAD_MIN: Duration = Duration::from_millis(250);

/// And over at most this long.
const SPREAD_MAX: Duration = Duration::from_secs(30 * 60);

/// A pace that is kept by everybody who asks for leave.
#[derive(Debug)]
pub(super) struct Pace {
    places: Arc<Semaphore>,
    /// Between one and the next, once the burst is spent.
    gap: Duration,
    burst: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// When the next one would be due if they came one after another; `None` before the first.
    due: Option<Instant>,
    /// How long those who were turned away will take, as far as that can be told.
    behind: Duration,
}

/// It is too early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooEarly {
    wait: Duration,
    spread: Duration,
}

impl TooEarly {
    /// When to come again; `share` out of 65536 says when among the others.
    pub(super) fn wait(self, share: u16) -> Duration {
        self.wait + self.spread.mul_f64(f64::from(share) / 65_536.0)
    }
}

impl Pace {
    /// `at_a_time` at a time, `a_second` a second, after a second's worth at once.
    pub(super) fn new(at_a_time: usize, a_second: u32) -> Self {
        Self {
            places: Arc::new(Semaphore::new(at_a_time.max(1))),
            gap: Duration::from_secs(1) / a_second.max(1),
            burst: Duration::from_secs(1),
            state: Mutex::default(),
        }
    }

    /// A place for as long as it is held, or when to come again.
    pub(super) fn enter(&self) -> Result<OwnedSemaphorePermit, TooEarly> {
        self.enter_at(Instant::now())
    }

    /// Nobody enters for `rest`.
    pub(super) fn rest(&self, rest: Duration) {
        self.rest_at(Instant::now(), rest);
    }

    fn enter_at(&self, now: Instant) -> Result<OwnedSemaphorePermit, TooEarly> {
        let place = Arc::clone(&self.places).try_acquire_owned();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let next = state.due.map_or(now, |due| due.max(now));
        let early = next.saturating_duration_since(now + self.burst);
        let wait = if early.is_zero() { FULL_WAIT } else { early.max(self.gap) };
        match place {
            Ok(place) if early.is_zero() => {
                // Whoever still waits elsewhere after a second in which nobody came is no crowd.
                let idle = state.due.is_none_or(|due| due + self.burst <= now);
                state.behind = if idle { Duration::ZERO } else { state.behind.saturating_sub(self.gap) };
                state.due = Some(next + self.gap);
                Ok(place)
            }
            _ => {
                state.behind = (state.behind + self.gap).min(SPREAD_MAX);
                Err(TooEarly { wait, spread: state.behind.max(SPREAD_MIN) })
            }
        }
    }

    fn rest_at(&self, now: Instant, rest: Duration) {
        let until = now + rest + self.burst;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.due = Some(state.due.map_or(until, |due| due.max(until)));
    }
}

#[cfg(test)]
mod tests {
    use std::{cmp::Reverse, collections::BinaryHeap};

    use super::*;

    #[test]
    fn a_burst_is_let_through_and_then_so_many_a_second() {
        let (pace, now) = (Pace::new(100, 10), Instant::now());
        let entered = |now| (0..30).filter(|_| pace.enter_at(now).is_ok()).count();
        assert_eq!(entered(now), 11);
        assert!(pace.enter_at(now).is_err_and(|early| early.wait(0) >= Duration::from_millis(100)));
        assert_eq!(entered(now + Duration::from_secs(1)), 10);
    }

    #[test]
    fn whoever_said_that_it_was_too_much_is_left_alone_for_as_long_as_asked() {
        let (pace, now) = (Pace::new(100, 10), Instant::now());
        let enter_after = |wait_ms| pace.enter_at(now + Duration::from_millis(wait_ms)).map(drop);
        pace.rest_at(now, Duration::from_secs(7));
        assert_eq!(enter_after(0).map_err(|early| early.wait(0)), Err(Duration::from_secs(7)));
        assert!(enter_after(6_999).is_err());
        assert_eq!(enter_after(7_000), Ok(()));
    }

    #[test]
    fn a_place_is_free_again_once_it_is_given_back() {
        let pace = Pace::new(1, 1_000);
        let held = pace.enter();
        assert_eq!(pace.enter().map(drop).map_err(|early| early.wait(0)), Err(FULL_WAIT));
        drop(held);
        assert!(pace.enter().is_ok());
    }

    #[test]
    fn a_long_queue_is_no_crowd_at_the_door() {
        const WAITING: u64 = 20_000;
        let (pace, begun) = (Pace::new(100, 20), Instant::now());
        let mut coming: BinaryHeap<Reverse<(Instant, u64)>> =
            (0..WAITING).map(|number| Reverse((begun, number))).collect();
        let (mut turned_away, mut ended) = (0_u64, begun);
        while let Some(Reverse((now, number))) = coming.pop() {
            ended = now;
            if let Err(early) = pace.enter_at(now) {
                turned_away += 1;
                let share =
                    (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ turned_away.wrapping_mul(0x9e37)) as u16;
                coming.push(Reverse((now + early.wait(share), number)));
            }
        }
        let took = ended.duration_since(begun);
        println!("{turned_away} times turned away in {took:?}");
        assert!(turned_away < 10 * WAITING, "{turned_away}");
        assert!(took < Duration::from_secs(3 * WAITING / 20), "{took:?}");
    }
}
