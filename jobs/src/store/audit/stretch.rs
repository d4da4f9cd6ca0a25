//! What the trail holds of a stretch of time, for reports.

use keepwell_workers::{
    clock::UnixMs,
    database::{Dialect, Reader},
    id::JobId,
    on_connection,
    seal::KeyRing,
};

use super::{
    entry::{COLUMNS, EntryRow},
    finding::Looked,
    head::Head,
    keys::{self, CodeKeys},
    verify::blocks,
};
use crate::care::report::access::AccessChecks;

/// Entries that are opened at once.
const ENTRIES_PER_PAGE: i64 = 500;

/// Entries of one action and kind of actor.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub(in crate::store) struct ActionCount {
    pub(in crate::store) action: String,
    pub(in crate::store) actor_kind: String,
    pub(in crate::store) count: i64,
    /// Of these, those whose actor has no name.
    pub(in crate::store) nameless: i64,
    /// Of these, those about the crisis lane.
    pub(in crate::store) of_crisis_lane: i64,
    /// When the newest of them was made.
    pub(in crate::store) newest_ms: UnixMs,
}

/// How many entries from `from_ms` up to `to_ms`, by what was done.
pub(in crate::store) async fn count_actions(
    reader: &mut Reader,
    from_ms: UnixMs,
    to_ms: UnixMs,
) -> Result<Vec<ActionCount>, sqlx::Error> {
    const SQL: &str = "SELECT action, actor_kind, COUNT(*) AS count, \
         COUNT(CASE WHEN TRIM(actor) = '' THEN 1 END) AS nameless, \
         COUNT(CASE WHEN subject = 'crisis' THEN 1 END) AS of_crisis_lane, MAX(at_ms) AS newest_ms \
         FROM audit_entries WHERE id >= $1 AND id < $2 GROUP BY action, actor_kind";
    on_connection!(reader, |connection| {
        sqlx::query_as(SQL)
            .bind(JobId::earliest_at(from_ms).0)
            .bind(JobId::earliest_at(to_ms).0)
            .fetch_all(connection)
            .await
    })
}

/// Who made a crisis known or noticed that it was late, from `from_ms` up to `to_ms`: the names of the actors.
pub(in crate::store) async fn crisis_actors(
    reader: &mut Reader,
    from_ms: UnixMs,
    to_ms: UnixMs,
) -> Result<Vec<String>, sqlx::Error> {
    // Not as a range: what lies between two texts is a matter of the database's collation.
    const SQL: &str = "SELECT actor FROM audit_entries \
         WHERE id >= $1 AND id < $2 AND substr(action, 1, 7) = 'crisis.'";
    let rows: Vec<(String,)> = on_connection!(reader, |connection| {
        sqlx::query_as(SQL)
            .bind(JobId::earliest_at(from_ms).0)
            .bind(JobId::earliest_at(to_ms).0)
            .fetch_all(connection)
            .await
    })?;
    Ok(rows.into_iter().map(|(actor,)| actor).collect())
}

/// Looks at every change of access from `from_ms` up to `to_ms`, but at no more than `changes_max`.
pub(in crate::store) async fn check_access(
    reader: &mut Reader,
    keys: &KeyRing,
    (from_ms, to_ms): (UnixMs, UnixMs),
    changes_max: u64,
    checks: &mut AccessChecks,
) -> Result<(), sqlx::Error> {
    let sql = format!(
        "SELECT {COLUMNS} FROM audit_entries WHERE id > $1 AND id < $2 AND action = 'access.changed' \
         ORDER BY id LIMIT $3"
    );
    let (mut after, to) = (JobId::earliest_at(from_ms).0, JobId::earliest_at(to_ms).0);
    loop {
        let rows: Vec<EntryRow> = on_connection!(reader, |connection| {
            sqlx::query_as(sqlx::AssertSqlSafe(sql.clone()))
                .bind(after)
                .bind(to)
                .bind(ENTRIES_PER_PAGE)
                .fetch_all(connection)
                .await
        })?;
        let Some(last) = rows.last().map(|row| row.id) else { return Ok(()) };
        for row in rows {
            if checks.checked < changes_max {
                let change = row.view(keys);
                checks.look_at(change.before.as_ref(), change.after.as_ref());
            } else {
                checks.unchecked += 1;
            }
        }
        after = last;
    }
}

/// The first block with something of `from_ms` or later in it, found by halves; the one behind the last if there is
/// none. What a block says of its time counts only if it is known to be what was sealed: else this begins too early
/// rather than too late.
pub(in crate::store) async fn block_at(
    reader: &mut Reader,
    ring: &KeyRing,
    from_ms: UnixMs,
) -> Result<i64, sqlx::Error> {
    let head = Head::read(reader).await?;
    let code_keys = CodeKeys::open(&keys::all(reader).await?, ring);
    // Nobody has proved it: whatever it says, this ends.
    let (mut low, mut high) = (head.first_block.max(1), head.last_block.saturating_add(1));
    while low < high {
        let middle = low + (high - low) / 2;
        let block = blocks(reader, middle, middle).await?.pop();
        match block.map(|block| Looked::at(block, Some(&code_keys))) {
            Some(looked) if looked.is_proved() && looked.block.newest_ms < from_ms => low = middle + 1,
            // One that is gone is found by whoever verifies from here on.
            _ => high = middle,
        }
    }
    Ok(low)
}

/// When the newest entry of the block `number` was made; `None` if there is no such block.
pub(in crate::store) async fn newest_in(
    reader: &mut Reader,
    number: i64,
) -> Result<Option<UnixMs>, sqlx::Error> {
    const SQL: &str = "SELECT newest_ms FROM audit_blocks WHERE number = $1";
    let found: Option<(i64,)> = on_connection!(reader, |connection| {
        sqlx::query_as(SQL).bind(number).fetch_optional(connection).await
    })?;
    Ok(found.map(|(newest_ms,)| newest_ms))
}

/// Whether the database still has what refuses to delete entries and blocks that are too young.
pub(in crate::store) async fn refuses_deletion(
    reader: &mut Reader,
    dialect: Dialect,
) -> Result<bool, sqlx::Error> {
    const SQLITE: &str = "SELECT COUNT(*) FROM sqlite_master WHERE type = 'trigger' \
         AND name IN ('audit_entries_kept', 'audit_blocks_kept')";
    const POSTGRES: &str = "SELECT COUNT(*) FROM pg_trigger WHERE tgenabled <> 'D' \
         AND tgname IN ('audit_entries_kept', 'audit_blocks_kept')";
    let sql = match dialect {
        Dialect::Sqlite => SQLITE,
        Dialect::Postgres => POSTGRES,
    };
    let (count,): (i64,) =
        on_connection!(reader, |connection| sqlx::query_as(sql).fetch_one(connection).await)?;
    Ok(count >= 2)
}
