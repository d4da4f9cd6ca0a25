//! The clocks of the processes that share a ledger, one against another: what one of them recorded another may answer,
//! and how long that took can only be said on one clock.
//!
//! Each process compares its clock with that of Redis once a second, with the question by which it sees whether the
//! lanes answer, and leaves the difference there for the others. Which process has recorded a job its id says.
//!
//! Another server has another clock, and after a fail-over it may have the differences of the one before: all of them
//! are learnt anew then. What a process recorded that is no more by then is not measured.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::{clock::UnixMs, id::JobId};

/// Processes whose difference is remembered, at most. Those that are no more stay: what they recorded may be owed.
const KNOWN_MAX: usize = 1_024;

/// What lets two comparisons be as good as each other, however short their ways.
const SAME_WAY: Duration = Duration::from_millis(1);

/// Which process has recorded a job: three bytes that are drawn at its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Recorder(pub(crate) [u8; 3]);

impl Recorder {
    /// As the lanes keep it.
    pub(crate) fn number(self) -> u32 {
        let [a, b, c] = self.0;
        u32::from_be_bytes([0, a, b, c])
    }

    /// The one that has `number`.
    pub(crate) fn of_number(number: u32) -> Self {
        let [_, a, b, c] = number.to_be_bytes();
        Self([a, b, c])
    }
}

/// What a process knows of the clocks. Cheap to clone; clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Clocks(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    own: Recorder,
    /// All processes are on one machine, and so have one clock.
    one_machine: bool,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// How far Redis' clock is ahead of ours, in milliseconds, and how long the way was on which that was seen.
    own: Option<(i64, Duration)>,
    /// How far it is ahead of the others'.
    others: HashMap<Recorder, i64>,
    /// In which life of Redis that was seen.
    server: Option<String>,
}

impl Clocks {
    /// Those of a process that begins; `one_machine` if the ledger cannot be shared by several.
    pub(crate) fn new(one_machine: bool) -> Self {
        let own = Recorder(rand::random());
        Self(Arc::new(Inner { own, one_machine, known: Mutex::default() }))
    }

    /// By what this process' jobs are known.
    pub(crate) fn own(&self) -> Recorder {
        self.0.own
    }

    /// How far Redis' clock is ahead of ours, in milliseconds; `None` as long as nobody has looked.
    pub(crate) fn ahead_ms(&self) -> Option<i64> {
        self.lock().own.map(|(ahead_ms, _)| ahead_ms)
    }

    /// Redis lives its life `server` now. If it was another one before, its clock may be another too, and what was
    /// known counts no more.
    pub(crate) fn are_compared_with(&self, server: &str) {
        let mut known = self.lock();
        if known.server.as_deref().is_some_and(|before| before != server) {
            *known = Known::default();
        }
        if known.server.is_none() {
            known.server = Some(server.to_owned());
        }
    }

    /// Redis showed `redis_ms` when it was asked at `asked_ms`, which took `way` there and back; and it knows of the
    /// `others`.
    pub(crate) fn compared(
        &self,
        asked_ms: UnixMs,
        way: Duration,
        redis_ms: UnixMs,
        others: impl IntoIterator<Item = (Recorder, i64)>,
    ) {
        let mut known = self.lock();
        let halfway_ms = asked_ms.saturating_add(i64::try_from(way.as_millis() / 2).unwrap_or(0));
        let ahead_ms = redis_ms.saturating_sub(halfway_ms);
        known.own = Some(match known.own {
            // On a long way nobody knows where Redis looked at its clock. So that what has become long for good counts
            // as well, each refusal makes the next one less likely.
            Some((before_ms, shortest)) if way > shortest * 2 + SAME_WAY => {
                (before_ms, shortest * 2 + SAME_WAY)
            }
            _ => (ahead_ms, way),
        });
        for (recorder, ahead_ms) in others {
            if known.others.len() >= KNOWN_MAX && !known.others.contains_key(&recorder) {
                known.others.clear();
            }
            known.others.insert(recorder, ahead_ms);
        }
    }

