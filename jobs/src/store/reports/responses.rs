//! How every crisis was answered. The process that answers one notes how long that took, a moment later and beside the
//! work; what a process that died could not note is read from the ledger.

use keepwell_workers::{
    clock::UnixMs,
    database::{Database, Durability, Reader, turn::Urgency},
    id::JobId,
    lane::Lane,
    ledger::{Ledger, PastJob},
    on_connection,
    seal::KeyRing,
    state::State,
};
use sqlx::types::Uuid;

use crate::{
    care::{report::period::Period, severity::Severity},
    kinds,
    watch::{CrisisWatch, urgency_of},
};

/// Jobs of the ledger that are looked at in one statement.
const JOBS_PER_PAGE: u32 = 500;

/// The stretch of the ledger that one statement goes through, in milliseconds (an hour).
pub(super) const STRETCH_MS: i64 = 60 * 60 * 1_000;

/// Rows deleted in one transaction.
const ROWS_PER_SWEEP: i64 = 500;

/// How a crisis was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrisisResponse {
    /// The job that answers it.
    pub job: JobId,
    /// The kind of that job.
    pub kind: String,
    /// How severe.
    pub severity: Severity,
    /// When it was recorded.
    pub came_ms: UnixMs,
    /// How long the answer may take, in milliseconds.
    pub limit_ms: i64,
    /// How long it took to the commit of what it changes, in microseconds; `None` if nothing answers it.
    pub took_us: Option<u64>,
    /// Whether the process that answered it measured that; otherwise it was read from the ledger, to the millisecond.
    pub measured: bool,
}

/// What goes through the crisis lane and nobody waits for: that it is over, what Stripe is to be asked, and what was
/// said of contacts, which answers nothing.
const NOBODY_WAITS_FOR: [&str; 3] =
    [kinds::CRISIS_RESOLVED, kinds::CONFIRM_SUBSCRIPTION, kinds::PERSON_DATA_UPDATED];

/// Whether somebody waits for a job of this kind in the crisis lane: it was sent to us, and not made by us.
pub fn is_crisis_event(kind: &str) -> bool {
    !kind.starts_with(kinds::OUR_OWN) && !NOBODY_WAITS_FOR.contains(&kind)
}

/// Notes `responses`. One that was noted before stays as it is, unless nothing had answered it then.
pub async fn note_responses(
    database: &Database,
    responses: &[CrisisResponse],
    now_ms: UnixMs,
) -> Result<(), sqlx::Error> {
    const SQL: &str = "INSERT INTO crisis_responses (job_id, kind, severity, came_ms, limit_ms, took_us, measured) \
         VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (job_id) DO UPDATE SET \
         took_us = excluded.took_us, measured = excluded.measured WHERE crisis_responses.took_us IS NULL";
    if responses.is_empty() {
        return Ok(());
    }
    // What a power cut takes is read from the ledger.
    let mut transaction = database.begin(Urgency::General, Durability::Relaxed, now_ms).await?;
    for response in responses {
        let took_us = response.took_us.map(|us| i64::try_from(us).unwrap_or(i64::MAX));
        on_connection!(transaction, |connection| {
            sqlx::query(SQL)
                .bind(response.job.0)
                .bind(&response.kind)
                .bind(response.severity.name())
                .bind(response.came_ms)
                .bind(response.limit_ms)
                .bind(took_us)
                .bind(response.measured)
                .execute(connection)
                .await
                .map(|_| ())
        })?;
    }
    transaction.commit().await
}

