//! How the settings stand that change care, as far as the trail has heard of it: what a start finds changed is an
//! entry.

use std::collections::{BTreeMap, btree_map::Entry};

use keepwell_workers::{
    clock::UnixMs,
    database::{Connection, Database, Durability, Transaction, turn::Urgency},
    on_connection,
    seal::KeyRing,
};
use serde_json::{Map, Value};

use super::{
    append::append,
    entry::{Actor, AuditEntry, COLUMNS, EntryRow},
};

/// What the entries are about. There is an index of subjects and none of actions.
const SUBJECT: &str = "configuration";

const ACTION: &str = "configuration.changed";

/// Entries that are looked at, the newest ones. A setting that none of these names counts as never changed.
const ENTRIES_MAX: i64 = 500;

/// Nobody else of those who use the database takes this number, `keepwell` in ASCII, for a lock.
const LOCK: i64 = i64::from_be_bytes(*b"keepwell");

/// How settings stand, by name.
pub type Settings = BTreeMap<String, Value>;

/// Writes down, as one entry of the start of a daemon on `host`, which of `settings` are not as the trail has them; of
/// those that it has never heard of, which are not as in `defaults`. Answers with their names. Of several processes
/// that start with the same, one does.
///
/// A default that is another one in a new version is no change of the configuration, and no entry.
pub async fn note_configuration(
    database: &Database,
    keys: &KeyRing,
    (settings, defaults): (&Settings, &Settings),
    host: &str,
    now_ms: UnixMs,
) -> Result<Vec<String>, sqlx::Error> {
    let mut transaction = database.begin(Urgency::General, Durability::Durable, now_ms).await?;
    lock(&mut transaction).await?;
    let known = known(&mut transaction, keys).await?;
    let (mut before, mut after) = (Map::new(), Map::new());
    for (name, value) in settings {
        let last = known.get(name).or_else(|| defaults.get(name)).unwrap_or(&Value::Null);
        if last != value {
            before.insert(name.clone(), last.clone());
            after.insert(name.clone(), value.clone());
        }
    }
    if after.is_empty() {
        return Ok(Vec::new());
    }
    let names = after.keys().cloned().collect();
    let entry = AuditEntry {
        at_ms: now_ms,
        actor: Actor::System { job: format!("start on {host}") },
        action: ACTION,
        subject: Some(SUBJECT.to_owned()),
        reason: "a daemon was started with other settings than the last time".to_owned(),
        before: Some(before.into()),
        after: Some(after.into()),
    };
    append(&mut transaction, &entry).await?;
    transaction.commit().await?;
    Ok(names)
}

/// Has two processes compare one after the other. SQLite's writers wait for each other anyway.
async fn lock(transaction: &mut Transaction) -> Result<(), sqlx::Error> {
    const SQL: &str = "SELECT pg_advisory_xact_lock($1)";
    if let Connection::Postgres(connection) = transaction.connection() {
        sqlx::query(SQL).bind(LOCK).execute(connection).await?;
    }
    Ok(())
}

/// What the trail said last of each setting. What no key opens says nothing.
async fn known(transaction: &mut Transaction, keys: &KeyRing) -> Result<Settings, sqlx::Error> {
    let sql = format!(
        "SELECT {COLUMNS} FROM audit_entries WHERE subject = $1 AND action = $2 ORDER BY id DESC LIMIT $3"
    );
    let rows: Vec<EntryRow> = on_connection!(transaction, |connection| {
        sqlx::query_as(sqlx::AssertSqlSafe(sql))
            .bind(SUBJECT)
            .bind(ACTION)
            .bind(ENTRIES_MAX)
            .fetch_all(connection)
            .await
    })?;
    let mut known = Settings::new();
    for entry in rows {
        let Some(Value::Object(after)) = entry.view(keys).after else { continue };
        for (name, value) in after {
            if let Entry::Vacant(vacant) = known.entry(name) {
                vacant.insert(value);
            }
        }
    }
    Ok(known)
}
