//! Something that is done again and again, at even distances by the clock that was passed down, until it is to stop.

use std::time::Duration;

use keepwell_workers::clock::{SharedClock, UnixMs};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// The longest time between two looks at the clock, which may be set at any time.
const LOOK_MAX: Duration = Duration::from_secs(1);

/// When the next round is. What was missed is not made up for.
#[derive(Debug)]
pub(super) struct Rounds {
    clock: SharedClock,
    every_ms: i64,
    next_ms: UnixMs,
}

impl Rounds {
    /// A round every `every_ms`, the first one now.
    pub(super) fn now_and_every(every_ms: i64, clock: SharedClock) -> Self {
        let next_ms = clock.now_ms();
        Self { clock, every_ms: every_ms.max(1), next_ms }
    }

    /// A round every `every_ms`, the first one after `first_ms`, which is no longer.
    pub(super) fn after(first_ms: i64, every_ms: i64, clock: SharedClock) -> Self {
        let mut rounds = Self::now_and_every(every_ms, clock);
        rounds.next_ms = rounds.next_ms.saturating_add(first_ms);
        rounds
    }

    /// The time between two rounds, in milliseconds.
    pub(super) const fn every_ms(&self) -> i64 {
        self.every_ms
    }

    /// Waits for the next round; `false` if it is to stop instead.
    pub(super) async fn next(&mut self, stop: &CancellationToken) -> bool {
        while let Some(rest) = self.rest(self.clock.now_ms()) {
            tokio::select! {
                () = stop.cancelled() => return false,
                () = sleep(rest) => {}
            }
        }
        !stop.is_cancelled()
    }

    /// Has the next round come after `after_ms`, unless it comes before that.
    pub(super) fn sooner(&mut self, after_ms: i64) {
        self.next_ms = self.next_ms.min(self.clock.now_ms().saturating_add(after_ms));
    }

    /// How long to wait before the clock is looked at again; `None` if a round is to be done now.
    fn rest(&mut self, now_ms: UnixMs) -> Option<Duration> {
        // A clock that was set back holds nothing up for longer than a round.
        self.next_ms = self.next_ms.min(now_ms.saturating_add(self.every_ms));
        if now_ms < self.next_ms {
            let rest_ms = u64::try_from(self.next_ms.saturating_sub(now_ms)).unwrap_or(0);
            return Some(Duration::from_millis(rest_ms).min(LOOK_MAX));
        }
        let after_ms = self.next_ms.saturating_add(self.every_ms);
        self.next_ms = if after_ms > now_ms { after_ms } else { now_ms.saturating_add(self.every_ms) };
        None
    }
}

#[cfg(test)]
mod tests {
    use keepwell_workers::clock::{Clock as _, ManualClock};

    use super::*;

    #[test]
    fn rounds_keep_their_distance_whatever_becomes_of_the_clock() {
        let clock = ManualClock::at(10_000);
        let mut rounds = Rounds::after(200, 500, clock.clone());
        let mut rest_ms = |by_ms| {
            clock.advance_ms(by_ms);
            rounds.rest(clock.now_ms()).map(|rest| rest.as_millis())
        };
        assert_eq!((rest_ms(0), rest_ms(150), rest_ms(50)), (Some(200), Some(50), None));
        // A round that was late does not move the ones behind it.
        assert_eq!((rest_ms(510), rest_ms(0)), (None, Some(490)));
        // What was missed is not made up for.
        assert_eq!(
            (rest_ms(100_000), rest_ms(0), rest_ms(499), rest_ms(1)),
            (None, Some(500), Some(1), None)
        );
        assert_eq!((rest_ms(-1_000_000), rest_ms(499), rest_ms(1)), (Some(500), Some(1), None));
    }

    #[test]
    fn a_round_that_is_wanted_sooner_comes_sooner_and_never_later() {
        let clock = ManualClock::at(0);
        let mut rounds = Rounds::after(200, 60_000, clock.clone());
        rounds.sooner(5_000);
        clock.advance_ms(200);
        assert_eq!(rounds.rest(clock.now_ms()), None);
        rounds.sooner(500);
        assert_eq!(rounds.rest(clock.now_ms()), Some(Duration::from_millis(500)));
        clock.advance_ms(500);
        assert_eq!(rounds.rest(clock.now_ms()), None);
    }

    #[tokio::test]
    async fn rounds_go_by_the_clock_that_was_passed_down_until_they_are_to_stop() {
        let (clock, stop) = (ManualClock::at(0), CancellationToken::new());
        let mut rounds = Rounds::now_and_every(3_600_000, clock.clone());
        assert!(rounds.next(&stop).await);
        clock.advance_ms(3_600_000);
        assert!(rounds.next(&stop).await);
        stop.cancel();
        assert!(!rounds.next(&stop).await, "nobody waits for an hour that does not pass");
        clock.advance_ms(3_600_000);
        assert!(!rounds.next(&stop).await);
    }
}
