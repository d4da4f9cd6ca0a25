//! Opening a database.

use std::{io, str::FromStr, time::Duration};

use sqlx::{
    Connection as _, Executor, PgConnection, SqliteConnection,
    postgres::{PgConnectOptions, PgPoolOptions},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use super::{
    Database, Pools, Trouble, Unopened, bound::within, breaks::Breaks, log_sync::LogSync, turn::WriteTurns,
};

/// How many connections a database may have, and how long to wait for one.
#[derive(Debug, Clone)]
pub struct DatabaseOptions {
    /// Connections for general work (PostgreSQL) or for reading (SQLite).
    pub connections_max: u32,
    /// How long to wait for a connection or for the right to write, in milliseconds.
    pub acquire_timeout_ms: u64,
}

impl Default for DatabaseOptions {
    fn default() -> Self {
        Self { connections_max: 8, acquire_timeout_ms: 5_000 }
    }
}

/// A database could not be opened. The address is not repeated: it may hold a password.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Neither `sqlite:` nor `postgres:`.
    #[error("a database address starts with `sqlite:` or `postgres:`; this one does not")]
    UnknownScheme,
    /// It leads to something else than a database, or to a damaged one. Nothing was changed.
    #[error(
        "what is there is no database, or a damaged one; check the address, or put the file aside and a backup in \
         its place"
    )]
    Damaged(#[source] sqlx::Error),
    /// The database refused.
    #[error("the database cannot be opened")]
    Database(#[source] sqlx::Error),
}

impl ConnectError {
    /// Whether the same may well work later, without anybody putting right what is configured or what is there.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Database(error) if Trouble::passes(error))
    }
}

impl From<sqlx::Error> for ConnectError {
    fn from(error: sqlx::Error) -> Self {
        match Trouble::of(&error) {
            Some(Trouble::Damaged) => Self::Damaged(error),
            _ => Self::Database(error),
        }
    }
}

/// Connections that crisis work keeps for itself on PostgreSQL: one to record, one to read, and these to settle.
const CRISIS_CONNECTIONS: u32 = 2 + super::CRISIS_SETTLERS;

/// SQLite connections for reading that crisis work keeps for itself.
const CRISIS_READERS: u32 = 2;

/// Rows that SQLite's thread reads ahead: as many as a claim can bring.
const ROWS_READ_AHEAD: usize = 512;

/// SQLite connections whose commits wait for the disk: operators, upkeep.
const DURABLE_WRITERS: u32 = 2;

/// SQLite connections whose commits do not: the door's committer and the crisis one, which wait for the disk after the
/// commit, and the general settler and the crisis one, for whose effects nobody has to.
const RELAXED_WRITERS: u32 = 4;

/// How long a writer waits for SQLite's lock while another process holds it, in milliseconds. Writers of this process
/// do not wait for each other there (see `turn.rs`).
const LOCK_TIMEOUT_MS: u64 = 2_000;

/// What every session of ours tells PostgreSQL: what to do with it should we be stopped in the middle of something, or
/// vanish without a goodbye. Nothing of ours holds rows for longer than this. Whoever stands still in the middle of a
/// transaction loses it in half a lease, so that whoever takes the lease finds no row locked.
const SESSION: &str = "SET statement_timeout = '10s'; SET lock_timeout = '4s'; \
     SET idle_in_transaction_session_timeout = '5s'; SET tcp_user_timeout = '10s'; \
     SET tcp_keepalives_idle = '10s'; SET tcp_keepalives_interval = '3s'; SET tcp_keepalives_count = 3";

impl Database {
    /// Opens the database at `url` (`sqlite:/path/to/file`, created if missing, or `postgres://…`).
    pub async fn connect(url: &str, options: &DatabaseOptions) -> Result<Self, ConnectError> {
        Unopened::at(url, options)?.open().await
    }
}

