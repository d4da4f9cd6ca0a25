//! Which entries wait for a block in front of all others, and for what.

use keepwell_workers::{
    database::{Database, Reader, turn::Urgency},
    id::JobId,
    on_connection,
    seal::KeyRing,
};
use sqlx::{QueryBuilder, types::Uuid};

use super::{finding::shown_key, keys};

/// Entries without a block that are looked at for the first one that waits for a key. There are more only while nobody
/// seals.
const LOOKED_AT_MAX: i64 = 5_000;

/// The entries without a block that wait in front of the others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Waits {
    /// The first of those that wait for nothing but that somebody seals.
    pub ready: Option<JobId>,
    /// The first of those that wait for a key to be brought to whoever seals, and that key.
    pub for_key: Option<(JobId, String)>,
}

/// Which entries of `database` have waited longest. A key is still being brought round if it is not in `ring`, or if it
/// has sealed entries but nobody has made a block under it yet: whoever seals with it first does. Who `seals` with
/// `ring` could have done so with each of its keys, and waits for none of them.
pub async fn waits_first(database: &Database, ring: &KeyRing, seals: bool) -> Result<Waits, sqlx::Error> {
    let mut reader = database.reader(Urgency::General).await?;
    let keys = keys::all(&mut reader).await?;
    let is_locked = keys.last().filter(|newest| ring.ids().all(|id| id != newest.key_id));
    let is_known = |id: &&str| seals || keys.is_empty() || keys.iter().any(|key| key.made_under == **id);
    let brought: Vec<&str> = match is_locked {
        Some(_) => Vec::new(),
        None => ring.ids().filter(is_known).collect(),
    };
    let mut ready = None;
    for key in &brought {
        let first = first_sealed_with(&mut reader, key).await?;
        ready = ready.into_iter().chain(first).min();
    }
    let for_key: Option<(Uuid, String)> = on_connection!(reader, |connection| {
        let mut statement = QueryBuilder::new(
            "SELECT id, key_id FROM (SELECT id, key_id FROM audit_entries WHERE position IS NULL ORDER BY id LIMIT ",
        );
        statement.push_bind(LOOKED_AT_MAX).push(") AS waiting");
        if !brought.is_empty() {
            statement.push(" WHERE key_id NOT IN (");
            let mut ids = statement.separated(", ");
            for key in &brought {
                ids.push_bind(*key);
            }
            statement.push(")");
        }
        statement.push(" ORDER BY id LIMIT 1").build_query_as().fetch_optional(connection).await
    })?;
    let key = |key: String| shown_key(is_locked.map_or(&key, |newest| &newest.key_id));
    Ok(Waits { ready: ready.map(JobId), for_key: for_key.map(|(id, key_id)| (JobId(id), key(key_id))) })
}

/// The first entry without a block that is sealed with `key`. However many others wait in front of it, they neither
/// hide it nor are they read.
async fn first_sealed_with(reader: &mut Reader, key: &str) -> Result<Option<Uuid>, sqlx::Error> {
    // Asked in the order of their index: of one key PostgreSQL would read the index of all that waits, if it believes
    // that this is short, and pass over everything in front.
    const SQL: &str = "SELECT id, key_id FROM audit_entries WHERE position IS NULL AND (key_id, id) >= ($1, $2) \
         ORDER BY key_id, id LIMIT 1";
    let first: Option<(Uuid, String)> = on_connection!(reader, |connection| {
        sqlx::query_as(SQL).bind(key).bind(Uuid::nil()).fetch_optional(connection).await
    })?;
    Ok(first.filter(|(_, sealed_with)| sealed_with == key).map(|(id, _)| id))
}
