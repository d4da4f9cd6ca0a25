//! What becomes of the ticks that are due: which ones fire, which ones are left out, and how far the schedule has then
//! come. Pure: the same instants give the same answer on every node.

use keepwell_workers::clock::UnixMs;

use crate::timing::Timing;

/// A tick that is seen no later than this has not been missed, in milliseconds: a look may be late because a machine is
/// busy or a database slow.
pub const ON_TIME_MS: i64 = 10_000;

/// Ticks of one schedule that fire at one look; the others follow with the next looks. One transaction records them,
/// and a crisis that is to be recorded waits for as long.
pub const TICKS_PER_LOOK_MAX: usize = 100;

/// More ticks than this that were left out are not counted.
pub const SKIPPED_COUNT_MAX: u64 = 10_000;

/// What becomes of ticks that nobody saw in time: the daemon, its database or the whole machine was away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missed {
    /// They are left out.
    Skip,
    /// The last of them fires, the others are left out.
    Once,
    /// They all fire, earliest first.
    All,
}

/// What becomes of a tick while the job of the one before is still owed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overlap {
    /// Its job waits until that one has ended.
    Wait,
    /// It is left out.
    Skip,
    /// Its job runs beside that one.
    Allow,
}

/// When ticks are due, and what becomes of them.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Which instants are ticks.
    pub timing: Timing,
    /// What becomes of those that were missed.
    pub missed: Missed,
    /// What was missed longer ago than this is left out, in milliseconds.
    pub window_ms: i64,
    /// What becomes of those that come too early.
    pub overlap: Overlap,
}

/// What is to be done at a look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The ticks that fire, earliest first.
    pub fire: Vec<UnixMs>,
    /// How many are left out; of more than [`SKIPPED_COUNT_MAX`], so many.
    pub skipped: u64,
    /// Every tick until this instant has been decided on.
    pub through_ms: UnixMs,
}

