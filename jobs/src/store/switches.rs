//! What operators have switched on: a row for each switch that was ever switched, read afresh with every question, so
//! that every node sees it at once.

use std::{
    collections::VecDeque,
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
};

use keepwell_workers::{
    clock::UnixMs,
    database::{Database, Durability, Reader, Transaction, turn::Urgency},
    on_connection,
};
use serde_json::{Value, json};

use super::{
    audited::{Audited, Who, audited},
    connected::Connected,
};
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

/// What was switched and not recorded, at most; of more, the oldest is forgotten.
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
        let changed = all.switched(name, &switching, now_ms);
        let latest = last.unrecorded.iter().rev().find(|(other, ..)| *other == name);
        if changed.is_none() && latest.is_some_and(|(_, latest, _)| *latest == Switching::Off) {
            return None;
        }
        if last.unrecorded.len() >= UNRECORDED_MAX {
            last.unrecorded.pop_front();
        }
        last.unrecorded.push_back((name, switching, now_ms));
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

type Row = (String, i64, bool, String, i64, i64, i64);

const READ: &str = "SELECT name, changes, is_on, reason, since_ms, until_ms, switched_ms \
     FROM emergency_switches ORDER BY name";

/// How the switches stand.
pub async fn switches(reader: &mut Reader, memory: &SwitchMemory) -> Result<Switches, sqlx::Error> {
    switches_in(reader, memory).await
}

/// The same, as a transaction sees them.
pub(crate) async fn switches_in(
    connected: &mut impl Connected,
    memory: &SwitchMemory,
) -> Result<Switches, sqlx::Error> {
    let look = memory.look();
    let rows: Vec<Row> =
        on_connection!(connected, |connection| sqlx::query_as(READ).fetch_all(connection).await)?;
    memory.remember(look, &read(rows));
    // A database that is read may take nothing: a full disk, a lock.
    Ok(memory.last())
}

/// Switches `name` and audits it, on disk before this returns; answers with how it stands then, `None` if it was off
/// and is to be, which is audited too.
pub async fn switch(
    database: &Database,
    memory: &SwitchMemory,
    name: SwitchName,
    switching: Switching,
    now_ms: UnixMs,
) -> Result<Option<Switch>, sqlx::Error> {
    let look = memory.look();
    let (mut transaction, mut switches) = locked(database, now_ms).await?;
    let changed = switched(&mut transaction, &mut switches, name, &switching, now_ms).await?;
    transaction.commit().await?;
    memory.remember(look, &switches);
    Ok(changed)
}

/// The same for what was switched at `at_ms` while the database took nothing. If it was switched again since then, the
/// trail says so and nothing changes: the last operator to speak is heard.
pub async fn switch_late(
    database: &Database,
    memory: &SwitchMemory,
    name: SwitchName,
    switching: Switching,
    at_ms: UnixMs,
) -> Result<(), sqlx::Error> {
    let look = memory.look();
    let (mut transaction, mut switches) = locked(database, at_ms).await?;
    if switches.is_outdated(name, at_ms) {
        let (action, reason) = match &switching {
            Switching::On(reason, _) => ("emergency.switched_on_too_late", reason.as_str()),
            Switching::Off => ("emergency.switched_off_too_late", ""),
        };
        let stands = switches.get(name).map(|switch| view(switch, at_ms));
        said(&mut transaction, action, name, reason, stands.clone(), stands, at_ms).await?;
    } else {
        switched(&mut transaction, &mut switches, name, &switching, at_ms).await?;
    }
    transaction.commit().await?;
    memory.remember(look, &switches);
    Ok(())
}

