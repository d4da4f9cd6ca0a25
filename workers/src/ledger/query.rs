//! What operators ask the ledger.

use sqlx::{Database as SqlxDatabase, Encode, QueryBuilder, Type};
use uuid::Uuid;

use super::Ledger;
use crate::{clock::UnixMs, database::turn::Urgency, id::JobId, lane::Lane, on_connection, state::State};

/// Jobs on one page, at most.
pub(super) const PAGE_MAX: u32 = 500;

/// Which jobs to list; what is `None` does not matter.
#[derive(Debug, Clone, Default)]
pub struct JobFilter {
    /// In this state.
    pub state: Option<State>,
    /// Of this kind.
    pub kind: Option<String>,
    /// In this lane.
    pub lane: Option<Lane>,
    /// In any lane but this.
    pub except_lane: Option<Lane>,
    /// Unless it is of this kind and done.
    pub except_done_of: Option<String>,
    /// Concerning this subject.
    pub subject: Option<String>,
    /// Recorded at or after this instant.
    pub since_ms: Option<UnixMs>,
    /// Recorded before this instant.
    pub until_ms: Option<UnixMs>,
    /// With this text in kind, subject, dedupe key or last error.
    pub text: Option<String>,
}

/// A job as operators see it. Its payload stays sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobView {
    /// Its identity.
    pub id: JobId,
    /// Which handler runs it.
    pub kind: String,
    /// The lane it waits in.
    pub lane: Lane,
    /// Where it stands.
    pub state: State,
    /// Whom or what it concerns.
    pub subject: Option<String>,
    /// Runs that have ended.
    pub attempts: u32,
    /// Runs its kind allows.
    pub attempts_max: u32,
    /// When it was recorded.
    pub created_at_ms: UnixMs,
    /// The earliest next run.
    pub run_at_ms: UnixMs,
    /// When it was finished, given up or cancelled.
    pub finished_at_ms: Option<UnixMs>,
    /// What went wrong last.
    pub last_error: Option<String>,
    /// The key under which it was recorded once.
    pub dedupe_key: Option<String>,
}

/// A run that did not end in `done`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Which run, counted from 1.
    pub attempt: u32,
    /// How it ended.
    pub outcome: String,
    /// What went wrong.
    pub error: Option<String>,
    /// The life of the process that ran it.
    pub node: String,
    /// When it ended.
    pub finished_at_ms: UnixMs,
}

/// A page of jobs, newest first.
#[derive(Debug, Clone)]
pub struct JobPage {
    /// The jobs.
    pub items: Vec<JobView>,
    /// Where the next page starts; `None` on the last one.
    pub next: Option<JobId>,
    /// How many jobs match in all.
    pub total: u64,
}

/// Jobs by state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LedgerTotals {
    /// Still to be done.
    pub owed: u64,
    /// Given up on.
    pub dead: u64,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    kind: String,
    lane: String,
    state: String,
    subject: Option<String>,
    attempts: i32,
    created_at_ms: i64,
    run_at_ms: i64,
    finished_at_ms: Option<i64>,
    last_error: Option<String>,
    dedupe_key: Option<String>,
}

const COLUMNS: &str = "SELECT id, kind, lane, state, subject, attempts, created_at_ms, run_at_ms, \
     finished_at_ms, last_error, dedupe_key FROM jobs WHERE id < ";

impl Ledger {
    /// A page of at most `limit` jobs (and 500) that match, newest first, from below `cursor`.
    pub async fn list(
        &self,
        filter: &JobFilter,
        cursor: Option<JobId>,
        limit: u32,
    ) -> Result<JobPage, sqlx::Error> {
        let limit = limit.clamp(1, PAGE_MAX);
        let before = cursor.map_or(Uuid::max(), |id| id.0);
        let mut reader = self.database.reader(Urgency::General).await?;
        let (total,): (i64,) = on_connection!(reader, |connection| {
            let mut statement = QueryBuilder::new("SELECT COUNT(*) FROM jobs WHERE id <= ");
            statement.push_bind(Uuid::max());
            narrow(&mut statement, filter);
            statement.build_query_as().fetch_one(connection).await
        })?;
        let rows: Vec<Row> = on_connection!(reader, |connection| {
            let mut statement = QueryBuilder::new(COLUMNS);
            statement.push_bind(before);
            narrow(&mut statement, filter);
            statement.push(" ORDER BY id DESC LIMIT ").push_bind(i64::from(limit) + 1);
            statement.build_query_as().fetch_all(connection).await
        })?;
        let mut items: Vec<JobView> = rows.into_iter().map(|row| self.view(row)).collect();
        let more = items.len() > limit as usize;
        items.truncate(limit as usize);
        let next = if more { items.last().map(|job| job.id) } else { None };
        Ok(JobPage { items, next, total: u64::try_from(total).unwrap_or(0) })
    }

