//! Whether the lanes may miss something that is owed.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What the lanes may be missing. Whoever could not place a job, or has reason to think that Redis forgot some, marks
/// it; a comparison with the ledger that has succeeded takes back what was marked before it began.
#[derive(Debug, Default)]
pub(crate) struct Behind {
    marked: AtomicU64,
    mended: AtomicU64,
    crisis_unplaced: AtomicBool,
}

impl Behind {
    /// Something that was recorded may not be in its lane. `true` if nothing was missing before.
    pub(crate) fn mark(&self) -> bool {
        let before = self.marked.fetch_add(1, Ordering::AcqRel);
        before == self.mended.load(Ordering::Acquire)
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
}
