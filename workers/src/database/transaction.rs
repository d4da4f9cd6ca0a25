//! A transaction of either kind of database, with what should happen around its commit.

use std::fmt;

use sqlx::{Postgres, Sqlite};

use super::{
    Connection, Database, Pools,
    turn::{Urgency, WriteTurn},
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

/// Something to do once the transaction has committed, and only then; it must be quick and must not fail.
pub type AfterCommit = Box<dyn FnOnce() + Send>;

/// An open transaction. Dropped without [`Transaction::commit`], it is rolled back.
pub struct Transaction {
    inner: Inner,
    follow_ups: Vec<NewJob>,
    after_commit: Vec<AfterCommit>,
    now_ms: UnixMs,
    // Declared last: the next writer's turn comes after the transaction itself is gone.
    _turn: Option<WriteTurn>,
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
        Ok(Transaction { inner, follow_ups: Vec::new(), after_commit: Vec::new(), now_ms, _turn: turn })
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
    pub fn enqueue(&mut self, job: NewJob) {
        self.follow_ups.push(job);
    }

    /// Runs `action` once the transaction has committed.
    pub fn after_commit(&mut self, action: impl FnOnce() + Send + 'static) {
        self.after_commit.push(Box::new(action));
    }

    /// The jobs handed to [`Transaction::enqueue`] so far, taken out for recording.
    pub fn take_follow_ups(&mut self) -> Vec<NewJob> {
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
