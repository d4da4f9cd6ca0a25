//! Whether entries wait for a block for longer than they should. Those that wait for a key, which is brought to one
//! node after another, may wait longer than those that nobody seals.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use keepwell_jobs::store::audit::{Finding, Problem, Waits};
use keepwell_workers::id::JobId;
use tokio::time::Instant;

/// For how long an entry may be in no block: blocks are made every second, and a flood of entries takes its time. Our
/// number.
const UNSEALED_MAX: Duration = Duration::from_secs(60);

/// For how long a process may be without a key that others have, before that is called a fault: while a new key is
/// brought to one node after another. What is sealed with that key may wait for its block as long. Our number.
pub(super) const KEY_UNKNOWN_MAX: Duration = Duration::from_secs(3_600);

/// The entries that wait in front of all others, and since when they are known to.
#[derive(Debug, Default)]
pub(super) struct Waiting(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    ready: Option<(JobId, Instant)>,
    for_key: Option<(JobId, String, Instant)>,
}

impl Waiting {
    /// These wait in front of all others now.
    pub(super) fn saw(&self, waits: Waits, now: Instant) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let since = |entry: JobId, before: Option<(JobId, Instant)>| {
            before.filter(|(id, _)| *id == entry).map_or(now, |(_, since)| since)
        };
        known.ready = waits.ready.map(|entry| (entry, since(entry, known.ready)));
        let before = known.for_key.take().map(|(entry, _, since)| (entry, since));
        known.for_key = waits.for_key.map(|(entry, key)| (entry, key, since(entry, before)));
    }

    /// What is wrong with how long they have waited.
    pub(super) fn too_long(&self, now: Instant) -> Option<Finding> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waits = |since: Instant| now.duration_since(since);
        let finding = |entry: JobId, detail| {
            Some(Finding::at_entry(Problem::Unsealed, None, (None, Some(entry)), detail))
        };
        if let Some((entry, since)) = known.ready.filter(|(_, since)| waits(*since) > UNSEALED_MAX) {
            let (waits, most) = (waits(since).as_secs(), UNSEALED_MAX.as_secs());
            let detail = format!(
                "the entry is in no block after {waits} s; {most} s are the most, so nobody seals the trail"
            );
            return finding(entry, detail);
        }
        let late = known.for_key.as_ref().filter(|(.., since)| waits(*since) > KEY_UNKNOWN_MAX);
        late.and_then(|(entry, key, since)| {
            let (waits, most) = (waits(*since).as_secs(), KEY_UNKNOWN_MAX.as_secs());
            let detail = format!(
                "the entry is in no block after {waits} s; it waits for the key `{key}`, which is to be in the key \
                 ring of whoever seals within {most} s"
            );
            finding(*entry, detail)
        })
    }

    /// The key that entries wait for, as they may.
    pub(super) fn key(&self) -> Option<String> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.for_key.as_ref().map(|(_, key, _)| key.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(ready: Option<JobId>, for_key: Option<JobId>) -> Waits {
        Waits { ready, for_key: for_key.map(|entry| (entry, "new".to_owned())) }
    }

    #[test]
    fn an_entry_waits_for_too_long_only_if_it_is_the_same_one_all_the_time() {
        let (waiting, begin) = (Waiting::default(), Instant::now());
        let (one, other) = (JobId::new(1), JobId::new(2));
        let at = |seconds| begin + Duration::from_secs(seconds);
        let late = |now| waiting.too_long(now).and_then(|finding| finding.entry);
        waiting.saw(waits(Some(one), None), at(0));
        waiting.saw(waits(Some(one), None), at(60));
        assert_eq!(late(at(60)), None);
        assert_eq!(late(at(61)), Some(one.to_string().into()));
        let detail = waiting.too_long(at(61)).unwrap().detail;
        assert!(detail.contains("after 61 s") && detail.contains("nobody seals"), "{detail}");
        waiting.saw(waits(Some(other), None), at(61));
        assert_eq!(late(at(121)), None);
        assert_eq!(late(at(122)), Some(other.to_string().into()));
        waiting.saw(Waits::default(), at(122));
        assert_eq!(late(at(999)), None);
    }

    #[test]
    fn what_waits_for_a_key_that_is_brought_round_may_wait_longer_than_what_nobody_seals() {
        let (waiting, begin) = (Waiting::default(), Instant::now());
        let (locked, ready) = (JobId::new(1), JobId::new(2));
        let at = |seconds| begin + Duration::from_secs(seconds);
        let late = |now| waiting.too_long(now).and_then(|finding| finding.entry);
        waiting.saw(waits(None, Some(locked)), at(0));
        waiting.saw(waits(Some(ready), Some(locked)), at(3_000));
        assert_eq!((late(at(3_060)), waiting.key().as_deref()), (None, Some("new")));
        assert_eq!(late(at(3_061)), Some(ready.to_string().into()), "behind it nothing is hidden");
        waiting.saw(waits(None, Some(locked)), at(3_061));
        assert_eq!(late(at(3_600)), None);
        assert_eq!(late(at(3_601)), Some(locked.to_string().into()));
        assert!(waiting.too_long(at(3_601)).unwrap().detail.contains("the key `new`"));
        waiting.saw(Waits::default(), at(3_601));
        assert_eq!((late(at(9_999)), waiting.key()), (None, None));
    }
}