/// Notes what the ledger knows of crises of `period` that nobody has noted. Answers with those that are still owed.
pub async fn catch_up(
    database: &Database,
    keys: &KeyRing,
    watch: &CrisisWatch,
    period: Period,
    now_ms: UnixMs,
) -> Result<Vec<CrisisResponse>, sqlx::Error> {
    let reader = async || database.reader(Urgency::General).await;
    let Some(oldest_ms) = Ledger::oldest_ms(&mut reader().await?).await? else { return Ok(Vec::new()) };
    let mut owed = Vec::new();
    let known = Period { from_ms: period.from_ms.max(oldest_ms), ..period };
    for Period { from_ms, to_ms } in known.cut(STRETCH_MS) {
        let mut after = JobId::earliest_at(from_ms);
        loop {
            let mut reader = reader().await?;
            let page = Ledger::past_of_lane(&mut reader, Lane::Crisis, after, to_ms, JOBS_PER_PAGE).await?;
            let noted = answered(&mut reader, after, to_ms).await?;
            let mut missing = Vec::new();
            for job in &page {
                if noted.binary_search(&job.id.0).is_ok() || !is_crisis_event(&job.kind) {
                    continue;
                }
                let Some(response) = of_ledger(&mut reader, job, keys, watch).await? else { continue };
                if job.state == State::Owed { owed.push(response) } else { missing.push(response) }
            }
            // On PostgreSQL what is noted takes a connection of the same pool.
            drop(reader);
            note_responses(database, &missing, now_ms).await?;
            let Some(last) = page.last().filter(|_| page.len() == JOBS_PER_PAGE as usize) else { break };
            after = last.id;
        }
    }
    Ok(owed)
}

/// The jobs behind `after` and before `to_ms` whose answer was noted, in order.
async fn answered(reader: &mut Reader, after: JobId, to_ms: UnixMs) -> Result<Vec<Uuid>, sqlx::Error> {
    const SQL: &str = "SELECT job_id FROM crisis_responses \
         WHERE job_id > $1 AND job_id < $2 AND took_us IS NOT NULL ORDER BY job_id LIMIT 100000";
    let rows: Vec<(Uuid,)> = on_connection!(reader, |connection| {
        sqlx::query_as(SQL).bind(after.0).bind(JobId::earliest_at(to_ms).0).fetch_all(connection).await
    })?;
    Ok(rows.into_iter().map(|(job,)| job).collect())
}

/// What the ledger knows of the crisis that `job` answers; `None` if nobody waits for it. A payload that cannot be
/// opened is as urgent as a crisis of unknown severity.
async fn of_ledger(
    reader: &mut Reader,
    job: &PastJob,
    keys: &KeyRing,
    watch: &CrisisWatch,
) -> Result<Option<CrisisResponse>, sqlx::Error> {
    let sealed = Ledger::sealed_payload(reader, job.id).await?;
    let payload = sealed.and_then(|(key_id, sealed)| keys.open(job.id.as_bytes(), &key_id, &sealed).ok());
    let payload = payload.unwrap_or_default();
    let urgency = urgency_of(&job.kind, Lane::Crisis, job.subject.as_deref(), &payload);
    let Some((_, severity)) = urgency else { return Ok(None) };
    let span_ms = job.finished_at_ms.map(|finished_ms| finished_ms.saturating_sub(job.created_at_ms));
    let took_us = span_ms.map(|ms| u64::try_from(ms).unwrap_or(0).saturating_mul(1_000));
    Ok(Some(CrisisResponse {
        job: job.id,
        kind: job.kind.clone(),
        severity,
        came_ms: job.created_at_ms,
        limit_ms: watch.limit_ms(severity),
        took_us: took_us.filter(|_| job.state == State::Done),
        measured: false,
    }))
}

/// Forgets a batch of what came before `before_ms`; whether there may be more.
pub async fn forget_responses(
    database: &Database,
    before_ms: UnixMs,
    now_ms: UnixMs,
) -> Result<bool, sqlx::Error> {
    const SQL: &str = "DELETE FROM crisis_responses WHERE job_id IN \
         (SELECT job_id FROM crisis_responses WHERE came_ms < $1 ORDER BY came_ms, job_id LIMIT $2)";
    let mut transaction = database.begin(Urgency::General, Durability::Relaxed, now_ms).await?;
    let forgotten = on_connection!(transaction, |connection| {
        sqlx::query(SQL)
            .bind(before_ms)
            .bind(ROWS_PER_SWEEP)
            .execute(connection)
            .await
            .map(|done| done.rows_affected())
    })?;
    transaction.commit().await?;
    Ok(forgotten >= ROWS_PER_SWEEP as u64)
}
