//! A transaction of either kind of database, with what should happen around its commit.

use std::{fmt, io, sync::Arc, time::Duration};

use async_trait::async_trait;
use sqlx::{Postgres, Sqlite};
use tokio::time::timeout;

use super::{
    Connection, Database, Pools,
    beside::Beside,
    bounded,
    log_sync::LogSync,
    together::Pending,
    turn::{Urgency, WriteTurn, WriteTurns},
};
use crate::{
    clock::UnixMs,
    job::{Job, NewJob},
    seal::KeyRing,
};

/// What a commit promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// On disk before the commit returns.
    Durable,
    /// Of many writers that each commit a little: the next one has its turn once [`Transaction::commit_step`] returns,
    /// and it is on disk once [`Committed::on_disk`] does.
    InTwoSteps,
    /// A power cut may take it; for effects that would simply be applied again.
    Relaxed,
}

/// Follow-up jobs that one run may ask for. They are written in its own transaction, and a crisis writer waits for as
/// long: about 13 ms for this many. A job with more to ask for asks for one that asks for the rest.
pub(crate) const FOLLOW_UPS_MAX: usize = 256;

/// Bytes of payload of the follow-up jobs that one run may ask for: about 10 ms of writing.
pub(crate) const FOLLOW_UP_BYTES_MAX: usize = NewJob::PAYLOAD_BYTES_MAX;

/// Something to do once the transaction has committed, and only then; it must be quick and must not fail.
pub type AfterCommit = Box<dyn FnOnce() + Send>;

/// What is written together with an effect, in its transaction: that it happened, and why.
#[async_trait]
pub trait Note: Send + Sync {
    /// Writes it. `changed` is how many jobs the effect changed; never 0.
    async fn write(&self, transaction: &mut Transaction, changed: u64) -> Result<(), sqlx::Error>;
}

/// An open transaction. Dropped without [`Transaction::commit`], it is rolled back.
pub struct Transaction {
    inner: Inner,
    /// What is written before the commit.
    pub(super) pending: Pending,
    follow_ups: Vec<NewJob>,
    /// What the present run may still ask for, in jobs and in bytes of payload; `None` once it asked for more.
    allowance: Option<(usize, usize)>,
    after_commit: Vec<AfterCommit>,
    when_in_doubt: Vec<AfterCommit>,
    now_ms: UnixMs,
    keys: Option<KeyRing>,
    /// What is kept beside its database.
    pub(super) beside: Beside,
    job: Option<Arc<Job>>,
    /// What has to reach the disk after the commit.
    log: Option<LogSync>,
    // Declared last: the next writer's turn comes after the transaction itself is gone.
    turn: Option<WriteTurn>,
}

enum Inner {
    Sqlite(sqlx::Transaction<'static, Sqlite>),
    Postgres(sqlx::Transaction<'static, Postgres>),
}

impl Database {
    /// Opens a transaction that may write; on SQLite, in turn with the process's other writers.
    pub async fn begin(
        &self,
        urgency: Urgency,
        durability: Durability,
        now_ms: UnixMs,
    ) -> Result<Transaction, sqlx::Error> {
        let mut after = None;
        let (inner, turn) = match self.pools()? {
            Pools::Sqlite { durable, relaxed, log, .. } => {
                let turn = timeout(self.turns_timeout, self.turns.take(urgency)).await;
                let turn = turn.map_err(|_| no_turn(self.turns_timeout))?;
                let pool = if durability == Durability::Durable { durable } else { relaxed };
                after = (durability == Durability::InTwoSteps).then(|| log.clone());
                (Inner::Sqlite(bounded(Box::pin(pool.begin_with("BEGIN IMMEDIATE"))).await?), Some(turn))
            }
            Pools::Postgres { general, crisis } => {
                let pool = if urgency == Urgency::Crisis { crisis } else { general };
                // In one round trip.
                let statement = match durability {
                    Durability::Relaxed => "BEGIN; SET LOCAL synchronous_commit = off",
                    Durability::Durable | Durability::InTwoSteps => "BEGIN",
                };
                (Inner::Postgres(bounded(Box::pin(self.breaks.begin(pool, statement))).await?), None)
            }
        };
        Ok(Transaction {
            inner,
            pending: Pending::default(),
            follow_ups: Vec::new(),
            allowance: Some((FOLLOW_UPS_MAX, FOLLOW_UP_BYTES_MAX)),
            after_commit: Vec::new(),
            when_in_doubt: Vec::new(),
            now_ms,
            keys: self.keys.clone(),
            beside: self.beside.clone(),
            job: None,
            log: after,
            turn,
        })
    }
}

/// Whoever reads it looks for what keeps the other writers busy, and not for a database that is away.
fn no_turn(waited: Duration) -> sqlx::Error {
    let text =
        format!("no turn to write came within {} ms, with crises before all others", waited.as_millis());
    sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, text))
}

