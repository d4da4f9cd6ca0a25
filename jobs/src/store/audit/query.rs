//! What operators and compliance officers ask the trail.

use std::collections::BTreeMap;

use keepwell_workers::{
    clock::UnixMs,
    database::{Database, turn::Urgency},
    id::JobId,
    on_connection,
    seal::KeyRing,
};
use sqlx::{Database as SqlxDatabase, Encode, QueryBuilder, Type, types::Uuid};

use super::entry::{COLUMNS, EntryRow, EntryView};
use crate::care::document::UtcTime;

/// Entries on one page, at most.
const PAGE_MAX: u32 = 500;

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
    /// What is asked for, by name; empty for everything.
    pub fn asked(&self) -> BTreeMap<String, String> {
        let instant = |ms: UnixMs| UtcTime(ms).to_rfc3339();
        let pairs = [
            ("since", self.since_ms.map(instant)),
            ("until", self.until_ms.map(instant)),
            ("subject", self.subject.clone()),
            ("action", self.action.clone()),
            ("q", self.text.clone()),
        ];
        pairs.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    }

    pub(super) fn takes(&self, entry: &EntryRow) -> bool {
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
        // Not as a range: what lies between two texts is a matter of the database's collation.
        let all = format!("{action}.");
        statement.push(format!(" OR substr(action, 1, {}) = ", all.chars().count()));
        statement.push_bind(all).push(")");
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
