//! Copies of SQLite's database file: made beside a daemon that goes on writing, and looked through before anybody
//! relies on them.
//!
//! A copy is one moment of the database: everything that was committed before it began, and nothing by halves. It is
//! made by a reader, and no writer waits for a reader; the write-ahead log only grows meanwhile by what is written,
//! because nothing that the reader may still need is overwritten (`checkpoint.rs`). What deleted rows left free is not
//! copied.

use std::{
    path::{Path, PathBuf},
    str::FromStr as _,
    time::Duration,
};

use sqlx::{
    Connection as _, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode},
};

use super::{Connection, Trouble};

/// A database could not be copied, or a copy is of no use.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The path of the copy is not UTF-8, and SQLite takes no other.
    #[error("the path of the copy is no text")]
    NotText,
    /// There is no room for it.
    #[error("there is no room for it on the disk")]
    Full(#[source] sqlx::Error),
    /// It is no database, or what is in it makes no sense.
    #[error("it is no database, or a damaged one: {0}")]
    Damaged(String),
    /// The database refused.
    #[error("the database refuses")]
    Refused(#[source] sqlx::Error),
}

impl From<sqlx::Error> for CopyError {
    fn from(error: sqlx::Error) -> Self {
        match Trouble::of(&error) {
            Some(Trouble::Full) => Self::Full(error),
            Some(Trouble::Damaged) => Self::Damaged(error.to_string()),
            _ => Self::Refused(error),
        }
    }
}

/// The file behind an address of a database; `None` if it is not SQLite's.
pub fn sqlite_file(url: &str) -> Option<PathBuf> {
    if !url.starts_with("sqlite:") {
        return None;
    }
    Some(SqliteConnectOptions::from_str(url).ok()?.get_filename().to_owned())
}

/// Writes all of the database in the file `database` that was committed by now into `copy`, which is not there yet or
/// empty. It is not synced. Whoever uses the database goes on undisturbed.
pub async fn copy_sqlite(database: &Path, copy: &Path) -> Result<(), CopyError> {
    let path = copy.to_str().ok_or(CopyError::NotText)?;
    let options = SqliteConnectOptions::new()
        .filename(database)
        .create_if_missing(false)
        // Nobody is to pay for folding the log back; see `checkpoint.rs`.
        .pragma("wal_autocheckpoint", "0");
    let mut connection = SqliteConnection::connect_with(&options).await?;
    let copied = sqlx::query("VACUUM INTO $1").bind(path).execute(&mut connection).await;
    // A daemon that was stopped meanwhile leaves the last word on the log to us.
    connection.close().await?;
    copied?;
    Ok(())
}

/// Whether nobody else has the database in the file `database` open. If so, its log is folded back into the file, which
/// is then all there is of it.
pub async fn sqlite_is_alone(database: &Path) -> Result<bool, CopyError> {
    let options = SqliteConnectOptions::new()
        .filename(database)
        .create_if_missing(false)
        .busy_timeout(Duration::ZERO)
        .journal_mode(SqliteJournalMode::Delete);
    match SqliteConnection::connect_with(&options).await {
        Ok(connection) => {
            connection.close().await?;
            Ok(true)
        }
        Err(error) if Trouble::of(&error) == Some(Trouble::Locked) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// A copy, open to be looked at. Nothing is written to it, nor to any file beside it.
#[derive(Debug)]
pub struct SqliteCopy(SqliteConnection);

impl SqliteCopy {
    /// Opens the copy in the file `path`, which nobody writes.
    pub async fn open(path: &Path) -> Result<Self, CopyError> {
        let options = SqliteConnectOptions::new().filename(path).read_only(true).immutable(true);
        Ok(Self(SqliteConnection::connect_with(&options).await?))
    }

    /// The connection, for [`on_connection!`](crate::on_connection).
    pub fn connection(&mut self) -> Connection<'_> {
        Connection::Sqlite(&mut self.0)
    }

    /// Reads all of it and says whether it holds together: every page, every row, every index.
    pub async fn check(&mut self) -> Result<(), CopyError> {
        let found: String = sqlx::query_scalar("PRAGMA integrity_check(1)").fetch_one(&mut self.0).await?;
        if found == "ok" { Ok(()) } else { Err(CopyError::Damaged(found)) }
    }

    /// The last step of its tables (see [`MigrationFile`](super::MigrationFile)).
    pub async fn version(&mut self) -> Result<i64, CopyError> {
        const VERSION: &str = "SELECT max(version) FROM _sqlx_migrations";
        Ok(sqlx::query_scalar(VERSION).fetch_one(&mut self.0).await?)
    }

    /// Closes it.
    pub async fn close(self) -> Result<(), CopyError> {
        Ok(self.0.close().await?)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use sqlx::Executor as _;

    use super::{
        super::{Database, DatabaseOptions, Durability, turn::Urgency},
        *,
    };
    use crate::on_connection;

    async fn database(path: &Path) -> Database {
        let url = format!("sqlite:{}", path.display());
        Database::connect(&url, &DatabaseOptions::default()).await.unwrap()
    }

    async fn write(database: &Database, statement: &'static str) {
        let mut transaction = database.begin(Urgency::General, Durability::Relaxed, 0).await.unwrap();
        on_connection!(transaction, |connection| connection.execute(statement).await.map(|_| ())).unwrap();
        transaction.commit().await.unwrap();
    }

    async fn notes(copy: &Path) -> i64 {
        let mut copy = SqliteCopy::open(copy).await.unwrap();
        copy.check().await.unwrap();
        let found = on_connection!(copy, |connection| {
            sqlx::query_scalar("SELECT count(*) FROM notes").fetch_one(connection).await
        });
        copy.close().await.unwrap();
        found.unwrap()
    }

    #[tokio::test]
    async fn a_copy_holds_what_was_committed_before_it_while_others_write_on() {
        let folder = tempfile::tempdir().unwrap();
        let (original, copy) = (folder.path().join("a.db"), folder.path().join("b.db"));
        let used = database(&original).await;
        write(&used, "CREATE TABLE notes (note TEXT); INSERT INTO notes VALUES ('before')").await;
        let mut open = used.begin(Urgency::General, Durability::Relaxed, 0).await.unwrap();
        let insert = "INSERT INTO notes VALUES ('under way')";
        on_connection!(open, |connection| connection.execute(insert).await.map(|_| ())).unwrap();
        copy_sqlite(&original, &copy).await.unwrap();
        open.commit().await.unwrap();
        assert_eq!(notes(&copy).await, 1);
        let names: Vec<_> =
            fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(!names.iter().any(|name| name.to_string_lossy().starts_with("b.db-")), "{names:?}");
        assert!(
            matches!(copy_sqlite(&original, &copy).await, Err(CopyError::Refused(_))),
            "it is there already"
        );
        used.close().await;
    }

    #[tokio::test]
    async fn somebody_who_has_the_database_open_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let used = database(&path).await;
        write(&used, "CREATE TABLE notes (note TEXT)").await;
        assert!(!sqlite_is_alone(&path).await.unwrap());
        used.close().await;
        assert!(sqlite_is_alone(&path).await.unwrap());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "the log is in the file");
    }

    #[tokio::test]
    async fn a_copy_that_rotted_is_not_taken_for_whole() {
        let folder = tempfile::tempdir().unwrap();
        let (original, copy) = (folder.path().join("a.db"), folder.path().join("b.db"));
        let used = database(&original).await;
        write(
            &used,
            "CREATE TABLE notes (note TEXT UNIQUE); WITH RECURSIVE n (i) AS \
             (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000) INSERT INTO notes SELECT 'note ' || i FROM n",
        )
        .await;
        copy_sqlite(&original, &copy).await.unwrap();
        used.close().await;
        let mut bytes = fs::read(&copy).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle..middle + 64].fill(0xff);
        fs::write(&copy, bytes).unwrap();
        let mut rotten = SqliteCopy::open(&copy).await.unwrap();
        assert!(matches!(rotten.check().await, Err(CopyError::Damaged(_))));
        fs::write(&copy, "Dear diary").unwrap();
        let checked = match SqliteCopy::open(&copy).await {
            Ok(mut copy) => copy.check().await,
            Err(error) => Err(error),
        };
        assert!(matches!(checked, Err(CopyError::Damaged(_))), "{checked:?}");
    }
}
