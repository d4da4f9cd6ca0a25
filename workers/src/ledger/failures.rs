//! What failed, what was slow and what is dead, for reports: as in [`super::history`], a stretch at a time.

use uuid::Uuid;

use super::Ledger;
use crate::{clock::UnixMs, database::Reader, id::JobId, lane::Lane, on_connection, state::State};

/// Jobs of one kind and state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KindCount {
    /// What they do.
    pub kind: String,
    /// What has become of them.
    pub state: State,
    /// How many.
    pub count: u64,
    /// From recording to the end, all together, in milliseconds; 0 for what has not ended.
    pub took_ms: u64,
}

/// Runs of one kind that did not end in `done`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunCount {
    /// What they were to do.
    pub kind: String,
    /// How they ended: `retry`, `snooze`, `cancel`, `dead`, `crashed` or `released`.
    pub outcome: String,
    /// How many.
    pub count: u64,
}

/// Runs that ended with one error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorCount {
    /// What they were to do.
    pub kind: String,
    /// What went wrong.
    pub error: String,
    /// How many.
    pub count: u64,
}

/// A job that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FinishedJob {
    /// Its identity.
    pub id: JobId,
    /// What it did.
    pub kind: String,
    /// Its lane.
    pub lane: Lane,
    /// What has become of it.
    pub state: State,
    /// When it was recorded.
    pub created_at_ms: UnixMs,
    /// When it ended.
    pub finished_at_ms: UnixMs,
}

/// A job that is dead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadJob {
    /// Its identity.
    pub id: JobId,
    /// What it was to do.
    pub kind: String,
    /// Its lane.
    pub lane: Lane,
    /// Runs that have ended.
    pub attempts: u64,
    /// What went wrong last.
    pub last_error: Option<String>,
}

fn number(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}

fn ends(from_ms: UnixMs, to_ms: UnixMs) -> (Uuid, Uuid) {
    (JobId::earliest_at(from_ms).0, JobId::earliest_at(to_ms).0)
}

impl Ledger {
    /// How many jobs were recorded from `from_ms` up to `to_ms`, by kind and state. Looks at each of them.
    pub async fn kinds_between(
        reader: &mut Reader,
        from_ms: UnixMs,
        to_ms: UnixMs,
    ) -> Result<Vec<KindCount>, sqlx::Error> {
        const SQL: &str = "SELECT kind, state, COUNT(*), CAST(SUM(CASE WHEN finished_at_ms > created_at_ms \
             THEN finished_at_ms - created_at_ms ELSE 0 END) AS BIGINT) \
             FROM jobs WHERE id >= $1 AND id < $2 GROUP BY kind, state ORDER BY kind, state";
        let (from, to) = ends(from_ms, to_ms);
        let rows: Vec<(String, String, i64, i64)> = on_connection!(reader, |connection| {
            sqlx::query_as(SQL).bind(from).bind(to).fetch_all(connection).await
        })?;
        // The columns' CHECKs allow no other words, here and below.
        let count = |(kind, state, count, took_ms): (String, String, i64, i64)| {
            Some(KindCount {
                kind,
                state: state.parse().ok()?,
                count: number(count),
                took_ms: number(took_ms),
            })
        };
        Ok(rows.into_iter().filter_map(count).collect())
    }

    /// How many runs of the jobs that were recorded from `from_ms` up to `to_ms` did not end in `done`, those of the
    /// kind `except` not counted.
    pub async fn failures_between(
        reader: &mut Reader,
        from_ms: UnixMs,
        to_ms: UnixMs,
        except: &str,
    ) -> Result<Vec<RunCount>, sqlx::Error> {
        const SQL: &str = "SELECT jobs.kind, job_attempts.outcome, COUNT(*) \
             FROM job_attempts JOIN jobs ON jobs.id = job_attempts.job_id \
             WHERE job_attempts.job_id >= $1 AND job_attempts.job_id < $2 AND jobs.kind <> $3 \
             GROUP BY jobs.kind, job_attempts.outcome ORDER BY jobs.kind, job_attempts.outcome";
        let (from, to) = ends(from_ms, to_ms);
        let rows: Vec<(String, String, i64)> = on_connection!(reader, |connection| {
            sqlx::query_as(SQL).bind(from).bind(to).bind(except).fetch_all(connection).await
        })?;
        let count = |(kind, outcome, count)| RunCount { kind, outcome, count: number(count) };
        Ok(rows.into_iter().map(count).collect())
    }

