//! Which life of its server a database is in.

use super::{Database, Dialect, turn::Urgency};
use crate::on_connection;

impl Database {
    /// What tells the database's present life from every other one. A server that died may have lost its last relaxed
    /// commits. SQLite lives and dies with this process.
    pub async fn life(&self) -> Result<String, sqlx::Error> {
        const SQLITE: &str = "SELECT ''";
        const POSTGRES: &str = "SELECT CAST(pg_postmaster_start_time() AS TEXT)";
        let sql = match self.dialect() {
            Dialect::Sqlite => SQLITE,
            Dialect::Postgres => POSTGRES,
        };
        let mut reader = self.reader(Urgency::General).await?;
        let (server,): (String,) =
            on_connection!(reader, |connection| sqlx::query_as(sql).fetch_one(connection).await)?;
        // A server that restarts only its sessions keeps its start time, and breaks every connection.
        Ok(format!("{server} {}", self.breaks()))
    }
}
