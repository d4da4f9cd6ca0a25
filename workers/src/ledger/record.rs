//! Writing new jobs into the ledger, many at a time, each dedupe key once.

use std::{collections::HashMap, sync::Arc};

use sqlx::{PgConnection, QueryBuilder, SqliteConnection};
use uuid::Uuid;

use super::turn_number;
use crate::{
    clock::UnixMs,
    clocks::Recorder,
    database::{Connection, Transaction, bounded, pieces},
    id::JobId,
    job::{NewJob, Recorded},
    lane::Lane,
    lanes::Placement,
    on_connection,
    seal::{KeyRing, SealError},
};

/// A job ready to be written: named, sealed, timed.
#[derive(Debug, Clone)]
pub struct SealedJob {
    /// Its identity.
    pub id: JobId,
    kind: Arc<str>,
    /// Where it will wait.
    pub lane: Lane,
    dedupe_key: Option<String>,
    subject: Option<String>,
    turn: Option<i64>,
    key_id: Arc<str>,
    sealed: Vec<u8>,
    run_at_ms: UnixMs,
    created_at_ms: UnixMs,
    trace: Option<String>,
}

impl SealedJob {
    /// Names `job`, which `recorder` records, and seals its payload, bound to that name.
    pub(crate) fn seal(
        job: NewJob,
        keys: &KeyRing,
        recorder: Recorder,
        now_ms: UnixMs,
    ) -> Result<Self, SealError> {
        if job.payload.len() > NewJob::PAYLOAD_BYTES_MAX {
            return Err(SealError::TooLong);
        }
        let id = JobId::new(now_ms).recorded_by(recorder);
        let sealed = keys.seal(id.as_bytes(), &job.payload)?;
        Ok(Self {
            id,
            kind: job.kind,
            lane: job.lane,
            dedupe_key: job.dedupe_key,
            subject: job.subject,
            turn: job.turn.as_deref().map(turn_number),
            key_id: sealed.key_id,
            sealed: sealed.bytes,
            run_at_ms: job.run_at_ms.unwrap_or(now_ms),
            created_at_ms: now_ms,
            trace: job.trace,
        })
    }

    /// Bytes of sealed payload.
    pub(crate) fn sealed_len(&self) -> usize {
        self.sealed.len()
    }

    /// What its sender is told if nothing was in its way.
    pub(super) fn recorded(&self) -> Recorded {
        Recorded { id: self.id, duplicate: false }
    }

    /// Where the lanes will have to put it.
    pub(crate) fn placement(&self) -> Placement {
        let run_at_ms = due_ms(self.run_at_ms, self.created_at_ms);
        Placement { id: self.id, lane: self.lane, turn: self.turn, run_at_ms }
    }
}

/// Not before which instant a job may run that was created at `created_at_ms`. One that was never to wait may run at
/// any time: if the clock was set back since, that instant is yet to come.
pub(super) fn due_ms(run_at_ms: UnixMs, created_at_ms: UnixMs) -> UnixMs {
    if run_at_ms == created_at_ms { UnixMs::MIN } else { run_at_ms }
}

/// Writes `jobs`; answers in their order. A job that is there already, because a commit whose answer was lost had come
/// to pass, counts as written now.
pub(crate) async fn record(
    transaction: &mut Transaction,
    jobs: &[&SealedJob],
) -> Result<Vec<Recorded>, sqlx::Error> {
    let mut recorded = Vec::with_capacity(jobs.len());
    for piece in pieces(jobs) {
        record_rows(transaction, piece, &mut recorded).await?;
    }
    Ok(recorded)
}

async fn record_rows(
    transaction: &mut Transaction,
    jobs: &[&SealedJob],
    recorded: &mut Vec<Recorded>,
) -> Result<(), sqlx::Error> {
    let written = match transaction.connection() {
        Connection::Sqlite(connection) => {
            let written = bounded(Box::pin(insert_rows(connection, jobs))).await?;
            if written == jobs.len() as u64 {
                bounded(Box::pin(insert_payloads(connection, jobs))).await?;
            }
            written
        }
        Connection::Postgres(connection) => bounded(Box::pin(insert_whole(connection, jobs))).await?,
    };
    // Which ones were written is only asked if some were not: an answer of a row for each costs more than the check.
    if written == jobs.len() as u64 {
        recorded.extend(jobs.iter().map(|job| job.recorded()));
        return Ok(());
    }
    let told = tell_apart(transaction.connection(), jobs).await?;
    let fresh = jobs.iter().zip(&told).filter(|(_, recorded)| !recorded.duplicate).map(|(job, _)| *job);
    let fresh: Vec<_> = fresh.collect();
    if let Connection::Sqlite(connection) = transaction.connection() {
        for piece in pieces(&fresh) {
            bounded(Box::pin(insert_payloads(&mut *connection, piece))).await?;
        }
    }
    recorded.extend(told);
    Ok(())
}