    /// The `limit` most frequent errors of these jobs, and of none of the kind `except`.
    pub async fn errors_between(
        reader: &mut Reader,
        from_ms: UnixMs,
        to_ms: UnixMs,
        limit: u32,
        except: &str,
    ) -> Result<Vec<ErrorCount>, sqlx::Error> {
        const SQL: &str = "SELECT jobs.kind, job_attempts.error, COUNT(*) \
             FROM job_attempts JOIN jobs ON jobs.id = job_attempts.job_id \
             WHERE job_attempts.job_id >= $1 AND job_attempts.job_id < $2 AND job_attempts.error IS NOT NULL \
             AND job_attempts.outcome IN ('retry', 'dead', 'crashed') AND jobs.kind <> $4 \
             GROUP BY jobs.kind, job_attempts.error ORDER BY COUNT(*) DESC, jobs.kind, job_attempts.error LIMIT $3";
        let (from, to) = ends(from_ms, to_ms);
        let rows: Vec<(String, String, i64)> = on_connection!(reader, |connection| {
            sqlx::query_as(SQL)
                .bind(from)
                .bind(to)
                .bind(i64::from(limit))
                .bind(except)
                .fetch_all(connection)
                .await
        })?;
        let count = |(kind, error, count)| ErrorCount { kind, error, count: number(count) };
        Ok(rows.into_iter().map(count).collect())
    }

    /// The `limit` jobs recorded from `from_ms` up to `to_ms` that took longest to their end. Looks at each of them.
    pub async fn slowest_between(
        reader: &mut Reader,
        from_ms: UnixMs,
        to_ms: UnixMs,
        limit: u32,
    ) -> Result<Vec<FinishedJob>, sqlx::Error> {
        const SQL: &str = "SELECT id, kind, lane, state, created_at_ms, finished_at_ms FROM jobs \
             WHERE id >= $1 AND id < $2 AND finished_at_ms IS NOT NULL \
             ORDER BY finished_at_ms - created_at_ms DESC, id LIMIT $3";
        let (from, to) = ends(from_ms, to_ms);
        let rows: Vec<(Uuid, String, String, String, i64, i64)> = on_connection!(reader, |connection| {
            sqlx::query_as(SQL).bind(from).bind(to).bind(i64::from(limit)).fetch_all(connection).await
        })?;
        let job = |(id, kind, lane, state, created_at_ms, finished_at_ms): (_, _, String, String, _, _)| {
            let (lane, state) = (lane.parse().ok()?, state.parse().ok()?);
            Some(FinishedJob { id: JobId(id), kind, lane, state, created_at_ms, finished_at_ms })
        };
        Ok(rows.into_iter().filter_map(job).collect())
    }

    /// The `limit` newest dead jobs recorded from `from_ms` up to `to_ms`, but none of the kind `except`.
    pub async fn dead_between(
        reader: &mut Reader,
        from_ms: UnixMs,
        to_ms: UnixMs,
        limit: u32,
        except: &str,
    ) -> Result<Vec<DeadJob>, sqlx::Error> {
        const SQL: &str = "SELECT id, kind, lane, CAST(attempts AS BIGINT), last_error FROM jobs \
             WHERE state = 'dead' AND id >= $1 AND id < $2 AND kind <> $4 ORDER BY id DESC LIMIT $3";
        let (from, to) = ends(from_ms, to_ms);
        let rows: Vec<(Uuid, String, String, i64, Option<String>)> = on_connection!(reader, |connection| {
            sqlx::query_as(SQL)
                .bind(from)
                .bind(to)
                .bind(i64::from(limit))
                .bind(except)
                .fetch_all(connection)
                .await
        })?;
        let job = |(id, kind, lane, attempts, last_error): (_, _, String, _, _)| {
            let lane = lane.parse().ok()?;
            Some(DeadJob { id: JobId(id), kind, lane, attempts: number(attempts), last_error })
        };
        Ok(rows.into_iter().filter_map(job).collect())
    }
}
