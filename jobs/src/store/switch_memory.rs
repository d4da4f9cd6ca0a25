//! What one process knows of what operators have switched on, and what was switched while the database took nothing.

use std::{
    collections::VecDeque,
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
};

use keepwell_workers::clock::UnixMs;

use crate::care::emergency::{Switch, SwitchName, Switches, Switching};

/// How the switches were seen to stand last, for when the database cannot be asked, and what was switched while it took
/// nothing. Cheap to clone; clones share it.
#[derive(Debug, Clone, Default)]
pub struct SwitchMemory(Arc<Memory>);

/// A look at the database, by its number among those of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Look(u64);

#[derive(Debug, Default)]
struct Memory {
    /// Looks that have begun.
    begun: AtomicU64,
    remembered: RwLock<Remembered>,
}

#[derive(Debug, Default)]
struct Remembered {
    seen: Switches,
    /// Looks that had begun when that was remembered.
    begun: u64,
    unrecorded: VecDeque<(SwitchName, Switching, UnixMs)>,
}

/// What was switched and not recorded, at most; of more, the oldest is forgotten that was switched again since: how
/// every switch stands is never forgotten.
const UNRECORDED_MAX: usize = 64;

impl SwitchMemory {
    /// How they stand. What has come to its end meanwhile is off: the instants say so.
    pub fn last(&self) -> Switches {
        self.read().all()
    }

    /// Somebody is about to look how they stand in the database.
    pub fn look(&self) -> Look {
        Look(self.0.begun.fetch_add(1, SeqCst) + 1)
    }

    /// They stood like this in the database at that `look`. One that began before the last one was remembered may have
    /// seen what was earlier, and changes nothing then. One that began after it counts whatever it has seen: a database
    /// that was restored, or failed over to a server that lacked the last commits, knows of fewer changes than before.
    pub fn remember(&self, look: Look, switches: &Switches) {
        if self.read().seen == *switches {
            return;
        }
        let count =
            |switches: &Switches| switches.known.iter().map(|(_, switch)| switch.changes).sum::<i64>();
        let mut last = self.write();
        if look.0 > last.begun || count(&last.seen) <= count(switches) {
            last.seen.clone_from(switches);
            last.begun = self.0.begun.load(SeqCst);
        }
    }

    /// Switches `name` here alone, until [`SwitchMemory::recorded`]; answers with how it stands then, `None` if it was
    /// off and is to be: that waits to be audited, once for each name. It counts as later than what was seen of other
    /// nodes, whose clocks may be ahead.
    pub fn switch_unrecorded(
        &self,
        name: SwitchName,
        switching: Switching,
        now_ms: UnixMs,
    ) -> Option<Switch> {
        let mut last = self.write();
        let all = last.all();
        let now_ms = all.get(name).map_or(now_ms, |known| known.switched_ms.max(now_ms));
        let latest = last.unrecorded.iter().rev().find(|(other, ..)| *other == name);
        // No two have one instant: by that it is known which of them is recorded.
        let now_ms = latest.map_or(now_ms, |(.., at_ms)| now_ms.max(at_ms.saturating_add(1)));
        let changed = all.switched(name, &switching, now_ms);
        if changed.is_none() && latest.is_some_and(|(_, latest, _)| *latest == Switching::Off) {
            return None;
        }
        last.unrecorded.push_back((name, switching, now_ms));
        if last.unrecorded.len() > UNRECORDED_MAX {
            last.forget_outdated();
        }
        changed
    }

    /// What was switched here first of all that is not recorded, and when.
    pub fn first_unrecorded(&self) -> Option<(SwitchName, Switching, UnixMs)> {
        self.read().unrecorded.front().cloned()
    }

    /// The [first](SwitchMemory::first_unrecorded) is recorded.
    pub fn recorded(&self) {
        self.write().unrecorded.pop_front();
    }

