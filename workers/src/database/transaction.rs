//! A transaction of either kind of database, with what should happen around its commit.

use std::fmt;

use sqlx::{Postgres, Sqlite};

use super::{
    Connection, Database, Pools,
    turn::{Urgency, WriteTurn, WriteTurns},
};
use crate::{clock::UnixMs, job::NewJob};

/// What a commit promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// On disk before the commit returns.
    Durable,
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

/// An open transaction. Dropped without [`Transaction::commit`], it is rolled back.
pub struct Transaction {
    inner: Inner,
    follow_ups: Vec<NewJob>,
    /// What the present run may still ask for, in jobs and in bytes of payload; `None` once it asked for more.
    allowance: Option<(usize, usize)>,
    after_commit: Vec<AfterCommit>,
    now_ms: UnixMs,
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
        let (inner, turn) = match &self.pools {
            Pools::Sqlite { durable, relaxed, .. } => {
                let turn = self.turns.take(urgency).await;
                let pool = if durability == Durability::Durable { durable } else { relaxed };
                (Inner::Sqlite(pool.begin_with("BEGIN IMMEDIATE").await?), Some(turn))
            }
            Pools::Postgres { general, crisis } => {
                let pool = if urgency == Urgency::Crisis { crisis } else { general };
                let mut transaction = pool.begin().await?;
                if durability == Durability::Relaxed {
                    sqlx::query("SET LOCAL synchronous_commit = off").execute(&mut *transaction).await?;
                }
                (Inner::Postgres(transaction), None)
            }
        };
        Ok(Transaction {
            inner,
            follow_ups: Vec::new(),
            allowance: Some((FOLLOW_UPS_MAX, FOLLOW_UP_BYTES_MAX)),
            after_commit: Vec::new(),
            now_ms,
            turn,
        })
    }
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

    /// Has `job` recorded in this same transaction; it is put in its lane after the commit.
    ///
    /// One run may ask for 256 jobs with 4 MiB of payload in all. A run that asks for more is given up (`dead`), and
    /// nothing of it is kept: whoever has more to ask for asks for a job that asks for the rest.
    pub fn enqueue(&mut self, job: NewJob) {
        self.allowance = self
            .allowance
            .and_then(|(jobs, bytes)| Some((jobs.checked_sub(1)?, bytes.checked_sub(job.payload.len())?)));
        if self.allowance.is_some() {
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

    /// The jobs handed to [`Transaction::enqueue`] so far, taken out for recording.
    pub(crate) fn take_follow_ups(&mut self) -> Vec<NewJob> {
        std::mem::take(&mut self.follow_ups)
    }

    /// Makes everything permanent, then runs the [`Transaction::after_commit`] actions.
    ///
    /// Jobs handed to [`Transaction::enqueue`] must have been recorded (the engine's settling does).
    pub async fn commit(self) -> Result<(), sqlx::Error> {
        debug_assert!(self.follow_ups.is_empty(), "follow-up jobs would be lost");
        match self.inner {
            Inner::Sqlite(transaction) => transaction.commit().await?,
            Inner::Postgres(transaction) => transaction.commit().await?,
        }
        for action in self.after_commit {
            action();
        }
        Ok(())
    }

    /// Undoes everything.
    pub async fn rollback(self) -> Result<(), sqlx::Error> {
        match self.inner {
            Inner::Sqlite(transaction) => transaction.rollback().await,
            Inner::Postgres(transaction) => transaction.rollback().await,
        }
    }
}

impl fmt::Debug for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transaction").field("now_ms", &self.now_ms).finish_non_exhaustive()
    }
}