impl Transaction {
    /// The connection, for [`on_connection!`](crate::on_connection).
    pub fn connection(&mut self) -> Connection<'_> {
        match &mut self.inner {
            Inner::Sqlite(transaction) => Connection::Sqlite(transaction),
            Inner::Postgres(transaction) => Connection::Postgres(transaction),
        }
    }

    /// The instant that everything in this transaction counts as now.
    pub fn now_ms(&self) -> UnixMs {
        self.now_ms
    }

    /// What seals what is written here; `None` unless the database was given keys.
    pub fn keys(&self) -> Option<&KeyRing> {
        self.keys.as_ref()
    }

    /// From here on the effects are those of `job`.
    pub fn work_for(&mut self, job: Arc<Job>) {
        self.job = Some(job);
    }

    /// The job whose effects are being applied; `None` where nobody's are.
    pub fn job(&self) -> Option<&Arc<Job>> {
        self.job.as_ref()
    }

    /// Has `job` recorded in this same transaction; it is put in its lane after the commit.
    ///
    /// One run may ask for 256 jobs with 4 MiB of payload in all. A run that asks for more is given up (`dead`), and
    /// nothing of it is kept: whoever has more to ask for asks for a job that asks for the rest.
    ///
    /// What says under which trace it was asked for keeps it; all else belongs to the trace of the job that asks.
    pub fn enqueue(&mut self, mut job: NewJob) {
        self.allowance = self
            .allowance
            .and_then(|(jobs, bytes)| Some((jobs.checked_sub(1)?, bytes.checked_sub(job.payload.len())?)));
        if self.allowance.is_some() {
            job.trace = job.trace.or_else(|| self.job.as_ref()?.trace.clone());
            self.follow_ups.push(job);
        }
    }

    /// From here on another run asks.
    pub(crate) fn begin_run(&mut self) {
        self.allowance = Some((FOLLOW_UPS_MAX, FOLLOW_UP_BYTES_MAX));
    }

    /// Whether the present run asked for more follow-up jobs than it may.
    pub(crate) fn asked_too_much(&self) -> bool {
        self.allowance.is_none()
    }

    /// How many follow-up jobs all runs so far have asked for.
    pub(crate) fn follow_ups(&self) -> usize {
        self.follow_ups.len()
    }

    /// The writers that wait behind this one, where writers take turns.
    pub(crate) fn write_turns(&self) -> Option<WriteTurns> {
        self.turn.as_ref().and_then(WriteTurn::turns)
    }

    /// Runs `action` once the transaction has committed.
    pub fn after_commit(&mut self, action: impl FnOnce() + Send + 'static) {
        self.after_commit.push(Box::new(action));
    }

    /// Runs `action` if the commit was asked for and nobody can say whether it came to pass: the database fell silent,
    /// or whoever waited has given up.
    pub fn when_in_doubt(&mut self, action: impl FnOnce() + Send + 'static) {
        self.when_in_doubt.push(Box::new(action));
    }

    /// The jobs handed to [`Transaction::enqueue`] so far, taken out for recording.
    pub fn take_follow_ups(&mut self) -> Vec<NewJob> {
        std::mem::take(&mut self.follow_ups)
    }

    /// Writes what was gathered ([`Transaction::together`]), makes everything permanent, then runs the
    /// [`Transaction::after_commit`] actions. After an error, or if this is dropped before it has answered, the
    /// transaction may have committed all the same, and the [`Transaction::when_in_doubt`] actions are run.
    ///
    /// Jobs handed to [`Transaction::enqueue`] must have been recorded (the engine's settling does).
    pub async fn commit(self) -> Result<(), sqlx::Error> {
        self.commit_step().await?.on_disk().await
    }

    /// The first step of [`Transaction::commit`]: everybody sees it now, and the next writer has its turn. Nothing may
    /// be said about it to anybody before [`Committed::on_disk`] has returned.
    pub(crate) async fn commit_step(mut self) -> Result<Committed, sqlx::Error> {
        debug_assert!(self.follow_ups.is_empty(), "follow-up jobs would be lost");
        // While this fails nothing was committed, so nothing is in doubt.
        self.write_together().await?;
        // First, so that it goes last however this ends.
        let turn = self.turn;
        let mut doubt = Doubt(self.when_in_doubt);
        match self.inner {
            Inner::Sqlite(transaction) => bounded(transaction.commit()).await?,
            Inner::Postgres(transaction) => bounded(transaction.commit()).await?,
        }
        let mut after_commit = self.after_commit;
        if self.log.is_none() {
            doubt.0.clear();
            // Before the next writer: what it does after its commit is to come later.
            for action in after_commit.drain(..) {
                action();
            }
        }
        drop(turn);
        Ok(Committed { log: self.log, doubt, after_commit })
    }

    /// Undoes everything.
    pub async fn rollback(self) -> Result<(), sqlx::Error> {
        match self.inner {
            Inner::Sqlite(transaction) => bounded(transaction.rollback()).await,
            Inner::Postgres(transaction) => bounded(transaction.rollback()).await,
        }
    }
}

