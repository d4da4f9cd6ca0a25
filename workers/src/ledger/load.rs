//! Reading jobs whole, many at a time, and opening their payloads: what was claimed, and what nobody has answered.

use std::sync::Arc;

use sqlx::QueryBuilder;
use uuid::Uuid;

use super::{IS_OWED, JobFilter, Ledger, record::due_ms};
use crate::{
    clock::UnixMs, database::turn::Urgency, id::JobId, job::Job, lane::Lane, on_connection, seal::SealError,
    state::State,
};

/// Jobs read by one statement; claims are padded up to one of these sizes so that few distinct statements exist.
const IDS_PER_STATEMENT: [usize; 4] = [1, 8, 64, 256];

/// Dead jobs that one page looks at to find those of one lane, at most. Of ten thousand it takes SQLite about ten
/// milliseconds.
const DEAD_PER_PAGE: i64 = 10_000;

/// An owed job as the ledger has it.
#[derive(Debug)]
pub(crate) enum Loaded {
    /// Owed, and its payload opens.
    Ready {
        /// The job.
        job: Arc<Job>,
        /// Not before this instant.
        run_at_ms: UnixMs,
    },
    /// Owed, but its payload cannot be opened.
    Sealed {
        /// The job, its payload empty.
        job: Arc<Job>,
        /// Why.
        error: SealError,
    },
}

impl Loaded {
    /// The job, its payload empty if that cannot be opened.
    pub(crate) fn job(self) -> Arc<Job> {
        match self {
            Loaded::Ready { job, .. } | Loaded::Sealed { job, .. } => job,
        }
    }
}

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    kind: String,
    lane: String,
    dedupe_key: Option<String>,
    subject: Option<String>,
    attempts: i32,
    run_at_ms: i64,
    created_at_ms: i64,
    trace: Option<String>,
    key_id: String,
    sealed: Vec<u8>,
}

/// Which dead jobs are looked for.
#[derive(Debug, Clone, Copy)]
pub struct DeadOf<'d> {
    /// Those of this lane,
    pub lane: Lane,
    /// but for those whose kind begins like this.
    pub but_prefix: &'d str,
    /// Those of these kinds as well, whatever their lane.
    pub kinds: &'d [&'d str],
}

/// A page of dead jobs, the newest first.
#[derive(Debug, Clone, Default)]
pub struct DeadPage {
    /// The jobs, and when each of them died. The payload of one that cannot be opened is empty.
    pub jobs: Vec<(Arc<Job>, UnixMs)>,
    /// Behind which job the next page begins; `None` on the last one.
    pub next: Option<JobId>,
}

#[derive(sqlx::FromRow)]
struct DeadRow {
    #[sqlx(flatten)]
    row: Row,
    finished_at_ms: i64,
}

impl Ledger {
    /// The jobs of `ids` that are still owed, in no particular order.
    pub(crate) async fn load(&self, ids: &[JobId], urgency: Urgency) -> Result<Vec<Loaded>, sqlx::Error> {
        match self.load_once(ids, urgency).await {
            // A crisis among them need not wait because the server was restarted.
            Err(error) if self.database.is_break(&error) => self.load_once(ids, urgency).await,
            loaded => loaded,
        }
    }

    /// At most `limit` owed jobs of `lane` with ids after `after`, oldest first, also those that wait for a next run.
    /// The payload of one that cannot be opened is empty.
    pub async fn owed_jobs(
        &self,
        lane: Lane,
        after: Option<JobId>,
        limit: u32,
    ) -> Result<Vec<Arc<Job>>, sqlx::Error> {
        let owed = self.owed(lane, after, limit, Urgency::General).await?;
        let ids: Vec<JobId> = owed.into_iter().map(|placement| placement.id).collect();
        self.opened(&ids).await
    }

    /// Owed jobs that match, oldest first, at most a thousand. The payload of one that cannot be opened is empty.
    pub async fn owed_matching(&self, filter: &JobFilter) -> Result<Vec<Arc<Job>>, sqlx::Error> {
        let ids = self.matching(State::Owed, filter, None).await?;
        self.opened(&ids).await
    }

    async fn opened(&self, ids: &[JobId]) -> Result<Vec<Arc<Job>>, sqlx::Error> {
        let loaded = self.load(ids, Urgency::General).await?;
        let mut jobs: Vec<Arc<Job>> = loaded.into_iter().map(Loaded::job).collect();
        jobs.sort_by_key(|job| job.id);
        Ok(jobs)
    }

