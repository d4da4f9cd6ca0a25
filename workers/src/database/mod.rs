//! The database under the ledger and under the app's own tables: SQLite (embedded) or PostgreSQL, one code for both.
//!
//! Statements are written once, with `$1` placeholders and in the common dialect, and run on whichever connection is
//! there by [`on_connection!`](crate::on_connection).

mod beside;
mod bound;
mod breaks;
mod checkpoint;
mod connect;
mod copy;
mod life;
mod log_sync;
mod migrate;
mod opening;
mod pieces;
mod snapshot;
mod together;
mod transaction;
mod trouble;
pub mod turn;

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use sqlx::{PgConnection, PgPool, Postgres, Sqlite, SqliteConnection, SqlitePool, pool::PoolConnection};

pub(crate) use bound::within;
pub use bound::{STATEMENT_TIMEOUT_MS, bounded};
pub use connect::{ConnectError, DatabaseOptions};
pub use copy::{CopyError, SqliteCopy, copy_sqlite, sqlite_file, sqlite_is_alone};
pub use life::ServerLife;
pub use migrate::{Dialect, MigrateError, MigrationFile};
pub use opening::Unopened;
pub use pieces::pieces;
pub use snapshot::Snapshot;
pub use together::Together;
pub(crate) use transaction::Committed;
pub use transaction::{AfterCommit, Durability, Note, Transaction};
pub(crate) use transaction::{FOLLOW_UP_BYTES_MAX, FOLLOW_UPS_MAX};
pub use trouble::Trouble;

use crate::seal::KeyRing;
use beside::Beside;
use breaks::Breaks;
use log_sync::LogSync;
use turn::WriteTurns;

/// A connection of either kind.
#[derive(Debug)]
pub enum Connection<'c> {
    /// To the embedded database.
    Sqlite(&'c mut SqliteConnection),
    /// To a PostgreSQL server.
    Postgres(&'c mut PgConnection),
}

impl Connection<'_> {
    /// The same connection, for [`on_connection!`](crate::on_connection).
    pub fn connection(&mut self) -> Connection<'_> {
        match self {
            Connection::Sqlite(connection) => Connection::Sqlite(connection),
            Connection::Postgres(connection) => Connection::Postgres(connection),
        }
    }
}

/// Runs the same statement on a connection of either kind, for at most
/// [`STATEMENT_TIMEOUT_MS`](crate::database::STATEMENT_TIMEOUT_MS).
///
/// `$from` is anything with a `connection()` method that gives a [`Connection`](crate::database::Connection).
///
/// ```ignore
/// let found: Option<(String,)> = on_connection!(reader, |connection| {
///     sqlx::query_as("SELECT name FROM pets WHERE id = $1").bind(7).fetch_optional(connection).await
/// })?;
/// ```
#[macro_export]
macro_rules! on_connection {
    ($from:expr, |$connection:ident| $body:expr) => {
        match $from.connection() {
            $crate::database::Connection::Sqlite($connection) => {
                $crate::database::bounded(Box::pin(async { $body })).await
            }
            $crate::database::Connection::Postgres($connection) => {
                $crate::database::bounded(Box::pin(async { $body })).await
            }
        }
    };
}

/// Transactions that settle crises at once on PostgreSQL, so that none waits for one that waits for a lock.
const CRISIS_SETTLERS: u32 = 3;

/// The most that settle everything else; the other half of the connections is for recording and reading.
const GENERAL_SETTLERS_MAX: u32 = 4;

/// The pools of one database. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Database {
    /// Empty as long as it is not open.
    pools: Arc<OnceLock<Pools>>,
    dialect: Dialect,
    /// Connections for general work, at most.
    connections_max: u32,
    turns: WriteTurns,
    /// How long a writer waits for its turn.
    turns_timeout: Duration,
    breaks: Breaks,
    beside: Beside,
    keys: Option<KeyRing>,
}

#[derive(Debug, Clone)]
enum Pools {
    Sqlite {
        /// `synchronous=FULL`: what was committed survives a power cut.
        durable: SqlitePool,
        /// `synchronous=NORMAL`: redoing what a power cut takes is harmless.
        relaxed: SqlitePool,
        /// Folds the write-ahead log back; never waits long for anybody.
        checkpointer: SqlitePool,
        /// Gets the write-ahead log onto the disk for what was committed with `NORMAL`.
        log: LogSync,
        /// Cannot write.
        readers: SqlitePool,
        /// Cannot write either, and only crisis work may take them.
        crisis_readers: SqlitePool,
    },
    Postgres {
        general: PgPool,
        /// Connections that only crisis work may take.
        crisis: PgPool,
    },
}

/// A connection for reading, given back when dropped.
#[derive(Debug)]
pub enum Reader {
    /// From the embedded database.
    Sqlite(PoolConnection<Sqlite>),
    /// From a PostgreSQL server.
    Postgres(PoolConnection<Postgres>),
}

impl Reader {
    /// The connection, for [`on_connection!`](crate::on_connection).
    pub fn connection(&mut self) -> Connection<'_> {
        match self {
            Reader::Sqlite(connection) => Connection::Sqlite(connection),
            Reader::Postgres(connection) => Connection::Postgres(connection),
        }
    }
}

impl Database {
    /// The same database, its transactions knowing the `keys` that seal what is written in them.
    #[must_use]
    pub fn sealing_with(self, keys: KeyRing) -> Self {
        Self { keys: Some(keys), ..self }
    }

    /// A connection for reading. Waits at most the pool's acquire time-out (see [`DatabaseOptions`]).
    pub async fn reader(&self, urgency: turn::Urgency) -> Result<Reader, sqlx::Error> {
        match self.pools()? {
            Pools::Sqlite { readers, crisis_readers, .. } => {
                let pool = if urgency == turn::Urgency::Crisis { crisis_readers } else { readers };
                pool.acquire().await.map(Reader::Sqlite)
            }
            Pools::Postgres { general, crisis } => {
                let pool = if urgency == turn::Urgency::Crisis { crisis } else { general };
                pool.acquire().await.map(Reader::Postgres)
            }
        }
    }

    /// How many transactions that settle runs are worth having open at once.
    pub(crate) fn writers(&self, urgency: turn::Urgency) -> u32 {
        match self.dialect {
            Dialect::Sqlite => 1,
            Dialect::Postgres if urgency == turn::Urgency::Crisis => CRISIS_SETTLERS,
            Dialect::Postgres => (self.connections_max / 2).clamp(1, GENERAL_SETTLERS_MAX),
        }
    }

    /// Which SQL it speaks.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Whether `error` says that a connection to a server has ended: the same may work on the next one, which is asked
    /// for a sign of life first.
    pub(crate) fn is_break(&self, error: &sqlx::Error) -> bool {
        self.dialect == Dialect::Postgres && self.breaks.is_break(error)
    }

    /// How many connections to a server have ended without our doing.
    pub(crate) fn breaks(&self) -> u64 {
        self.breaks.count()
    }

    /// Waits until every connection is closed; SQLite then folds its write-ahead log back into the database file.
    pub async fn close(&self) {
        match self.pools.get() {
            None => {}
            Some(Pools::Sqlite { durable, relaxed, checkpointer, readers, crisis_readers, log: _ }) => {
                crisis_readers.close().await;
                readers.close().await;
                checkpointer.close().await;
                relaxed.close().await;
                durable.close().await;
            }
            Some(Pools::Postgres { general, crisis }) => {
                crisis.close().await;
                general.close().await;
            }
        }
    }
}
