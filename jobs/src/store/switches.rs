//! What operators have switched on: a row for each switch that was ever switched, read afresh with every question, so
//! that every node sees it at once.

use keepwell_workers::{
    clock::UnixMs,
    database::{Database, Durability, Reader, Transaction, turn::Urgency},
    id::JobId,
    on_connection,
};
use serde_json::{Value, json};

use super::{
    audited::{Audited, Who, audited},
    connected::Connected,
    rows::SwitchRow,
    switch_ends::{ended_by_itself, said_ended},
    switch_memory::{Look, SwitchMemory},
};
use crate::care::emergency::{Switch, SwitchName, Switches, Switching};

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
    let rows: Vec<SwitchRow> =
        on_connection!(connected, |connection| sqlx::query_as(READ).fetch_all(connection).await)?;
    Ok(seen(memory, look, rows))
}

/// How the switches stand, by the `rows` that were there at that `look`.
pub(super) fn seen(memory: &SwitchMemory, look: Look, rows: impl IntoIterator<Item = SwitchRow>) -> Switches {
    memory.remember(look, &read(rows));
    // A database that is read may take nothing: a full disk, a lock.
    memory.last()
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

/// The same for what was switched at `at_ms` while the database took nothing, or did not say that it had. If it was
/// switched again since then, the trail says so and nothing changes: the last operator to speak is heard. If it had
/// taken it after all, there is nothing to do.
pub async fn switch_late(
    database: &Database,
    memory: &SwitchMemory,
    name: SwitchName,
    switching: Switching,
    at_ms: UnixMs,
) -> Result<(), sqlx::Error> {
    let look = memory.look();
    let (mut transaction, mut switches) = locked(database, at_ms).await?;
    if is_recorded(&mut transaction, name, &switching, at_ms).await? {
        memory.remember(look, &switches);
        return Ok(());
    }
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
    // It would not be known from the row any more.
    if ended_by_itself(switches, now_ms).iter().any(|(ended, _)| *ended == name) {
        said_ended(transaction, name, switches).await?;
    }
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

/// Whether the trail has that `name` was switched like this at `at_ms`: the database had taken it, and its answer came
/// too late.
async fn is_recorded(
    transaction: &mut Transaction,
    name: SwitchName,
    switching: &Switching,
    at_ms: UnixMs,
) -> Result<bool, sqlx::Error> {
    const SQL: &str = "SELECT COUNT(*) FROM audit_entries \
         WHERE subject = $1 AND id >= $2 AND id < $3 AND at_ms = $4 AND action LIKE $5";
    let actions = match switching {
        Switching::On(..) => "emergency.switched_on%",
        Switching::Off => "emergency.switched_off%",
    };
    let (count,): (i64,) = on_connection!(transaction, |connection| {
        sqlx::query_as(SQL)
            .bind(name.name())
            .bind(JobId::earliest_at(at_ms).0)
            .bind(JobId::earliest_at(at_ms.saturating_add(1)).0)
            .bind(at_ms)
            .bind(actions)
            .fetch_one(connection)
            .await
    })?;
    Ok(count > 0)
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
pub(super) async fn locked(
    database: &Database,
    now_ms: UnixMs,
) -> Result<(Transaction, Switches), sqlx::Error> {
    let mut transaction = database.begin(Urgency::Crisis, Durability::Durable, now_ms).await?;
    lock(&mut transaction).await?;
    let rows: Vec<SwitchRow> =
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

fn read(rows: impl IntoIterator<Item = SwitchRow>) -> Switches {
    let known =
        rows.into_iter().filter_map(|(name, changes, is_on, reason, since_ms, until_ms, switched_ms)| {
            // The column's CHECK allows no other word.
            let name = SwitchName::ALL.into_iter().find(|known| known.name() == name)?;
            Some((name, Switch { changes, is_on, reason, since_ms, until_ms, switched_ms }))
        });
    Switches { known: known.collect() }
}
