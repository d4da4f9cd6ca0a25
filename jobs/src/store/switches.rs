//! What operators have switched on: a row for each switch that was ever switched, read afresh with every question, so
//! that every node sees it at once.

use std::sync::{Arc, PoisonError, RwLock};

use keepwell_workers::{
    clock::UnixMs,
    database::{Database, Durability, Reader, Transaction, turn::Urgency},
    on_connection,
};

use crate::care::emergency::{Switch, SwitchName, Switches};

/// How the switches were seen to stand last, for when the database cannot be asked. Cheap to clone; clones share it.
#[derive(Debug, Clone, Default)]
pub struct SwitchMemory(Arc<RwLock<Switches>>);

impl SwitchMemory {
    /// How they stood. What has come to its end meanwhile is off: the instants say so.
    pub fn last(&self) -> Switches {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// They stand like this. What was seen earlier than what is known changes nothing.
    pub fn remember(&self, switches: &Switches) {
        if *self.0.read().unwrap_or_else(PoisonError::into_inner) == *switches {
            return;
        }
        let count =
            |switches: &Switches| switches.known.iter().map(|(_, switch)| switch.changes).sum::<i64>();
        let mut last = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if count(&last) <= count(switches) {
            last.clone_from(switches);
        }
    }
}

type Row = (String, i64, bool, String, i64, i64);

const READ: &str =
    "SELECT name, changes, is_on, reason, since_ms, until_ms FROM emergency_switches ORDER BY name";

/// How the switches stand.
pub async fn switches(reader: &mut Reader, memory: &SwitchMemory) -> Result<Switches, sqlx::Error> {
    let rows: Vec<Row> =
        on_connection!(reader, |connection| sqlx::query_as(READ).fetch_all(connection).await)?;
    let switches = read(rows);
    memory.remember(&switches);
    Ok(switches)
}

/// What becomes of a switch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Switching {
    /// On, for a reason and so many seconds.
    On(String, u64),
    /// Off.
    Off,
}

/// Switches `name`, on disk before this returns; answers with how it stands then, `None` if it was off and is to be.
pub async fn switch(
    database: &Database,
    memory: &SwitchMemory,
    name: SwitchName,
    switching: Switching,
    now_ms: UnixMs,
) -> Result<Option<Switch>, sqlx::Error> {
    let mut transaction = database.begin(Urgency::Crisis, Durability::Durable, now_ms).await?;
    lock(&mut transaction).await?;
    let rows: Vec<Row> =
        on_connection!(transaction, |connection| sqlx::query_as(READ).fetch_all(connection).await)?;
    let mut switches = read(rows);
    let changed = match switching {
        Switching::On(reason, seconds) => Some(switches.switched_on(name, reason, seconds, now_ms)),
        Switching::Off => switches.switched_off(name, now_ms),
    };
    if let Some(changed) = &changed {
        keep(&mut transaction, name, changed).await?;
        switches.known.retain(|(known, _)| *known != name);
        switches.known.push((name, changed.clone()));
        switches.known.sort_by_key(|(name, _)| name.name());
    }
    transaction.commit().await?;
    memory.remember(&switches);
    Ok(changed)
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
    const SQL: &str = "INSERT INTO emergency_switches (name, changes, is_on, reason, since_ms, until_ms) \
         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (name) DO UPDATE SET changes = excluded.changes, \
         is_on = excluded.is_on, reason = excluded.reason, since_ms = excluded.since_ms, \
         until_ms = excluded.until_ms";
    on_connection!(transaction, |connection| {
        sqlx::query(SQL)
            .bind(name.name())
            .bind(switch.changes)
            .bind(switch.is_on)
            .bind(&switch.reason)
            .bind(switch.since_ms)
            .bind(switch.until_ms)
            .execute(connection)
            .await
            .map(|_| ())
    })
}

fn read(rows: Vec<Row>) -> Switches {
    let known = rows.into_iter().filter_map(|(name, changes, is_on, reason, since_ms, until_ms)| {
        // The column's CHECK allows no other word.
        let name = SwitchName::ALL.into_iter().find(|known| known.name() == name)?;
        Some((name, Switch { changes, is_on, reason, since_ms, until_ms }))
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
        memory.remember(&seen);
        memory.remember(&Switches::default());
        assert_eq!(memory.last(), seen);
    }
}