    fn read(&self) -> RwLockReadGuard<'_, Remembered> {
        self.0.remembered.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Remembered> {
        self.0.remembered.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Remembered {
    /// Forgets the oldest of what is to be recorded that was switched again since.
    fn forget_outdated(&mut self) {
        let again =
            |at: usize| self.unrecorded.range(at + 1..).any(|(later, ..)| *later == self.unrecorded[at].0);
        if let Some(at) = (0..self.unrecorded.len()).find(|at| again(*at)) {
            self.unrecorded.remove(at);
        }
    }

    /// What was seen, and on top of it what is still to be recorded, in the order in which it was switched.
    fn all(&self) -> Switches {
        let mut all = self.seen.clone();
        for (name, switching, at_ms) in &self.unrecorded {
            // It is recorded by now, and only not taken from here yet.
            let is_seen = |seen: &Switch| seen.is_on && seen.is_what(switching, *at_ms);
            let is_recorded = self.seen.get(*name).is_some_and(is_seen);
            if is_recorded || self.seen.is_outdated(*name, *at_ms) {
                continue;
            }
            if let Some(changed) = all.switched(*name, switching, *at_ms) {
                all.set(*name, changed);
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_earlier_does_not_hide_what_was_seen_later() {
        let memory = SwitchMemory::default();
        let on = Switches::default().switched_on(SwitchName::GlobalBypass, "a".into(), 60, 0);
        let seen = Switches { known: vec![(SwitchName::GlobalBypass, on)] };
        // Both have begun to look before either is done.
        let (earlier, later) = (memory.look(), memory.look());
        memory.remember(later, &seen);
        memory.remember(earlier, &Switches::default());
        assert_eq!(memory.last(), seen);
    }

    #[test]
    fn a_database_that_lost_the_last_switch_is_believed_once_it_was_looked_at_again() {
        let memory = SwitchMemory::default();
        let on = Switches::default().switched_on(SwitchName::GlobalBypass, "a".into(), 60, 0);
        let seen = Switches { known: vec![(SwitchName::GlobalBypass, on)] };
        let slow = memory.look();
        memory.remember(memory.look(), &seen);
        memory.remember(memory.look(), &Switches::default());
        assert_eq!(memory.last(), Switches::default(), "as every other process sees it");
        memory.remember(slow, &Switches::default());
        assert_eq!(memory.last(), Switches::default());
    }

    #[test]
    fn what_is_not_recorded_lies_on_top_of_what_is_seen_until_it_is() {
        let (memory, name) = (SwitchMemory::default(), SwitchName::GlobalBypass);
        let on = Switching::On("a".into(), 60);
        assert!(memory.switch_unrecorded(name, on.clone(), 1_000).is_some_and(|switch| switch.is_on));
        // The database is read, and knows nothing of it.
        memory.remember(memory.look(), &Switches::default());
        assert!(memory.last().on(name, 1_000).is_some());
        assert!(memory.switch_unrecorded(name, Switching::Off, 2_000).is_some_and(|switch| !switch.is_on));
        assert_eq!((memory.last().on(name, 2_000), memory.last().changes(2_000)), (None, 2));

        // Both are recorded, so that versions only grow.
        let mut seen = Switches::default();
        assert_eq!(memory.first_unrecorded(), Some((name, on.clone(), 1_000)));
        seen.set(name, seen.switched(name, &on, 1_000).unwrap());
        memory.remember(memory.look(), &seen);
        assert_eq!(memory.last().changes(2_000), 2, "it counts once");
        memory.recorded();
        assert_eq!(memory.first_unrecorded(), Some((name, Switching::Off, 2_000)));
        assert_eq!(memory.last().on(name, 2_000), None);
        seen.set(name, seen.switched(name, &Switching::Off, 2_000).unwrap());
        memory.remember(memory.look(), &seen);
        assert_eq!(memory.last(), seen);
        memory.recorded();
        assert_eq!((memory.first_unrecorded(), memory.last()), (None, seen));
    }

    #[test]
    fn what_is_not_recorded_hides_nothing_that_was_switched_elsewhere_later() {
        let (memory, name) = (SwitchMemory::default(), SwitchName::GlobalBypass);
        let on = |reason: &str| Switching::On(reason.into(), 60);
        let mut seen = Switches::default();
        seen.set(name, seen.switched(name, &on("a"), 5_000).unwrap());
        memory.remember(memory.look(), &seen);
        // This node's clock is behind, and its operator speaks later all the same.
        assert!(memory.switch_unrecorded(name, Switching::Off, 1_000).is_some_and(|switch| !switch.is_on));
        assert_eq!(memory.last().on(name, 5_000), None);
        // Somebody else switches it on again after that.
        seen.set(name, seen.switched(name, &on("b"), 9_000).unwrap());
        memory.remember(memory.look(), &seen);
        assert_eq!(memory.last(), seen);
    }

    #[test]
    fn an_off_that_changes_nothing_waits_to_be_audited_once_and_pushes_nothing_out() {
        let memory = SwitchMemory::default();
        memory.switch_unrecorded(SwitchName::Maintenance, Switching::On("a".into(), 60), 0);
        for at_ms in 1..=UNRECORDED_MAX as i64 + 5 {
            assert_eq!(memory.switch_unrecorded(SwitchName::Bypass, Switching::Off, at_ms), None);
        }
        assert_eq!(memory.first_unrecorded().map(|(name, ..)| name), Some(SwitchName::Maintenance));
        memory.recorded();
        assert_eq!(memory.first_unrecorded(), Some((SwitchName::Bypass, Switching::Off, 1)));
        memory.recorded();
        assert_eq!(memory.first_unrecorded(), None);
    }

    #[test]
    fn how_a_switch_stands_is_never_pushed_out_by_what_is_switched_after_it() {
        let memory = SwitchMemory::default();
        let on = |reason: &str| Switching::On(reason.into(), 60);
        memory.switch_unrecorded(SwitchName::Maintenance, on("a"), 0);
        for number in 1..UNRECORDED_MAX as i64 {
            memory.switch_unrecorded(SwitchName::Bypass, on("b"), number);
        }
        assert_eq!(memory.switch_unrecorded(SwitchName::GlobalBypass, Switching::Off, 100), None);
        assert!(memory.last().on(SwitchName::Maintenance, 100).is_some());
        let mut left = Vec::new();
        while let Some((name, _, at_ms)) = memory.first_unrecorded() {
            left.push((name, at_ms));
            memory.recorded();
        }
        assert_eq!(left.len(), UNRECORDED_MAX);
        assert_eq!(left[..2], [(SwitchName::Maintenance, 0), (SwitchName::Bypass, 2)]);
        assert_eq!(left.last(), Some(&(SwitchName::GlobalBypass, 100)));
    }

    #[test]
    fn no_two_that_wait_to_be_recorded_have_one_instant() {
        let (memory, name) = (SwitchMemory::default(), SwitchName::Bypass);
        for switching in [Switching::On("a".into(), 60), Switching::Off, Switching::On("a".into(), 60)] {
            memory.switch_unrecorded(name, switching, 7);
        }
        let mut instants = Vec::new();
        while let Some((.., at_ms)) = memory.first_unrecorded() {
            instants.push(at_ms);
            memory.recorded();
        }
        assert_eq!(instants, [7, 8, 9]);
    }

    #[test]
    fn what_waits_to_be_recorded_is_bounded() {
        let memory = SwitchMemory::default();
        for number in 0..UNRECORDED_MAX as i64 + 5 {
            memory.switch_unrecorded(SwitchName::Bypass, Switching::On("a".into(), 60), number);
        }
        assert_eq!(memory.first_unrecorded().map(|(.., at_ms)| at_ms), Some(5));
    }
}
