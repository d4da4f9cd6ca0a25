//! Several reads of one moment.

use sqlx::{Connection as _, Postgres, Sqlite};

use super::{Connection, Reader, bounded};

/// A reader's view of the database as it was at the first read. It ends when dropped.
#[derive(Debug)]
pub enum Snapshot<'r> {
    /// Of the embedded database.
    Sqlite(sqlx::Transaction<'r, Sqlite>),
    /// Of a PostgreSQL server.
    Postgres(sqlx::Transaction<'r, Postgres>),
}

impl Reader {
    /// Begins a view of one moment.
    pub async fn snapshot(&mut self) -> Result<Snapshot<'_>, sqlx::Error> {
        const POSTGRES: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
        match self {
            Reader::Sqlite(connection) => bounded(connection.begin()).await.map(Snapshot::Sqlite),
            Reader::Postgres(connection) => {
                bounded(connection.begin_with(POSTGRES)).await.map(Snapshot::Postgres)
            }
        }
    }
}

impl Snapshot<'_> {
    /// The connection, for [`on_connection!`](crate::on_connection).
    pub fn connection(&mut self) -> Connection<'_> {
        match self {
            Snapshot::Sqlite(transaction) => Connection::Sqlite(transaction),
            Snapshot::Postgres(transaction) => Connection::Postgres(transaction),
        }
    }
}
