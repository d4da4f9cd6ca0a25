//! How far schedules have come: a row for each, moved on in the transaction that records the jobs of its ticks. When
//! something is due, others know; here it is seen to that every tick is decided on once.

use sqlx::types::Uuid;

use super::{
    IS_OWED, Ledger,
    record::{SealedJob, record},
};
use crate::{
    clock::UnixMs,
    database::{Durability, Note, Reader, Transaction, turn::Urgency},
    id::JobId,
    job::{NewJob, Recorded},
    lanes::{Placement, PlacementQueue},
    on_connection,
    seal::SealError,
};

/// How a schedule stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduleRow {
    /// What it is called.
    pub name: String,
    /// When it is due, as its owner wrote it down.
    pub timing: String,
    /// Every tick until this instant has been decided on.
    pub through_ms: UnixMs,
    /// The first tick behind that.
    pub next_tick_ms: Option<UnixMs>,
    /// The last tick that fired.
    pub last_tick_ms: Option<UnixMs>,
    /// When it fired.
    pub fired_at_ms: Option<UnixMs>,
    /// Its job.
    pub last_job: Option<JobId>,
    /// Whether that is still owed.
    pub last_job_owed: bool,
    /// Ticks that have fired.
    pub fired: u64,
    /// Ticks that were left out.
    pub skipped: u64,
    /// Since when it is paused, if it is.
    pub paused: Option<SchedulePause>,
}

/// A schedule that is held up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchedulePause {
    /// Since when.
    pub since_ms: UnixMs,
    /// Why; may be empty.
    pub reason: String,
}

/// How a schedule is moved on.
#[derive(Debug, Clone, Default)]
pub struct ScheduleStep {
    /// Every tick until this instant is decided on with it.
    pub through_ms: UnixMs,
    /// The first tick behind that.
    pub next_tick_ms: Option<UnixMs>,
    /// The last tick that fires, if one does.
    pub last_tick_ms: Option<UnixMs>,
    /// The jobs of the ticks that fire, at most 256.
    pub jobs: Vec<NewJob>,
    /// Ticks that are left out.
    pub skipped: u64,
}

/// A schedule was moved on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduleMoved {
    /// What became of its jobs, in their order.
    pub recorded: Vec<Recorded>,
    /// Ticks that were left out.
    pub skipped: u64,
}

