//! Which entries wait for a block in front of all others, and for what.

use std::collections::HashSet;

use keepwell_workers::{
    database::{Database, Reader, turn::Urgency},
    id::JobId,
    on_connection,
    seal::KeyRing,
};
use sqlx::{QueryBuilder, types::Uuid};

use super::{
    acknowledged::look_for,
    entry::{COLUMNS, EntryRow},
    finding::{Details, shown_key},
    keys,
};

/// Entries without a block that are looked at for the first one that waits for a key. There are more only while nobody
/// seals.
const LOOKED_AT_MAX: i64 = 5_000;

/// Entries that are read at once behind those that get no block.
const ENTRIES_PER_PAGE: i64 = 64;

/// Entries that get no block and are passed over, at most. Behind more, which somebody has put in by hand, nobody knows
/// what waits, and the last of them is taken for what does.
const PASSED_OVER_MAX: usize = 1_024;

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
///
/// What somebody put in by hand waits for nothing, because nobody ever seals it: it is a finding by itself. So is what
/// names a key that is not there, until somebody has acknowledged that.
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
        let first = first_owed(&mut reader, ring, Sealed::With(key)).await?;
        ready = ready.into_iter().chain(first.map(|entry| entry.id)).min();
    }
    let for_key = first_owed(&mut reader, ring, Sealed::WithNoneOf(&brought)).await?;
    let key = |key: String| shown_key(is_locked.map_or(&key, |newest| &newest.key_id));
    let for_key = for_key.map(|entry| (JobId(entry.id), key(entry.key_id)));
    Ok(Waits { ready: ready.map(JobId), for_key })
}

/// Entries without a block, by what they are sealed with.
#[derive(Clone, Copy)]
enum Sealed<'k> {
    With(&'k str),
    WithNoneOf(&'k [&'k str]),
}

/// The first of them that somebody is to seal.
async fn first_owed(
    reader: &mut Reader,
    ring: &KeyRing,
    sealed: Sealed<'_>,
) -> Result<Option<EntryRow>, sqlx::Error> {
    // Nearly always it is the very first one.
    let (mut after, mut limit, mut passed_over) = (Uuid::nil(), 1, 0);
    loop {
        let mut entries = page(reader, sealed, after, limit).await?;
        let Some(last) = entries.last() else { return Ok(None) };
        after = last.id;
        if let Some(first) = position_of_owed(reader, ring, &entries).await? {
            return Ok(Some(entries.swap_remove(first)));
        }
        passed_over += entries.len();
        if passed_over > PASSED_OVER_MAX {
            return Ok(entries.pop());
        }
        limit = ENTRIES_PER_PAGE;
    }
}

async fn position_of_owed(
    reader: &mut Reader,
    ring: &KeyRing,
    entries: &[EntryRow],
) -> Result<Option<usize>, sqlx::Error> {
    let details: Vec<Details> = entries.iter().map(|entry| entry.details(ring)).collect();
    let locked =
        entries.iter().zip(&details).filter(|(_, details)| matches!(details, Details::KeyUnknown(_)));
    let findings: Vec<(Uuid, String)> = locked
        .filter_map(|(entry, _)| Some((entry.id, entry.check_unsealed(ring).err()?.fingerprint)))
        .collect();
    let asked: Vec<&str> = findings.iter().map(|(_, fingerprint)| fingerprint.as_str()).collect();
    let known = look_for(reader, ring, &asked).await?;
    let is_known = |(_, fingerprint): &&(Uuid, String)| known.contains_key(fingerprint);
    let known: HashSet<Uuid> = findings.iter().filter(is_known).map(|(id, _)| *id).collect();
    Ok(entries.iter().zip(&details).position(|(entry, details)| match details {
        Details::Whole => true,
        Details::Altered => false,
        Details::KeyUnknown(_) => !known.contains(&entry.id),
    }))
}

/// Up to `limit` of them behind the entry `after`, in order. However many others wait in front of those that are sealed
/// with one key, they neither hide them nor are they read.
async fn page(
    reader: &mut Reader,
    sealed: Sealed<'_>,
    after: Uuid,
    limit: i64,
) -> Result<Vec<EntryRow>, sqlx::Error> {
    let mut entries: Vec<EntryRow> = on_connection!(reader, |connection| {
        let mut statement = QueryBuilder::new(format!("SELECT {COLUMNS} FROM "));
        match sealed {
            // Asked in the order of their index: of one key PostgreSQL would read the index of all that waits, if it
            // believes that this is short, and pass over everything in front.
            Sealed::With(key) => {
                statement.push("audit_entries WHERE position IS NULL AND (key_id, id) > (");
                statement.push_bind(key).push(", ").push_bind(after).push(") ORDER BY key_id, id");
            }
            Sealed::WithNoneOf(keys) => {
                statement.push("(SELECT * FROM audit_entries WHERE position IS NULL ORDER BY id LIMIT ");
                statement.push_bind(LOOKED_AT_MAX).push(") AS waiting WHERE id > ").push_bind(after);
                if !keys.is_empty() {
                    statement.push(" AND key_id NOT IN (");
                    let mut ids = statement.separated(", ");
                    for key in keys {
                        ids.push_bind(*key);
                    }
                    statement.push(")");
                }
                statement.push(" ORDER BY id");
            }
        }
        statement.push(" LIMIT ").push_bind(limit);
        statement.build_query_as().fetch_all(connection).await
    })?;
    if let Sealed::With(key) = sealed {
        entries.retain(|entry| entry.key_id == key);
    }
    Ok(entries)
}