async fn switched(
    transaction: &mut Transaction,
    switches: &mut Switches,
    name: SwitchName,
    switching: &Switching,
    now_ms: UnixMs,
) -> Result<Option<Switch>, sqlx::Error> {
    let before = switches.get(name).map(|before| view(before, now_ms));
    let Some(changed) = switches.switched(name, switching, now_ms) else {
        said(transaction, "emergency.switched_off_again", name, "", before.clone(), before, now_ms).await?;
        let said_off = switches.said_off(name, now_ms);
        keep(transaction, name, &said_off).await?;
        switches.set(name, said_off);
        return Ok(None);
    };
    keep(transaction, name, &changed).await?;
    let action = if changed.is_on { "emergency.switched_on" } else { "emergency.switched_off" };
    let after = Some(view(&changed, now_ms));
    said(transaction, action, name, &changed.reason, before, after, now_ms).await?;
    switches.set(name, changed.clone());
    Ok(Some(changed))
}

/// Audits what whoever has the emergency token said of `name` at `at_ms`.
async fn said(
    transaction: &mut Transaction,
    action: &'static str,
    name: SwitchName,
    reason: &str,
    before: Option<Value>,
    after: Option<Value>,
    at_ms: UnixMs,
) -> Result<(), sqlx::Error> {
    let (subject, who) = (name.name(), Who::EmergencyToken);
    audited(transaction, &Audited { at_ms, who, action, subject, reason, before, after }).await
}

/// A transaction in which nobody else switches, and how the switches stand in it.
async fn locked(database: &Database, now_ms: UnixMs) -> Result<(Transaction, Switches), sqlx::Error> {
    let mut transaction = database.begin(Urgency::Crisis, Durability::Durable, now_ms).await?;
    lock(&mut transaction).await?;
    let rows: Vec<Row> =
        on_connection!(transaction, |connection| sqlx::query_as(READ).fetch_all(connection).await)?;
    Ok((transaction, read(rows)))
}

/// Has two nodes switch one after the other. SQLite's writers wait for each other anyway.
async fn lock(transaction: &mut Transaction) -> Result<(), sqlx::Error> {
    const SQL: &str = "LOCK TABLE emergency_switches IN SHARE ROW EXCLUSIVE MODE";
    if let keepwell_workers::database::Connection::Postgres(connection) = transaction.connection() {
        sqlx::query(SQL).execute(connection).await?;
    }
    Ok(())
}

async fn keep(transaction: &mut Transaction, name: SwitchName, switch: &Switch) -> Result<(), sqlx::Error> {
    const SQL: &str = "INSERT INTO emergency_switches (name, changes, is_on, reason, since_ms, until_ms, switched_ms) \
         VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (name) DO UPDATE SET changes = excluded.changes, \
         is_on = excluded.is_on, reason = excluded.reason, since_ms = excluded.since_ms, \
         until_ms = excluded.until_ms, switched_ms = excluded.switched_ms";
    on_connection!(transaction, |connection| {
        sqlx::query(SQL)
            .bind(name.name())
            .bind(switch.changes)
            .bind(switch.is_on)
            .bind(&switch.reason)
            .bind(switch.since_ms)
            .bind(switch.until_ms)
            .bind(switch.switched_ms)
            .execute(connection)
            .await
            .map(|_| ())
    })
}

fn view(switch: &Switch, now_ms: UnixMs) -> Value {
    json!({ "on": switch.is_on_at(now_ms), "since_ms": switch.since_ms, "until_ms": switch.until_ms })
}

fn read(rows: Vec<Row>) -> Switches {
    let known =
        rows.into_iter().filter_map(|(name, changes, is_on, reason, since_ms, until_ms, switched_ms)| {
            // The column's CHECK allows no other word.
            let name = SwitchName::ALL.into_iter().find(|known| known.name() == name)?;
            Some((name, Switch { changes, is_on, reason, since_ms, until_ms, switched_ms }))
        });
    Switches { known: known.collect() }
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
    fn what_waits_to_be_recorded_is_bounded() {
        let memory = SwitchMemory::default();
        for number in 0..UNRECORDED_MAX as i64 + 5 {
            memory.switch_unrecorded(SwitchName::Bypass, Switching::On("a".into(), 60), number);
        }
        assert_eq!(memory.first_unrecorded().map(|(.., at_ms)| at_ms), Some(5));
    }
}
