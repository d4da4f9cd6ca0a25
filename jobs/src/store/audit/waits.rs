//! Which entries wait for a block in front of all others, and for what.

use keepwell_workers::{
    database::{Database, turn::Urgency},
    id::JobId,
    on_connection,
    seal::KeyRing,
};
use sqlx::{Database as Sql, Encode, QueryBuilder, Type, types::Uuid};

use super::{finding::shown_key, keys};

/// Entries without a block that are looked at for the first of a kind. There are more only while nobody seals.
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
    let mut first = [None, None];
    for (found, is_brought) in first.iter_mut().zip([true, false]) {
        if is_brought && brought.is_empty() {
            continue;
        }
        let row: Option<(Uuid, String)> = on_connection!(reader, |connection| {
            let mut statement = QueryBuilder::new(
                "SELECT id, key_id FROM (SELECT id, key_id FROM audit_entries WHERE position IS NULL",
            );
            // However many others wait in front of what nobody seals, they do not hide it.
            if is_brought {
                push_keys(&mut statement, " AND key_id IN (", &brought);
            }
            statement.push(" ORDER BY id LIMIT ").push_bind(LOOKED_AT_MAX).push(") AS waiting");
            if !is_brought && !brought.is_empty() {
                push_keys(&mut statement, " WHERE key_id NOT IN (", &brought);
            }
            statement.push(" ORDER BY id LIMIT 1").build_query_as().fetch_optional(connection).await
        })?;
        *found = row;
    }
    let [ready, for_key] = first;
    let key = |key: String| shown_key(is_locked.map_or(&key, |newest| &newest.key_id));
    Ok(Waits {
        ready: ready.map(|(id, _)| JobId(id)),
        for_key: for_key.map(|(id, key_id)| (JobId(id), key(key_id))),
    })
}

fn push_keys<'k, D>(statement: &mut QueryBuilder<D>, condition: &str, keys: &[&'k str])
where
    D: Sql,
    &'k str: Encode<'k, D> + Type<D>,
{
    statement.push(condition);
    let mut ids = statement.separated(", ");
    for key in keys {
        ids.push_bind(*key);
    }
    statement.push(")");
}