/// Says which of `jobs` are there, and which are others' duplicates. All of them in one go: senders who were not
/// answered in time come again, all at once, and must not take longer than they did the first time.
pub(super) async fn tell_apart(
    connection: Connection<'_>,
    jobs: &[&SealedJob],
) -> Result<Vec<Recorded>, sqlx::Error> {
    let first = first_with_keys(connection, jobs).await?;
    let tell = |job: &&SealedJob| {
        // Without a key, only its own id can have been in its way.
        let Some(key) = job.dedupe_key.as_deref() else { return Ok(job.recorded()) };
        // Whatever had its key has been deleted meanwhile: nobody has written this one, and it has to be tried again.
        let id =
            *first.get(key).ok_or_else(|| sqlx::Error::Protocol("a key is nobody's any more".to_owned()))?;
        Ok(Recorded { id, duplicate: id != job.id })
    };
    jobs.iter().map(tell).collect()
}

/// Writes the rows of `jobs`, those that are not there yet; says how many.
async fn insert_rows(connection: &mut SqliteConnection, jobs: &[&SealedJob]) -> Result<u64, sqlx::Error> {
    let mut statement = QueryBuilder::new(
        "INSERT INTO jobs (id, kind, lane, state, dedupe_key, subject, turn, run_at_ms, created_at_ms, trace) ",
    );
    statement.push_values(jobs, |mut row, job| {
        row.push_bind(job.id.0)
            .push_bind(&*job.kind)
            .push_bind(job.lane.name())
            .push("'owed'")
            .push_bind(job.dedupe_key.as_deref())
            .push_bind(job.subject.as_deref())
            .push_bind(job.turn)
            .push_bind(job.run_at_ms)
            .push_bind(job.created_at_ms)
            .push_bind(job.trace.as_deref());
    });
    statement.push(" ON CONFLICT DO NOTHING");
    statement.build().execute(connection).await.map(|result| result.rows_affected())
}

/// Writes `jobs`, those that are not there yet, with their payloads; says how many. In one statement, the same for any
/// number of them: to a server that is some distance away, each one is most of what recording costs.
pub(super) async fn insert_whole(
    connection: &mut PgConnection,
    jobs: &[&SealedJob],
) -> Result<u64, sqlx::Error> {
    const SQL: &str = "\
        WITH given AS (\
            SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) AS given \
            (id, kind, lane, dedupe_key, subject, turn, run_at_ms, created_at_ms, trace, key_id, sealed)\
        ), written AS (\
            INSERT INTO jobs (id, kind, lane, state, dedupe_key, subject, turn, run_at_ms, created_at_ms, trace) \
            SELECT id, kind, lane, 'owed', dedupe_key, subject, turn, run_at_ms, created_at_ms, trace FROM given \
            ON CONFLICT DO NOTHING RETURNING id\
        ) \
        INSERT INTO job_payloads (job_id, key_id, sealed) \
        SELECT id, key_id, sealed FROM given JOIN written USING (id) ON CONFLICT DO NOTHING";
    fn column<'j, T>(jobs: &[&'j SealedJob], of: impl Fn(&'j SealedJob) -> T) -> Vec<T> {
        jobs.iter().map(|job| of(job)).collect()
    }
    sqlx::query(SQL)
        .bind(column(jobs, |job| job.id.0))
        .bind(column(jobs, |job| &*job.kind))
        .bind(column(jobs, |job| job.lane.name()))
        .bind(column(jobs, |job| job.dedupe_key.as_deref()))
        .bind(column(jobs, |job| job.subject.as_deref()))
        .bind(column(jobs, |job| job.turn))
        .bind(column(jobs, |job| job.run_at_ms))
        .bind(column(jobs, |job| job.created_at_ms))
        .bind(column(jobs, |job| job.trace.as_deref()))
        .bind(column(jobs, |job| &*job.key_id))
        .bind(column(jobs, |job| job.sealed.as_slice()))
        .execute(connection)
        .await
        .map(|result| result.rows_affected())
}

async fn insert_payloads(connection: &mut SqliteConnection, jobs: &[&SealedJob]) -> Result<(), sqlx::Error> {
    let mut statement = QueryBuilder::new("INSERT INTO job_payloads (job_id, key_id, sealed) ");
    statement.push_values(jobs, |mut row, job| {
        row.push_bind(job.id.0).push_bind(&*job.key_id).push_bind(job.sealed.as_slice());
    });
    // It is there already if the job was.
    statement.push(" ON CONFLICT DO NOTHING");
    statement.build().execute(connection).await.map(|_| ())
}

/// The jobs that have the keys of `jobs`, asked for in one statement of few sizes, so that it stays prepared.
async fn first_with_keys(
    mut connection: Connection<'_>,
    jobs: &[&SealedJob],
) -> Result<HashMap<String, JobId>, sqlx::Error> {
    let keys: Vec<&str> = jobs.iter().filter_map(|job| job.dedupe_key.as_deref()).collect();
    if keys.is_empty() {
        return Ok(HashMap::new());
    }
    let padding = std::iter::repeat_n(keys.last(), keys.len().next_power_of_two() - keys.len()).flatten();
    let found: Vec<(Uuid, String)> = on_connection!(connection, |connection| {
        let mut statement = QueryBuilder::new("SELECT id, dedupe_key FROM jobs WHERE dedupe_key IN (");
        let mut list = statement.separated(", ");
        for key in keys.iter().chain(padding.clone()) {
            list.push_bind(*key);
        }
        statement.push(")");
        statement.build_query_as().fetch_all(connection).await
    })?;
    Ok(found.into_iter().map(|(id, key)| (key, JobId(id))).collect())
}
