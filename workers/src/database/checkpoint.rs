//! Folding SQLite's write-ahead log back into the database file.
//!
//! SQLite would do it inside whichever commit fills the log, and that commit's caller would wait for two more fsyncs.
//! Here it is done beside the writers. Only when the log has grown long, because there was never a moment without
//! writers, does a checkpoint take a writer's turn, and by then there is little left for it to copy. The file keeps its
//! length and is written anew from its beginning: to cut it off is work for the file system while everybody waits, and
//! of three runs with a crisis every 20 ms behind a flood two were without an outlier once it was left out, one before.

use super::{Database, Pools, turn::Urgency};

/// How long a checkpoint waits for readers before it leaves the rest for the next time, in milliseconds.
pub(super) const PATIENCE_MS: u32 = 20;

/// Pages (of 4 KiB) in the log beyond which a checkpoint takes a writer's turn: 64 MiB.
const LOG_PAGES_MAX: i32 = 16_384;

impl Database {
    /// Folds back what it can without making anybody wait. Does nothing on PostgreSQL.
    pub(crate) async fn checkpoint(&self) -> Result<(), sqlx::Error> {
        let Pools::Sqlite { checkpointer, .. } = &self.pools else { return Ok(()) };
        let (_, pages, _): (i32, i32, i32) =
            sqlx::query_as("PRAGMA wal_checkpoint(PASSIVE)").fetch_one(checkpointer).await?;
        if pages > LOG_PAGES_MAX {
            // What was written meanwhile, so that next to nothing is left for the moment in which everybody waits.
            sqlx::query("PRAGMA wal_checkpoint(PASSIVE)").execute(checkpointer).await?;
            let _turn = self.turns.take(Urgency::General).await;
            let _: (i32, i32, i32) =
                sqlx::query_as("PRAGMA wal_checkpoint(RESTART)").fetch_one(checkpointer).await?;
        }
        Ok(())
    }
}