    /// What has to be added to an instant of ours, in milliseconds, to have it on the clock that the job `id` was
    /// recorded by; `None` if nobody knows.
    pub(crate) fn to_recorders_ms(&self, id: JobId) -> Option<i64> {
        let recorder = id.recorder();
        if recorder == self.0.own || self.0.one_machine {
            return Some(0);
        }
        let known = self.lock();
        let (own_ms, _) = known.own?;
        Some(own_ms.saturating_sub(*known.others.get(&recorder)?))
    }

    /// How long ago the job `id` was recorded, which its recorder's clock showed as `created_ms`, at `now_ms` of ours;
    /// `None` if nobody knows.
    pub(crate) fn since(&self, id: JobId, created_ms: UnixMs, now_ms: UnixMs) -> Option<Duration> {
        let then_ms = now_ms.saturating_add(self.to_recorders_ms(id)?);
        Some(Duration::from_millis(u64::try_from(then_ms.saturating_sub(created_ms)).unwrap_or(0)))
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAY: Duration = Duration::from_millis(2);

    #[test]
    fn an_instant_is_carried_to_the_clock_of_whoever_recorded_the_job() {
        let (ours, other) = (Clocks::new(false), Recorder([1, 2, 3]));
        let own = JobId::new(5_000).recorded_by(ours.own());
        let foreign = JobId::new(8_000).recorded_by(other);
        assert_eq!(foreign.recorder(), other);
        assert_eq!(Recorder::of_number(other.number()), other);
        assert_eq!(
            ours.since(own, 5_000, 5_040),
            Some(Duration::from_millis(40)),
            "our own clock needs no Redis"
        );
        assert_eq!(ours.since(foreign, 8_000, 5_040), None, "nobody has compared them");
        // The other one's clock is 3 s ahead of ours, and Redis' in between.
        ours.compared(5_000, WAY, 7_001, [(other, -1_000)]);
        assert_eq!((ours.ahead_ms(), ours.to_recorders_ms(foreign)), (Some(2_000), Some(3_000)));
        assert_eq!(ours.since(foreign, 8_000, 5_040), Some(Duration::from_millis(40)));
        assert_eq!(ours.since(foreign, 8_000, 4_900), Some(Duration::ZERO));
        assert_eq!(Clocks::new(true).since(foreign, 8_000, 8_040), Some(Duration::from_millis(40)));
    }

    #[test]
    fn a_comparison_on_a_long_way_counts_less_until_every_way_is_long() {
        let clocks = Clocks::new(false);
        clocks.compared(0, WAY, 1_001, []);
        clocks.compared(0, Duration::from_millis(100), 90, []);
        assert_eq!(clocks.ahead_ms(), Some(1_000), "Redis stood still, or the way there was the long one");
        clocks.compared(0, WAY, 1_003, []);
        assert_eq!(clocks.ahead_ms(), Some(1_002));
        for _ in 0..10 {
            clocks.compared(0, Duration::from_millis(100), 60, []);
        }
        assert_eq!(clocks.ahead_ms(), Some(10));
    }

    #[test]
    fn what_is_known_of_one_server_does_not_count_for_another() {
        let (clocks, other) = (Clocks::new(false), Recorder([1, 2, 3]));
        let foreign = JobId::new(8_000).recorded_by(other);
        for (server, ahead_ms) in [("first", 2_000), ("second", 500)] {
            clocks.are_compared_with(server);
            assert_eq!((clocks.ahead_ms(), clocks.to_recorders_ms(foreign)), (None, None));
            clocks.compared(0, WAY, ahead_ms + 1, [(other, 1_000)]);
            clocks.are_compared_with(server);
            assert_eq!(clocks.to_recorders_ms(foreign), Some(ahead_ms - 1_000));
        }
    }

    #[test]
    fn what_is_known_of_processes_has_a_bound() {
        let clocks = Clocks::new(false);
        let others = (0..3_000).map(|number| (Recorder::of_number(number), 0));
        clocks.compared(0, WAY, 0, others);
        assert!(clocks.lock().others.len() <= KNOWN_MAX);
    }
}