    /// One job and the runs of it that did not end in `done`, oldest first.
    pub async fn show(&self, id: JobId) -> Result<Option<(JobView, Vec<Attempt>)>, sqlx::Error> {
        const SQL: &str = "SELECT id, kind, lane, state, subject, attempts, created_at_ms, run_at_ms, \
             finished_at_ms, last_error, dedupe_key FROM jobs WHERE id = $1";
        const ATTEMPTS: &str = "SELECT attempt, outcome, error, node, finished_at_ms FROM job_attempts \
             WHERE job_id = $1 ORDER BY finished_at_ms LIMIT 1000";
        let mut reader = self.database.reader(Urgency::General).await?;
        let row: Option<Row> = on_connection!(reader, |connection| {
            sqlx::query_as(SQL).bind(id.0).fetch_optional(connection).await
        })?;
        let Some(row) = row else { return Ok(None) };
        let attempts: Vec<(i32, String, Option<String>, String, i64)> =
            on_connection!(reader, |connection| {
                sqlx::query_as(ATTEMPTS).bind(id.0).fetch_all(connection).await
            })?;
        let attempts = attempts
            .into_iter()
            .map(|(attempt, outcome, error, node, finished_at_ms)| Attempt {
                attempt: u32::try_from(attempt).unwrap_or(0),
                outcome,
                error,
                node,
                finished_at_ms,
            })
            .collect();
        Ok(Some((self.view(row), attempts)))
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<(), sqlx::Error> {
        let mut reader = self.database.reader(Urgency::General).await?;
        let (_,): (i32,) =
            on_connection!(reader, |connection| sqlx::query_as("SELECT 1").fetch_one(connection).await)?;
        Ok(())
    }

    /// How many jobs are owed and dead.
    pub async fn totals(&self) -> Result<LedgerTotals, sqlx::Error> {
        const DEAD: &str = "SELECT COUNT(*) FROM jobs WHERE state = 'dead'";
        let owed = self.owed_count().await?;
        let mut reader = self.database.reader(Urgency::General).await?;
        let (dead,): (i64,) =
            on_connection!(reader, |connection| sqlx::query_as(DEAD).fetch_one(connection).await)?;
        Ok(LedgerTotals { owed, dead: u64::try_from(dead).unwrap_or(0) })
    }

    fn view(&self, row: Row) -> JobView {
        JobView {
            id: JobId(row.id),
            attempts_max: self.registry.policy(&row.kind).attempts_max,
            kind: row.kind,
            // The columns' CHECKs allow no other words.
            lane: row.lane.parse().unwrap_or(Lane::Standard),
            state: row.state.parse().unwrap_or(State::Owed),
            subject: row.subject,
            attempts: u32::try_from(row.attempts).unwrap_or(0),
            created_at_ms: row.created_at_ms,
            run_at_ms: row.run_at_ms,
            finished_at_ms: row.finished_at_ms,
            last_error: row.last_error,
            dedupe_key: row.dedupe_key,
        }
    }
}

/// Appends what `filter` demands.
pub(super) fn narrow<DB: SqlxDatabase>(statement: &mut QueryBuilder<DB>, filter: &JobFilter)
where
    String: Type<DB> + for<'q> Encode<'q, DB>,
    Uuid: Type<DB> + for<'q> Encode<'q, DB>,
{
    let words = [
        (" AND state = ", filter.state.map(|state| state.name().to_owned())),
        (" AND kind = ", filter.kind.clone()),
        (" AND lane = ", filter.lane.map(|lane| lane.name().to_owned())),
        (" AND lane <> ", filter.except_lane.map(|lane| lane.name().to_owned())),
        (" AND subject = ", filter.subject.clone()),
    ];
    for (condition, value) in words {
        if let Some(value) = value {
            statement.push(condition).push_bind(value);
        }
    }
    if let Some(kind) = &filter.except_done_of {
        statement.push(" AND (kind <> ").push_bind(kind.clone()).push(" OR state <> 'done')");
    }
    // A job's id carries the instant at which it was recorded.
    for (condition, instant) in [(" AND id >= ", filter.since_ms), (" AND id < ", filter.until_ms)] {
        if let Some(ms) = instant {
            statement.push(condition).push_bind(JobId::earliest_at(ms).0);
        }
    }
    if let Some(text) = &filter.text {
        let pattern = format!("%{}%", text.to_lowercase().replace(['\\', '%', '_'], "_"));
        let columns = ["kind", "subject", "dedupe_key", "last_error"];
        for (position, column) in columns.into_iter().enumerate() {
            statement.push(if position == 0 { " AND (" } else { " OR " });
            statement.push("LOWER(").push(column).push(") LIKE ").push_bind(pattern.clone());
        }
        statement.push(")");
    }
}
