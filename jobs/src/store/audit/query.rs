//! What operators and compliance officers ask the trail.

use keepwell_workers::{
    clock::UnixMs,
    database::{Database, turn::Urgency},
    id::JobId,
    on_connection,
    seal::KeyRing,
};
use serde::Serialize;
use sqlx::{Database as SqlxDatabase, Encode, QueryBuilder, Type, types::Uuid};

use super::{
    block::ChainEnd,
    entry::{COLUMNS, EntryRow, EntryView},
    file::{self, Line},
    head::Head,
    keys,
    verify::{blocks, entries},
};

/// Entries on one page, at most.
const PAGE_MAX: u32 = 500;

/// Blocks on one page of an export; each has up to 64 entries.
const BLOCKS_PER_EXPORT_PAGE: i64 = 16;

/// Which entries; what is `None` does not matter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// At or after this instant.
    pub since_ms: Option<UnixMs>,
    /// Before this instant.
    pub until_ms: Option<UnixMs>,
    /// About this subject.
    pub subject: Option<String>,
    /// This action, or all that begin with it and a dot: `access` is `access.changed` too.
    pub action: Option<String>,
    /// With this text in actor, action or subject; upper and lower case are the same.
    pub text: Option<String>,
}

impl AuditFilter {
    fn takes(&self, entry: &EntryRow) -> bool {
        let action = |wanted: &String| {
            entry
                .action
                .strip_prefix(wanted.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        self.since_ms.is_none_or(|since| entry.at_ms >= since)
            && self.until_ms.is_none_or(|until| entry.at_ms < until)
            && self.subject.as_ref().is_none_or(|subject| entry.subject.as_ref() == Some(subject))
            && self.action.as_ref().is_none_or(action)
            && self.text.as_ref().is_none_or(|text| entry.mentions(text))
    }
}

/// A page of entries, newest first.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditPage {
    /// The entries.
    pub items: Vec<EntryView>,
    /// Where the next page starts; `None` on the last one.
    pub next: Option<JobId>,
    /// How many entries match in all.
    pub total: u64,
}

/// A page of at most `limit` entries (and 500) that match, newest first, from below `cursor`.
pub async fn list(
    database: &Database,
    keys: &KeyRing,
    filter: &AuditFilter,
    cursor: Option<JobId>,
    limit: u32,
) -> Result<AuditPage, sqlx::Error> {
    let limit = limit.clamp(1, PAGE_MAX);
    let before = cursor.map_or(Uuid::max(), |id| id.0);
    let mut reader = database.reader(Urgency::General).await?;
    let (total,): (i64,) = on_connection!(reader, |connection| {
        let mut statement = QueryBuilder::new("SELECT COUNT(*) FROM audit_entries WHERE id <= ");
        statement.push_bind(Uuid::max());
        narrow(&mut statement, filter);
        statement.build_query_as().fetch_one(connection).await
    })?;
    let rows: Vec<EntryRow> = on_connection!(reader, |connection| {
        let mut statement = QueryBuilder::new(format!("SELECT {COLUMNS} FROM audit_entries WHERE id < "));
        statement.push_bind(before);
        narrow(&mut statement, filter);
        statement.push(" ORDER BY id DESC LIMIT ").push_bind(i64::from(limit) + 1);
        statement.build_query_as().fetch_all(connection).await
    })?;
    let mut items: Vec<EntryView> = rows.into_iter().map(|row| row.view(keys)).collect();
    let more = items.len() > limit as usize;
    items.truncate(limit as usize);
    let next = if more { items.last().map(|entry| entry.id) } else { None };
    Ok(AuditPage { items, next, total: u64::try_from(total).unwrap_or(0) })
}

/// Appends what `filter` demands.
fn narrow<DB: SqlxDatabase>(statement: &mut QueryBuilder<DB>, filter: &AuditFilter)
where
    String: Type<DB> + for<'q> Encode<'q, DB>,
    Uuid: Type<DB> + for<'q> Encode<'q, DB>,
    i64: Type<DB> + for<'q> Encode<'q, DB>,
{
    // An entry's id carries its instant.
    for (condition, instant) in [(" AND id >= ", filter.since_ms), (" AND id < ", filter.until_ms)] {
        if let Some(ms) = instant {
            statement.push(condition).push_bind(JobId::earliest_at(ms).0);
        }
    }
    if let Some(subject) = &filter.subject {
        statement.push(" AND subject = ").push_bind(subject.clone());
    }
    if let Some(action) = &filter.action {
        statement.push(" AND (action = ").push_bind(action.clone());
        // `/` comes right behind `.`.
        statement.push(" OR (action >= ").push_bind(format!("{action}."));
        statement.push(" AND action < ").push_bind(format!("{action}/")).push("))");
    }
    if let Some(text) = &filter.text {
        let pattern = format!("%{}%", text.to_lowercase().replace(['\\', '%', '_'], "_"));
        for (position, column) in ["actor", "action", "subject"].into_iter().enumerate() {
            statement.push(if position == 0 { " AND (" } else { " OR " });
            statement.push("LOWER(").push(column).push(") LIKE ").push_bind(pattern.clone());
        }
        statement.push(")");
    }
}

/// A piece of an export: lines of JSON, in the order in which they belong into the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExportPage {
    /// Each is one line, without its end.
    pub lines: Vec<String>,
    /// The block to go on with; `None` at the end.
    pub next: Option<i64>,
    /// Where the chain ends.
    pub end: ChainEnd,
    /// The sealed keys of the trail, for the manifest.
    pub keys: Vec<file::SealedKey>,
}

/// The blocks from number `from` on (or from the first one), each followed by its entries that match, opened. Entries
/// that are in no block yet are not exported. A block without a match is left out unless there is no filter at all.
pub async fn export(
    database: &Database,
    keys: &KeyRing,
    filter: &AuditFilter,
    from: Option<i64>,
) -> Result<ExportPage, sqlx::Error> {
    let everything = *filter == AuditFilter::default();
    let mut reader = database.reader(Urgency::General).await?;
    let head = Head::read(&mut reader).await?;
    let rows = keys::all(&mut reader).await?;
    let from = from.unwrap_or(head.first_block);
    let to = head.last_block.min(from.saturating_add(BLOCKS_PER_EXPORT_PAGE) - 1);
    let mut lines = Vec::new();
    for block in blocks(&mut reader, from, to).await? {
        let found = entries(&mut reader, block.first_position, block.last_position).await?;
        let matching: Vec<EntryRow> = found.into_iter().filter(|entry| filter.takes(entry)).collect();
        if !everything && matching.is_empty() {
            continue;
        }
        lines.push(Line::of_block(&block));
        lines.extend(matching.iter().map(|entry| Line::of_entry(entry, keys)));
    }
    let next = (to < head.last_block).then_some(to + 1);
    let keys = rows.into_iter().map(file::SealedKey::of).collect();
    Ok(ExportPage { lines, next, end: head.end(), keys })
}