impl Rules {
    /// What is to be done at `now_ms` about the ticks behind `through_ms`; `None` if none is due. `busy` is whether the
    /// job of an earlier tick is still owed.
    pub fn plan(&self, through_ms: UnixMs, now_ms: UnixMs, busy: bool) -> Option<Plan> {
        let last_ms = self.timing.last_between(through_ms, now_ms)?;
        // Behind this instant ticks are on time; until this instant they were missed.
        let missed_until_ms = now_ms.saturating_sub(ON_TIME_MS + 1).max(through_ms);
        let window_ms = now_ms.saturating_sub(self.window_ms.max(ON_TIME_MS) + 1).max(through_ms);
        let from = |after_ms: UnixMs| -> Vec<UnixMs> {
            self.timing.between(after_ms, last_ms).take(TICKS_PER_LOOK_MAX).collect()
        };
        let mut fire = match self.missed {
            Missed::Once if last_ms <= missed_until_ms => {
                self.timing.last_between(window_ms, last_ms).into_iter().collect()
            }
            // What is on time makes up for what was missed.
            Missed::Once | Missed::Skip => from(missed_until_ms),
            Missed::All => from(window_ms),
        };
        if self.overlap == Overlap::Skip {
            // Of several at once only one could run.
            let keep = usize::from(!busy);
            fire.drain(..fire.len().saturating_sub(keep));
        }
        let more = fire.len() == TICKS_PER_LOOK_MAX;
        let through_after_ms = if more { fire.last().copied().unwrap_or(last_ms) } else { last_ms };
        let fired = fire.len() as u64;
        let due = self.timing.count_between(through_ms, through_after_ms, SKIPPED_COUNT_MAX + fired);
        let skipped = due.saturating_sub(fired);
        Some(Plan { fire, skipped, through_ms: through_after_ms })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: i64 = 3_600_000;
    const DAY_MS: i64 = 24 * HOUR_MS;

    fn rules(every: &str, missed: Missed, window_ms: i64, overlap: Overlap) -> Rules {
        Rules { timing: Timing::every(every).unwrap(), missed, window_ms, overlap }
    }

    #[test]
    fn what_becomes_of_ticks_is_what_the_table_says() {
        use Missed::{All, Once, Skip};
        let hours = |hours: &[i64]| hours.iter().map(|hour| hour * HOUR_MS).collect::<Vec<_>>();
        // Every hour; the schedule has come through hour 10.
        for (missed, window_ms, now_ms, fire, skipped) in [
            // Nothing was missed.
            (Skip, DAY_MS, 11 * HOUR_MS, hours(&[11]), 0),
            (Once, DAY_MS, 11 * HOUR_MS, hours(&[11]), 0),
            (All, DAY_MS, 11 * HOUR_MS, hours(&[11]), 0),
            // As late as on time goes, and a millisecond later.
            (Skip, DAY_MS, 11 * HOUR_MS + ON_TIME_MS, hours(&[11]), 0),
            (Skip, DAY_MS, 11 * HOUR_MS + ON_TIME_MS + 1, hours(&[]), 1),
            (Once, DAY_MS, 11 * HOUR_MS + ON_TIME_MS + 1, hours(&[11]), 0),
            // Four hours away.
            (Skip, DAY_MS, 14 * HOUR_MS + HOUR_MS / 2, hours(&[]), 4),
            (Once, DAY_MS, 14 * HOUR_MS + HOUR_MS / 2, hours(&[14]), 3),
            (All, DAY_MS, 14 * HOUR_MS + HOUR_MS / 2, hours(&[11, 12, 13, 14]), 0),
            // Back in the very moment in which one is due.
            (Skip, DAY_MS, 14 * HOUR_MS, hours(&[14]), 3),
            (Once, DAY_MS, 14 * HOUR_MS, hours(&[14]), 3),
            (All, DAY_MS, 14 * HOUR_MS, hours(&[11, 12, 13, 14]), 0),
            // Longer away than the window is.
            (All, 2 * HOUR_MS, 14 * HOUR_MS + HOUR_MS / 2, hours(&[13, 14]), 2),
            (All, 2 * HOUR_MS, 14 * HOUR_MS, hours(&[12, 13, 14]), 1),
            (Once, HOUR_MS / 4, 14 * HOUR_MS + HOUR_MS / 2, hours(&[]), 4),
            (Once, HOUR_MS / 2, 14 * HOUR_MS + HOUR_MS / 2, hours(&[14]), 3),
        ] {
            let plan = rules("1h", missed, window_ms, Overlap::Wait).plan(10 * HOUR_MS, now_ms, false);
            let last_ms = now_ms / HOUR_MS * HOUR_MS;
            assert_eq!(
                plan,
                Some(Plan { fire, skipped, through_ms: last_ms }),
                "{missed:?} {window_ms} {now_ms}"
            );
        }
    }

    #[test]
    fn nothing_is_decided_before_something_is_due() {
        let rules = rules("1h", Missed::All, DAY_MS, Overlap::Wait);
        assert_eq!(rules.plan(10 * HOUR_MS, 11 * HOUR_MS - 1, false), None);
        assert_eq!(rules.plan(10 * HOUR_MS, 3 * HOUR_MS, false), None, "a clock that was set back");
    }

    #[test]
    fn a_long_absence_is_made_up_for_in_bounded_steps_that_leave_nothing_out() {
        let rules = rules("1s", Missed::All, HOUR_MS, Overlap::Allow);
        let (mut through_ms, now_ms, mut fired) = (0, DAY_MS, Vec::new());
        let mut skipped = 0;
        while let Some(plan) = rules.plan(through_ms, now_ms, false) {
            assert!(plan.fire.len() <= TICKS_PER_LOOK_MAX && plan.through_ms > through_ms);
            (through_ms, skipped) = (plan.through_ms, skipped + plan.skipped);
            fired.extend(plan.fire);
        }
        let expected: Vec<i64> = (23 * 3_600..=24 * 3_600).map(|second| second * 1_000).collect();
        assert_eq!(fired, expected);
        assert_eq!(skipped, SKIPPED_COUNT_MAX, "more are not counted");
    }

    #[test]
    fn a_tick_that_would_overlap_is_left_out() {
        let rules = rules("1s", Missed::Skip, DAY_MS, Overlap::Skip);
        let plan = rules.plan(10_000, 13_500, false).unwrap();
        assert_eq!((plan.fire, plan.skipped, plan.through_ms), (vec![13_000], 2, 13_000));
        let plan = rules.plan(10_000, 13_500, true).unwrap();
        assert_eq!((plan.fire, plan.skipped, plan.through_ms), (vec![], 3, 13_000));
    }
}
