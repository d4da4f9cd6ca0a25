//! Which life of its server a database is in.

use std::collections::BTreeSet;

use super::{Connection, Database, Dialect, bounded, turn::Urgency};
use crate::on_connection;

/// When PostgreSQL's server was started. Where a name is not said to be the server's own, a session's search path
/// decides whose it is.
const STARTED: &str = "SELECT CAST(pg_catalog.pg_postmaster_start_time() AS pg_catalog.text)";

/// What PostgreSQL answers to who may not do something.
const FORBIDDEN: &str = "42501";

/// One life of a database's server: what it committed in it and said so it has not lost while that lasts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerLife {
    started: String,
    /// The processes that serve nobody in particular: who flushes, who makes checkpoints. When one of the server's
    /// processes dies, it ends all of them and begins anew from what is on disk, and its start time stays what it was.
    helpers: BTreeSet<i32>,
    breaks: u64,
}

impl ServerLife {
    /// The life of a server that was started at `started`, has these `helpers` now, and has broken so many connections.
    pub fn new(started: impl Into<String>, helpers: impl IntoIterator<Item = i32>, breaks: u64) -> Self {
        Self { started: started.into(), helpers: helpers.into_iter().collect(), breaks }
    }

    /// Whether the server has lived on from the one to the other. Connections that were ended prove nothing, because
    /// whoever may end a process of the server's may do that, too; only where the server does not show its helpers
    /// they are believed.
    pub fn is_same_as(&self, other: &Self) -> bool {
        let lives = match (self.helpers.is_empty(), other.helpers.is_empty()) {
            (true, true) => self.breaks == other.breaks,
            // Some of them come and go, but never all at once.
            _ => !self.helpers.is_disjoint(&other.helpers),
        };
        lives && self.started == other.started
    }
}

impl Database {
    /// The present life of its server. SQLite lives and dies with this process.
    pub async fn server_life(&self) -> Result<ServerLife, sqlx::Error> {
        // Whoever serves nobody has neither a database nor a user, and everybody may see that who was not forbidden to.
        const HELPERS: &str = "SELECT pid FROM pg_catalog.pg_stat_activity \
             WHERE datid IS NULL AND usesysid IS NULL AND pid IS NOT NULL";
        let mut reader = self.reader(Urgency::General).await?;
        let Connection::Postgres(connection) = reader.connection() else {
            return Ok(ServerLife::new("", [], 0));
        };
        let (started,): (String,) =
            bounded(Box::pin(sqlx::query_as(STARTED).fetch_one(&mut *connection))).await?;
        let helpers: Vec<(i32,)> =
            match bounded(Box::pin(sqlx::query_as(HELPERS).fetch_all(connection))).await {
                Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some(FORBIDDEN) => Vec::new(),
                helpers => helpers?,
            };
        Ok(ServerLife::new(started, helpers.into_iter().map(|(pid,)| pid), self.breaks()))
    }

    /// What tells the database's present life from every other one. A server that died may have lost its last relaxed
    /// commits. SQLite lives and dies with this process.
    pub async fn life(&self) -> Result<String, sqlx::Error> {
        const SQLITE: &str = "SELECT ''";
        let sql = match self.dialect() {
            Dialect::Sqlite => SQLITE,
            Dialect::Postgres => STARTED,
        };
        let mut reader = self.reader(Urgency::General).await?;
        let (server,): (String,) =
            on_connection!(reader, |connection| sqlx::query_as(sql).fetch_one(connection).await)?;
        // A server that restarts only its sessions keeps its start time, and breaks every connection.
        Ok(format!("{server} {}", self.breaks()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_lives_on_while_one_of_its_helpers_does_however_many_connections_end() {
        let life = |started: &str, helpers: &[i32], breaks| {
            ServerLife::new(started, helpers.iter().copied(), breaks)
        };
        let before = life("noon", &[1, 2, 3], 0);
        for (after, lives) in [
            (life("noon", &[1, 2, 3], 9), true),
            (life("noon", &[3, 7], 0), true),
            (life("noon", &[5, 6, 7], 0), false),
            (life("one", &[1, 2, 3], 0), false),
            (life("noon", &[], 0), false),
        ] {
            assert_eq!(before.is_same_as(&after), lives, "{after:?}");
        }
        let hidden = |breaks| life("noon", &[], breaks);
        assert!(hidden(1).is_same_as(&hidden(1)));
        assert!(!hidden(1).is_same_as(&hidden(2)));
    }
}