    /// At most `limit` of these jobs that have died since `since_ms`, those that were recorded before `after`. A page
    /// may be empty and not the last one: it has looked at ten thousand dead jobs, whatever they are.
    pub async fn dead_since(
        &self,
        of: DeadOf<'_>,
        since_ms: UnixMs,
        after: Option<JobId>,
        limit: u32,
    ) -> Result<DeadPage, sqlx::Error> {
        const END: &str =
            "SELECT id FROM jobs WHERE state = 'dead' AND id < $1 ORDER BY id DESC LIMIT 1 OFFSET $2";
        let after = after.map_or(Uuid::max(), |id| id.0);
        let mut reader = self.database.reader(Urgency::General).await?;
        let end: Option<(Uuid,)> = on_connection!(reader, |connection| {
            sqlx::query_as(END).bind(after).bind(DEAD_PER_PAGE - 1).fetch_optional(connection).await
        })?;
        let end = end.map(|(id,)| id);
        let rows: Vec<DeadRow> = on_connection!(reader, |connection| {
            let mut statement = QueryBuilder::new(
                "SELECT jobs.id, kind, lane, dedupe_key, subject, attempts, run_at_ms, created_at_ms, trace, \
                 key_id, sealed, finished_at_ms FROM jobs JOIN job_payloads ON job_id = jobs.id \
                 WHERE jobs.id IN (SELECT id FROM jobs WHERE state = 'dead' AND id < ",
            );
            statement.push_bind(after).push(" AND id >= ").push_bind(end.unwrap_or(Uuid::nil()));
            statement.push(") AND finished_at_ms >= ").push_bind(since_ms);
            statement.push(" AND (lane || '' = ").push_bind(of.lane.name());
            statement.push(" AND kind NOT LIKE ").push_bind(format!("{}%", of.but_prefix));
            for kind in of.kinds {
                statement.push(" OR kind = ").push_bind(*kind);
            }
            statement.push(") ORDER BY jobs.id DESC LIMIT ").push_bind(i64::from(limit));
            statement.build_query_as().fetch_all(connection).await
        })?;
        let is_full = rows.len() >= limit as usize;
        let next = if is_full { rows.last().map(|dead| dead.row.id) } else { end };
        let dead = |DeadRow { row, finished_at_ms }: DeadRow| (self.open(row).job(), finished_at_ms);
        Ok(DeadPage { jobs: rows.into_iter().map(dead).collect(), next: next.map(JobId) })
    }

    async fn load_once(&self, ids: &[JobId], urgency: Urgency) -> Result<Vec<Loaded>, sqlx::Error> {
        let mut loaded = Vec::with_capacity(ids.len());
        let mut reader = self.database.reader(urgency).await?;
        for piece in ids.chunks(IDS_PER_STATEMENT[3]) {
            let width =
                IDS_PER_STATEMENT.into_iter().find(|width| *width >= piece.len()).unwrap_or(piece.len());
            let rows: Vec<Row> = on_connection!(reader, |connection| {
                let mut statement = QueryBuilder::new(
                    "SELECT jobs.id, kind, lane, dedupe_key, subject, attempts, run_at_ms, created_at_ms, trace, \
                     key_id, sealed FROM jobs JOIN job_payloads ON job_id = jobs.id WHERE ",
                );
                statement.push(IS_OWED).push(" AND jobs.id IN (");
                let mut list = statement.separated(", ");
                let padding = std::iter::repeat_n(piece.last(), width - piece.len()).flatten();
                for id in piece.iter().chain(padding) {
                    list.push_bind(id.0);
                }
                statement.push(")");
                statement.build_query_as().fetch_all(connection).await
            })?;
            loaded.extend(rows.into_iter().map(|row| self.open(row)));
        }
        Ok(loaded)
    }

    fn open(&self, row: Row) -> Loaded {
        let id = JobId(row.id);
        let opened = self.keys.open(id.as_bytes(), &row.key_id, &row.sealed);
        let (payload, error) = match opened {
            Ok(payload) => (payload, None),
            Err(error) => (Vec::new(), Some(error)),
        };
        let job = Arc::new(Job {
            id,
            kind: row.kind.into(),
            // The column's CHECK allows no other word.
            lane: row.lane.parse().unwrap_or(Lane::Standard),
            dedupe_key: row.dedupe_key,
            subject: row.subject,
            payload: payload.into(),
            attempts: u32::try_from(row.attempts).unwrap_or(0),
            created_ms: row.created_at_ms,
            trace: row.trace,
        });
        match error {
            None => Loaded::Ready { job, run_at_ms: due_ms(row.run_at_ms, row.created_at_ms) },
            Some(error) => Loaded::Sealed { job, error },
        }
    }
}
