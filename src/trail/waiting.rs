//! Whether entries wait for a block for longer than they should.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use keepwell_workers::id::JobId;
use tokio::time::Instant;

/// For how long an entry may be in no block: blocks are made every second, and a flood of entries takes its time. Our
/// number.
pub(super) const UNSEALED_MAX: Duration = Duration::from_secs(60);

/// The entry that waits in front of all others, and since when it is known to.
#[derive(Debug, Default)]
pub(super) struct Waiting(Mutex<Option<(JobId, Instant)>>);

impl Waiting {
    /// `first` waits in front of all others now; `None` if none waits.
    pub(super) fn saw(&self, first: Option<JobId>, now: Instant) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let since = known.filter(|(id, _)| first == Some(*id)).map_or(now, |(_, since)| since);
        *known = first.map(|id| (id, since));
    }

    /// The entry that has waited for too long, and for how long at least.
    pub(super) fn too_long(&self, now: Instant) -> Option<(JobId, Duration)> {
        let known = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.map(|(id, since)| (id, now.duration_since(since))).filter(|(_, waits)| *waits > UNSEALED_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_waits_for_too_long_only_if_it_is_the_same_one_all_the_time() {
        let (waiting, begin) = (Waiting::default(), Instant::now());
        let (one, other) = (JobId::new(1), JobId::new(2));
        let at = |seconds| begin + Duration::from_secs(seconds);
        waiting.saw(Some(one), at(0));
        waiting.saw(Some(one), at(60));
        assert_eq!(waiting.too_long(at(60)), None);
        assert_eq!(waiting.too_long(at(61)), Some((one, Duration::from_secs(61))));
        waiting.saw(Some(other), at(61));
        assert_eq!(waiting.too_long(at(121)), None);
        assert_eq!(waiting.too_long(at(122)), Some((other, Duration::from_secs(61))));
        waiting.saw(None, at(122));
        assert_eq!(waiting.too_long(at(999)), None);
    }
}
