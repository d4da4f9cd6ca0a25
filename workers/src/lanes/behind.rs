//! Whether the lanes may miss something that is owed.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use crate::database::STATEMENT_TIMEOUT_MS;

/// How long after a doubt the lanes are compared once more. Each further time it is twice as long, until no statement
/// that was given up can have an effect any more.
const DOUBT_MIN: Duration = Duration::from_secs(1);

/// What the lanes may be missing. Whoever could not place a job, or has reason to think that Redis forgot some, marks
/// it; a comparison with the ledger that has succeeded takes back what was marked before it began.
#[derive(Debug, Default)]
pub(crate) struct Behind {
    marked: AtomicU64,
    mended: AtomicU64,
    crisis_unplaced: AtomicBool,
    doubt: Mutex<Option<Doubt>>,
}

/// Something may yet come to be recorded that nobody waits for any more.
#[derive(Debug, Clone, Copy)]
struct Doubt {
    since: Instant,
    next: Instant,
}

impl Behind {
    /// Something that was recorded may not be in its lane. `true` if nothing was missing before.
    pub(crate) fn mark(&self) -> bool {
        let before = self.marked.fetch_add(1, Ordering::AcqRel);
        before == self.mended.load(Ordering::Acquire)
    }

    /// Something may have been recorded `now` or, by a server that is slow, may be later.
    pub(crate) fn doubt(&self, now: Instant) {
        self.mark();
        *self.doubts() = Some(Doubt { since: now, next: now + DOUBT_MIN });
    }

    /// Marks it again if a doubt is to be looked into once more by `now`.
    pub(crate) fn mark_doubts(&self, now: Instant) {
        let mut doubts = self.doubts();
        let Some(doubt) = doubts.filter(|doubt| doubt.next <= now) else { return };
        self.mark();
        let lasted = now - doubt.since;
        let is_over = lasted > Duration::from_millis(STATEMENT_TIMEOUT_MS);
        *doubts = (!is_over).then(|| Doubt { next: now + lasted, ..doubt });
    }

    fn doubts(&self) -> MutexGuard<'_, Option<Doubt>> {
        self.doubt.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a comparison is due or under way.
    pub(crate) fn is_marked(&self) -> bool {
        self.marked() != self.mended.load(Ordering::Acquire)
    }

    /// How often something was marked so far; for [`Behind::mend`].
    pub(crate) fn marked(&self) -> u64 {
        self.marked.load(Ordering::Acquire)
    }

    /// Everything that was marked when `upto` was read has been found again.
    pub(crate) fn mend(&self, upto: u64) {
        self.mended.fetch_max(upto, Ordering::AcqRel);
    }

    /// A crisis job could not be placed: the ledger has to be asked for it at once, not only by the next comparison.
    pub(crate) fn mark_crisis(&self) {
        self.crisis_unplaced.store(true, Ordering::Release);
    }

    /// Whether that is so; asked once.
    pub(crate) fn take_crisis(&self) -> bool {
        self.crisis_unplaced.swap(false, Ordering::AcqRel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_marked_during_a_comparison_outlives_it() {
        let behind = Behind::default();
        assert!(!behind.is_marked());
        assert!(behind.mark() && !behind.mark());
        let upto = behind.marked();
        behind.mark();
        behind.mend(upto);
        assert!(behind.is_marked());
        behind.mend(behind.marked());
        assert!(!behind.is_marked());
    }

    #[test]
    fn a_doubt_is_looked_into_again_and_again_until_nothing_can_come_of_it() {
        let (behind, begin) = (Behind::default(), Instant::now());
        let mut marked_after_s = Vec::new();
        behind.doubt(begin);
        for second in 0..120 {
            behind.mark_doubts(begin + Duration::from_secs(second));
            if behind.is_marked() {
                behind.mend(behind.marked());
                marked_after_s.push(second);
            }
        }
        assert_eq!(marked_after_s, [0, 1, 2, 4, 8, 16]);
    }
}