/// Jobs could not be recorded.
#[derive(Debug, thiserror::Error)]
pub enum FireError {
    /// A payload cannot be sealed.
    #[error("a job cannot be sealed")]
    Seal(#[from] SealError),
    /// The ledger cannot be read or written.
    #[error("the ledger cannot be written")]
    Ledger(#[from] sqlx::Error),
}

const COLUMNS: &str = "name, timing, through_ms, next_tick_ms, last_tick_ms, fired_at_ms, last_job, fired, skipped, \
     paused_at_ms, pause_reason";

#[derive(sqlx::FromRow)]
struct Row {
    name: String,
    timing: String,
    through_ms: i64,
    next_tick_ms: Option<i64>,
    last_tick_ms: Option<i64>,
    fired_at_ms: Option<i64>,
    last_job: Option<Uuid>,
    last_job_owed: bool,
    fired: i64,
    skipped: i64,
    paused_at_ms: Option<i64>,
    pause_reason: Option<String>,
}

impl Ledger {
    /// How all schedules stand that were ever ticked, by name.
    pub async fn schedules(&self) -> Result<Vec<ScheduleRow>, sqlx::Error> {
        Self::schedule_rows(&mut self.database.reader(Urgency::General).await?).await
    }

    /// The same, read with `reader`.
    pub async fn schedule_rows(reader: &mut Reader) -> Result<Vec<ScheduleRow>, sqlx::Error> {
        let sql = select("ORDER BY name");
        let rows: Vec<Row> = on_connection!(reader, |connection| {
            sqlx::query_as(sqlx::AssertSqlSafe(sql)).fetch_all(connection).await
        })?;
        Ok(rows.into_iter().map(schedule_row).collect())
    }

    /// Has a schedule begin behind `through_ms`, unless it is known. With `anew`, also if it is known with another
    /// timing; what that left undecided before then is nobody's any more.
    pub async fn begin_schedule(
        &self,
        name: &str,
        timing: &str,
        (through_ms, next_tick_ms): (UnixMs, Option<UnixMs>),
        anew: bool,
    ) -> Result<(), sqlx::Error> {
        const INSERT: &str = "INSERT INTO schedules (name, timing, through_ms, next_tick_ms) VALUES ($1, $2, $3, $4) \
             ON CONFLICT DO NOTHING";
        const ANEW: &str = "UPDATE schedules SET timing = $2, through_ms = $3, next_tick_ms = $4 \
             WHERE name = $1 AND timing <> $2";
        let now_ms = self.clock.now_ms();
        let mut transaction = self.database.begin(Urgency::General, Durability::Durable, now_ms).await?;
        for sql in [Some(INSERT), anew.then_some(ANEW)].into_iter().flatten() {
            on_connection!(transaction, |connection| {
                let statement = sqlx::query(sql).bind(name).bind(timing).bind(through_ms).bind(next_tick_ms);
                statement.execute(connection).await.map(|_| ())
            })?;
        }
        transaction.commit().await
    }

    /// Moves the schedule `name` on as `decide` says, which is told how it stands. `None` if there is nothing to do, or
    /// if somebody else did it in this very moment.
    pub(crate) async fn move_schedule(
        &self,
        name: &str,
        decide: impl FnOnce(&ScheduleRow) -> Option<ScheduleStep> + Send,
        placements: &PlacementQueue,
    ) -> Result<Option<ScheduleMoved>, FireError> {
        const MOVE: &str = "UPDATE schedules SET through_ms = $3, next_tick_ms = $4, skipped = skipped + $5 \
             WHERE name = $1 AND through_ms = $2 AND paused_at_ms IS NULL";
        const FIRED: &str = "UPDATE schedules SET last_tick_ms = $2, fired_at_ms = $3, last_job = $4, fired = fired + $5 \
             WHERE name = $1";
        let now_ms = self.clock.now_ms();
        let mut transaction = self.database.begin(Urgency::General, Durability::Durable, now_ms).await?;
        let Some(row) = stands(&mut transaction, name).await? else { return Ok(None) };
        let step = if row.paused.is_none() { decide(&row) } else { None };
        let Some(step) = step else { return Ok(None) };
        let moved = on_connection!(transaction, |connection| {
            sqlx::query(MOVE)
                .bind(name)
                .bind(row.through_ms)
                .bind(step.through_ms)
                .bind(step.next_tick_ms)
                .bind(i64::try_from(step.skipped).unwrap_or(i64::MAX))
                .execute(connection)
                .await
                .map(|done| done.rows_affected())
        })?;
        if moved == 0 {
            return Ok(None);
        }
        let sealed = self.seal_all(step.jobs)?;
        let recorded = record(&mut transaction, &sealed.iter().collect::<Vec<_>>()).await?;
        if let (Some(last), Some(last_tick_ms)) = (recorded.last(), step.last_tick_ms) {
            let fresh = recorded.iter().filter(|recorded| !recorded.duplicate).count();
            on_connection!(transaction, |connection| {
                sqlx::query(FIRED)
                    .bind(name)
                    .bind(last_tick_ms)
                    .bind(now_ms)
                    .bind(last.id.0)
                    .bind(fresh as i64)
                    .execute(connection)
                    .await
                    .map(|_| ())
            })?;
        }
        commit(transaction, &sealed, &recorded, placements).await?;
        Ok(Some(ScheduleMoved { recorded, skipped: step.skipped }))
    }

    /// Records `jobs` and, if one of them is new, `note`, in one transaction.
    pub(crate) async fn record_noting(
        &self,
        jobs: Vec<NewJob>,
        note: &dyn Note,
        placements: &PlacementQueue,
    ) -> Result<Vec<Recorded>, FireError> {
        let now_ms = self.clock.now_ms();
        let sealed = self.seal_all(jobs)?;
        let mut transaction = self.database.begin(Urgency::General, Durability::Durable, now_ms).await?;
        let recorded = record(&mut transaction, &sealed.iter().collect::<Vec<_>>()).await?;
        let fresh = recorded.iter().filter(|recorded| !recorded.duplicate).count();
        if fresh > 0 {
            note.write(&mut transaction, fresh as u64).await?;
        }
        commit(transaction, &sealed, &recorded, placements).await?;
        Ok(recorded)
    }

    /// Holds the schedule `name` up, and writes `note`. `false` if there is none, or if it is held up already.
    pub async fn pause_schedule(
        &self,
        name: &str,
        reason: &str,
        note: &dyn Note,
    ) -> Result<bool, sqlx::Error> {
        const SQL: &str = "UPDATE schedules SET paused_at_ms = $2, pause_reason = $3 \
             WHERE name = $1 AND paused_at_ms IS NULL";
        let now_ms = self.clock.now_ms();
        let mut transaction = self.database.begin(Urgency::General, Durability::Durable, now_ms).await?;
        let changed = on_connection!(transaction, |connection| {
            let statement = sqlx::query(SQL).bind(name).bind(now_ms).bind(reason);
            statement.execute(connection).await.map(|done| done.rows_affected())
        })?;
        conclude(transaction, changed, note).await
    }

    /// Lets the schedule `name` go on behind `through_ms`, and writes `note`: what fell into the pause is nobody's.
    /// `false` if it is not held up.
    pub async fn resume_schedule(
        &self,
        name: &str,
        (through_ms, next_tick_ms): (UnixMs, Option<UnixMs>),
        note: &dyn Note,
    ) -> Result<bool, sqlx::Error> {
        const SQL: &str = "UPDATE schedules SET paused_at_ms = NULL, pause_reason = NULL, through_ms = $2, \
             next_tick_ms = $3 WHERE name = $1 AND paused_at_ms IS NOT NULL";
        let now_ms = self.clock.now_ms();
        let mut transaction = self.database.begin(Urgency::General, Durability::Durable, now_ms).await?;
        let changed = on_connection!(transaction, |connection| {
            let statement = sqlx::query(SQL).bind(name).bind(through_ms).bind(next_tick_ms);
            statement.execute(connection).await.map(|done| done.rows_affected())
        })?;
        conclude(transaction, changed, note).await
    }

    fn seal_all(&self, jobs: Vec<NewJob>) -> Result<Vec<SealedJob>, SealError> {
        jobs.into_iter().map(|job| self.seal(job)).collect()
    }
}

/// Reads rows of `which`.
fn select(which: &str) -> String {
    let owed = format!("EXISTS (SELECT 1 FROM jobs WHERE {IS_OWED} AND id = last_job) AS last_job_owed");
    format!("SELECT {COLUMNS}, {owed} FROM schedules {which}")
}

async fn stands(transaction: &mut Transaction, name: &str) -> Result<Option<ScheduleRow>, sqlx::Error> {
    let sql = select("WHERE name = $1");
    let row: Option<Row> = on_connection!(transaction, |connection| {
        sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(name).fetch_optional(connection).await
    })?;
    Ok(row.map(schedule_row))
}

/// Commits, and has what is new placed.
async fn commit(
    mut transaction: Transaction,
    sealed: &[SealedJob],
    recorded: &[Recorded],
    placements: &PlacementQueue,
) -> Result<(), sqlx::Error> {
    let fresh = sealed.iter().zip(recorded).filter(|(_, recorded)| !recorded.duplicate);
    let fresh: Vec<Placement> = fresh.map(|(job, _)| job.placement()).collect();
    if !fresh.is_empty() {
        let placements = placements.clone();
        transaction.when_in_doubt(move || placements.doubt());
    }
    transaction.commit().await?;
    placements.push(fresh);
    Ok(())
}

/// Writes `note` and commits, if something was changed.
async fn conclude(mut transaction: Transaction, changed: u64, note: &dyn Note) -> Result<bool, sqlx::Error> {
    if changed == 0 {
        return Ok(false);
    }
    note.write(&mut transaction, changed).await?;
    transaction.commit().await?;
    Ok(true)
}

fn schedule_row(row: Row) -> ScheduleRow {
    ScheduleRow {
        name: row.name,
        timing: row.timing,
        through_ms: row.through_ms,
        next_tick_ms: row.next_tick_ms,
        last_tick_ms: row.last_tick_ms,
        fired_at_ms: row.fired_at_ms,
        last_job: row.last_job.map(JobId),
        last_job_owed: row.last_job_owed,
        // The columns' CHECKs allow nothing less.
        fired: u64::try_from(row.fired).unwrap_or(0),
        skipped: u64::try_from(row.skipped).unwrap_or(0),
        paused: row
            .paused_at_ms
            .map(|since_ms| SchedulePause { since_ms, reason: row.pause_reason.unwrap_or_default() }),
    }
}