/// A transaction that has committed and may not be on disk yet. Dropped before it is, it is in doubt.
#[must_use = "a power cut may take it until it is on disk"]
pub(crate) struct Committed {
    log: Option<LogSync>,
    doubt: Doubt,
    after_commit: Vec<AfterCommit>,
}

impl Committed {
    /// What one statement by itself may have written, or not: `action` is done unless its answer is waited for.
    pub(crate) fn in_doubt(action: AfterCommit) -> Self {
        Self { log: None, doubt: Doubt(vec![action]), after_commit: Vec::new() }
    }

    /// It has been undone after all, and nothing is in doubt.
    pub(crate) fn undone(mut self) {
        self.doubt.0.clear();
    }

    /// Waits until it is on disk, then runs the actions that wait for that.
    pub(crate) async fn on_disk(mut self) -> Result<(), sqlx::Error> {
        if let Some(log) = &self.log {
            bounded(log.sync()).await?;
        }
        self.doubt.0.clear();
        for action in self.after_commit {
            action();
        }
        Ok(())
    }
}

/// Runs its actions when dropped.
struct Doubt(Vec<AfterCommit>);

impl Drop for Doubt {
    fn drop(&mut self) {
        for action in self.0.drain(..) {
            action();
        }
    }
}

impl fmt::Debug for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transaction").field("now_ms", &self.now_ms).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    };

    use sqlx::Executor as _;

    use super::{
        super::{DatabaseOptions, Trouble},
        *,
    };

    #[tokio::test]
    async fn a_writer_whose_turn_does_not_come_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("busy.db").display());
        let options = DatabaseOptions { acquire_timeout_ms: 500, ..DatabaseOptions::default() };
        let database = Database::connect(&url, &options).await.unwrap();
        let _open = database.begin(Urgency::General, Durability::Relaxed, 0).await.unwrap();
        let error = database.begin(Urgency::General, Durability::Relaxed, 0).await.unwrap_err();
        assert!(error.to_string().contains("no turn to write came within 500 ms"), "{error}");
        assert_eq!(Trouble::of(&error), Some(Trouble::Away));
    }

    #[tokio::test]
    async fn a_commit_that_fails_is_in_doubt_and_one_that_succeeds_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("doubt.db").display());
        let database = Database::connect(&url, &DatabaseOptions::default()).await.unwrap();
        for fails in [false, true] {
            let (doubtful, committed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
            let mut transaction = database.begin(Urgency::General, Durability::Durable, 0).await.unwrap();
            let (doubt, commit) = (Arc::clone(&doubtful), Arc::clone(&committed));
            transaction.when_in_doubt(move || doubt.store(true, Ordering::SeqCst));
            transaction.after_commit(move || commit.store(true, Ordering::SeqCst));
            if fails {
                let Connection::Sqlite(connection) = transaction.connection() else { panic!("it is SQLite") };
                connection.execute("ROLLBACK").await.unwrap();
            }
            assert_eq!(transaction.commit().await.is_err(), fails);
            assert_eq!(doubtful.load(Ordering::SeqCst), fails);
            assert_eq!(committed.load(Ordering::SeqCst), !fails);
        }
        database.close().await;
    }
}
