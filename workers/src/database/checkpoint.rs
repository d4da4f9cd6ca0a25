//! Folding SQLite's write-ahead log back into the database file.
//!
//! SQLite would do it inside whichever commit fills the log, and that commit's caller would wait for two more fsyncs.
//! Here it is done beside the writers. Only when the log has grown long, because there was never a moment without
//! writers, does a checkpoint take a writer's turn, and by then there is little left for it to copy. The file keeps its
//! length and is written anew from its beginning: to cut it off is work for the file system while everybody waits, and
//! of three runs with a crisis every 20 ms behind a flood two were without an outlier once it was left out, one before.

use sqlx::SqlitePool;

use super::{Database, Pools, turn::Urgency};

/// How long a checkpoint waits for readers before it leaves the rest for the next time, in milliseconds.
pub(super) const PATIENCE_MS: u32 = 20;

/// Pages (of 4 KiB) in the log beyond which a checkpoint takes a writer's turn: 64 MiB.
const LOG_PAGES_MAX: i32 = 16_384;

/// How much a checkpoint asks of the others; SQLite's words.
#[derive(Debug, Clone, Copy)]
pub(super) enum Mode {
    /// Nothing.
    Passive,
    /// To wait until the whole log is copied and begins anew.
    Restart,
    /// That, and its file is cut off.
    Truncate,
}

/// What a checkpoint left, as SQLite tells it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Folded {
    /// Somebody was in its way.
    pub(super) busy: bool,
    /// In the log, until the next writer begins it anew.
    pages: i32,
    /// Of them are in the database file.
    copied: i32,
}

/// Folds the log back.
pub(super) async fn fold(checkpointer: &SqlitePool, mode: Mode) -> Result<Folded, sqlx::Error> {
    let statement = match mode {
        Mode::Passive => "PRAGMA wal_checkpoint(PASSIVE)",
        Mode::Restart => "PRAGMA wal_checkpoint(RESTART)",
        Mode::Truncate => "PRAGMA wal_checkpoint(TRUNCATE)",
    };
    let (busy, pages, copied): (i32, i32, i32) = sqlx::query_as(statement).fetch_one(checkpointer).await?;
    Ok(Folded { busy: busy != 0, pages, copied })
}

impl Database {
    /// Folds back what it can without making anybody wait. Does nothing on PostgreSQL.
    pub(crate) async fn checkpoint(&self) -> Result<(), sqlx::Error> {
        let Pools::Sqlite { checkpointer, .. } = self.pools()? else { return Ok(()) };
        let before = fold(checkpointer, Mode::Passive).await?;
        if before.pages <= LOG_PAGES_MAX {
            return Ok(());
        }
        // What was written meanwhile, so that next to nothing is left for the moment in which everybody waits.
        let folded = fold(checkpointer, Mode::Passive).await?;
        // Where nothing more can be copied, somebody reads what was there a while ago, a backup perhaps: all writers
        // would wait, and in vain. Once all is copied the next writer begins the log anew by itself, and until then it
        // tells of its old length.
        if folded.copied < folded.pages && folded.copied != before.copied {
            let _turn = self.turns.take(Urgency::General).await;
            fold(checkpointer, Mode::Restart).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use sqlx::Executor as _;

    use super::{
        super::{Connection, DatabaseOptions, Durability},
        *,
    };

    async fn write(database: &Database, statement: &'static str) {
        let mut transaction = database.begin(Urgency::General, Durability::Relaxed, 0).await.unwrap();
        let Connection::Sqlite(connection) = transaction.connection() else { panic!("it is SQLite") };
        connection.execute(statement).await.unwrap();
        transaction.commit().await.unwrap();
    }

    #[tokio::test]
    async fn a_long_log_that_is_copied_whole_takes_no_turn_from_a_writer() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("long.db").display());
        let database = Database::connect(&url, &DatabaseOptions::default()).await.unwrap();
        write(&database, "CREATE TABLE blobs (blob BLOB)").await;
        write(
            &database,
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 70)
             INSERT INTO blobs SELECT zeroblob(1048576) FROM n",
        )
        .await;
        let Pools::Sqlite { checkpointer, .. } = database.pools().unwrap() else { panic!("it is SQLite") };
        assert!(fold(checkpointer, Mode::Passive).await.unwrap().pages > LOG_PAGES_MAX);
        let turn = database.turns.take(Urgency::General).await;
        // It would wait for the turn for ever.
        database.checkpoint().await.unwrap();
        drop(turn);
        database.close().await;
    }

    #[tokio::test]
    async fn a_long_log_that_a_reader_still_needs_takes_no_turn_from_a_writer() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("long.db").display());
        let database = Database::connect(&url, &DatabaseOptions::default()).await.unwrap();
        write(&database, "CREATE TABLE blobs (blob BLOB)").await;
        let mut reader = database.reader(Urgency::General).await.unwrap();
        let mut moment = reader.snapshot().await.unwrap();
        let Connection::Sqlite(connection) = moment.connection() else { panic!("it is SQLite") };
        connection.execute("SELECT count(*) FROM blobs").await.unwrap();
        write(
            &database,
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 70)
             INSERT INTO blobs SELECT zeroblob(1048576) FROM n",
        )
        .await;
        let turn = database.turns.take(Urgency::General).await;
        // It would wait for the turn for ever.
        database.checkpoint().await.unwrap();
        drop(turn);
        drop(moment);
        drop(reader);
        database.close().await;
    }
}
