//! Getting SQLite's write-ahead log onto the disk beside the next writer.
//!
//! With `synchronous=FULL` SQLite waits for the disk inside the commit, and every other writer with it. Here the commit
//! is made with `NORMAL`, the next writer has its turn, and whoever must know that the commit will survive a power cut
//! waits for the log by itself. The log is one file that only grows between two checkpoints, and a checkpoint syncs it
//! before it copies anything; so a sync that began after a commit has that commit and all before it.

use std::{
    fs::File,
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use sqlx::SqlitePool;
use tokio::sync::Mutex;

use super::{
    checkpoint::{Mode, fold},
    turn::{Urgency, WriteTurns},
};

/// The log of one database. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct LogSync(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    /// How many have asked; each asks after its commit.
    asked: AtomicU64,
    /// One sync at a time: the system tells of a failed write only one of those who wait on the same file.
    state: Arc<Mutex<State>>,
    checkpointer: SqlitePool,
    turns: WriteTurns,
}

#[derive(Debug, Default)]
struct State {
    file: Option<File>,
    /// Everybody up to this one has a log on disk.
    done: u64,
    /// A sync has failed. The system then takes what it could not write for written, and the next sync would succeed
    /// without it.
    failed: bool,
}

impl LogSync {
    /// The log of the database in the file `database`.
    pub(super) fn of(database: &Path, checkpointer: SqlitePool, turns: WriteTurns) -> Self {
        let mut path = database.as_os_str().to_owned();
        path.push("-wal");
        let state = Arc::default();
        Self(Arc::new(Inner { path: path.into(), asked: AtomicU64::new(0), state, checkpointer, turns }))
    }

    /// Returns once everything that was committed before the call is on disk.
    pub(super) async fn sync(&self) -> Result<(), sqlx::Error> {
        let ticket = self.0.asked.fetch_add(1, Ordering::AcqRel) + 1;
        let mut state = Arc::clone(&self.0.state).lock_owned().await;
        if state.done >= ticket {
            return Ok(());
        }
        let upto = self.0.asked.load(Ordering::Acquire);
        if state.failed {
            self.fold_back().await?;
            (state.failed, state.done) = (false, upto);
            return Ok(());
        }
        let path = self.0.path.clone();
        // The file stays locked until the disk has answered, also if nobody waits for it any more.
        let synced = tokio::task::spawn_blocking(move || {
            let synced = state.sync(&path);
            match &synced {
                Ok(()) => state.done = upto,
                Err(_) => state.failed = true,
            }
            synced
        });
        synced.await.map_err(io::Error::other)?.map_err(sqlx::Error::Io)
    }

    /// Writes once more what a failed sync may have left out: copies the log into the database file and syncs that.
    async fn fold_back(&self) -> Result<(), sqlx::Error> {
        let _turn = self.0.turns.take(Urgency::Crisis).await;
        if fold(&self.0.checkpointer, Mode::Truncate).await?.busy {
            return Err(sqlx::Error::Io(io::Error::other(
                "the log could not be folded back after a failed sync",
            )));
        }
        Ok(())
    }
}

impl State {
    fn sync(&mut self, path: &Path) -> io::Result<()> {
        // Nobody takes the log away while it is used; if somebody did, another file would have to be synced.
        let file = match self.file.take() {
            Some(file) if file.metadata()?.nlink() > 0 => file,
            _ => open(path)?,
        };
        self.file.insert(file).sync_data()
    }
}

/// Opens the log, and has its name on disk too.
fn open(path: &Path) -> io::Result<File> {
    let file = File::open(path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{
        super::{Connection, Database, DatabaseOptions, Durability, Pools},
        *,
    };
    use sqlx::Executor as _;

    async fn write(database: &Database, statement: &'static str) -> Result<(), sqlx::Error> {
        let mut transaction = database.begin(Urgency::General, Durability::InTwoSteps, 0).await?;
        let Connection::Sqlite(connection) = transaction.connection() else { panic!("it is SQLite") };
        connection.execute(statement).await?;
        transaction.commit_step().await?.on_disk().await
    }

    #[tokio::test]
    async fn a_sync_that_failed_is_made_good_by_folding_the_log_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.db");
        let url = format!("sqlite:{}", path.display());
        let database = Database::connect(&url, &DatabaseOptions::default()).await.unwrap();
        write(&database, "CREATE TABLE notes (note TEXT)").await.unwrap();
        let Pools::Sqlite { log, .. } = database.pools().unwrap() else { panic!("it is SQLite") };
        log.0.state.lock().await.failed = true;
        write(&database, "INSERT INTO notes VALUES ('kept')").await.unwrap();
        assert_eq!(
            fs::metadata(folder.path().join("log.db-wal")).unwrap().len(),
            0,
            "the log is in the database file"
        );
        assert!(!log.0.state.lock().await.failed);
        database.close().await;
    }

    #[tokio::test]
    async fn a_log_that_cannot_be_synced_fails_the_commit_and_the_next_one_does_not_trust_a_sync() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("log.db").display());
        let database = Database::connect(&url, &DatabaseOptions::default()).await.unwrap();
        let Pools::Sqlite { log, .. } = database.pools().unwrap() else { panic!("it is SQLite") };
        // A socket can be written like a file, and cannot be synced.
        let (pipe, _other_end) = std::os::unix::net::UnixStream::pair().unwrap();
        log.0.state.lock().await.file = Some(File::from(std::os::fd::OwnedFd::from(pipe)));
        assert!(write(&database, "CREATE TABLE notes (note TEXT)").await.is_err());
        assert!(log.0.state.lock().await.failed);
        write(&database, "INSERT INTO notes VALUES ('kept')").await.unwrap();
        assert!(!log.0.state.lock().await.failed);
        database.close().await;
    }
}