pub(super) async fn connect_sqlite(
    url: &str,
    options: &DatabaseOptions,
    turns: &WriteTurns,
) -> Result<Pools, ConnectError> {
    let timeout = Duration::from_millis(options.acquire_timeout_ms);
    let base = SqliteConnectOptions::from_str(url)?
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .busy_timeout(timeout.min(Duration::from_millis(LOCK_TIMEOUT_MS)))
        .foreign_keys(true)
        // 16 MiB of page cache for each connection.
        .pragma("cache_size", "-16384")
        .pragma("temp_store", "memory")
        // Nobody's commit pays for folding the log back; see `checkpoint.rs`.
        .pragma("wal_autocheckpoint", "0")
        .statement_cache_capacity(256)
        .row_buffer_size(ROWS_READ_AHEAD);
    let pool = |connections| {
        SqlitePoolOptions::new()
            .max_connections(connections)
            // All of them at once: opening one takes a while, and the first crisis must not pay for it.
            .min_connections(connections)
            .acquire_timeout(timeout)
            .test_before_acquire(false)
            .before_acquire(|connection, _| Box::pin(is_between_transactions(connection)))
            .idle_timeout(None)
            .max_lifetime(None)
    };
    // One connection makes a new file a write-ahead one before all others come; SQLite lets nobody wait for that
    // step. It stays open until they are there, because the last one to leave would undo it.
    let first = SqliteConnection::connect_with(&base).await?;
    let durable =
        pool(DURABLE_WRITERS).connect_with(base.clone().synchronous(SqliteSynchronous::Full)).await?;
    let relaxed =
        pool(RELAXED_WRITERS).connect_with(base.clone().synchronous(SqliteSynchronous::Normal)).await?;
    // Impatient only once it is open: opening waits for whoever else is opening the same file.
    let checkpointer = pool(1)
        .after_connect(|connection, _| {
            Box::pin(async move {
                let statement = format!("PRAGMA busy_timeout = {}", super::checkpoint::PATIENCE_MS);
                connection.execute(sqlx::AssertSqlSafe(statement)).await?;
                Ok(())
            })
        })
        .connect_with(base.clone())
        .await?;
    let log = LogSync::of(base.get_filename(), checkpointer.clone(), turns.clone());
    let reading = base.pragma("query_only", "on");
    let readers = pool(options.connections_max).connect_with(reading.clone()).await?;
    let crisis_readers = pool(CRISIS_READERS).connect_with(reading).await?;
    first.close().await?;
    Ok(Pools::Sqlite { durable, relaxed, checkpointer, log, readers, crisis_readers })
}

/// Whether a connection can begin a transaction. A disk that is full, or fails, has SQLite undo a transaction by
/// itself; undoing it once more then fails, and sqlx would count the connection as inside that transaction for ever.
/// Such a connection is closed, and another one opened in its place.
async fn is_between_transactions(connection: &mut SqliteConnection) -> sqlx::Result<bool> {
    if connection.is_in_transaction() {
        // It may only be on its way out: what was dropped without a commit is undone before this is answered.
        connection.ping().await?;
    }
    Ok(!connection.is_in_transaction())
}

pub(super) async fn connect_postgres(
    url: &str,
    options: &DatabaseOptions,
    breaks: &Breaks,
) -> Result<Pools, sqlx::Error> {
    let connect = PgConnectOptions::from_str(url)?.application_name("keepwell");
    within(Duration::from_millis(options.acquire_timeout_ms), knock(&connect)).await?;
    let pool = |connections: u32| {
        let pool = PgPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(Duration::from_millis(options.acquire_timeout_ms))
            .after_connect(|connection, _| {
                Box::pin(async move { connection.execute(SESSION).await.map(|_| ()) })
            });
        breaks.watch(pool)
    };
    let general = pool(options.connections_max).connect_with(connect.clone()).await?;
    let crisis = pool(CRISIS_CONNECTIONS).min_connections(CRISIS_CONNECTIONS).connect_with(connect).await?;
    Ok(Pools::Postgres { general, crisis })
}

/// Opens one connection and closes it. It says at once what is wrong, where a pool tries again and then says only that
/// it has waited.
async fn knock(connect: &PgConnectOptions) -> Result<(), sqlx::Error> {
    let is_on_socket = connect.get_socket().is_some() || connect.get_host().starts_with('/');
    match PgConnection::connect_with(connect).await {
        Ok(connection) => connection.close().await,
        // The socket of a server that is away is not there. Any other file that is missing was named by mistake.
        Err(sqlx::Error::Io(error)) if error.kind() == io::ErrorKind::NotFound && !is_on_socket => {
            Err(sqlx::Error::Configuration(error.into()))
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Durability, turn::Urgency},
        *,
    };
    use crate::on_connection;

    #[tokio::test]
    async fn a_transaction_that_sqlite_undid_by_itself_leaves_a_database_that_can_be_written() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("full.db").display());
        let database = Database::connect(&url, &DatabaseOptions::default()).await.unwrap();
        // As many times as there are connections that could be spoilt.
        for _ in 0..=DURABLE_WRITERS {
            let mut transaction = database.begin(Urgency::General, Durability::Durable, 0).await.unwrap();
            let undone = on_connection!(transaction, |connection| {
                connection
                .execute("CREATE TABLE once (a UNIQUE); INSERT INTO once VALUES (1); INSERT OR ROLLBACK INTO once VALUES (1)")
                .await
                .map(|_| ())
            });
            assert!(undone.is_err());
        }
        let transaction = database.begin(Urgency::General, Durability::Durable, 0).await.unwrap();
        transaction.commit().await.unwrap();
        database.close().await;
    }

    #[tokio::test]
    async fn a_new_file_is_opened_by_all_its_connections_at_once() {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..30 {
            let url = format!("sqlite:{}", folder.path().join(format!("{number}.db")).display());
            Database::connect(&url, &DatabaseOptions::default()).await.unwrap().close().await;
        }
    }
}
