//! Bringing a database's tables up to date.

use std::borrow::Cow;

use sqlx::{
    Executor as _, SqlitePool,
    migrate::{MigrateError as Refused, Migration, MigrationType, Migrator},
    postgres::PgPoolOptions,
};

use super::{Database, Pools, Trouble};

/// Which SQL a database speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// SQLite's.
    Sqlite,
    /// PostgreSQL's.
    Postgres,
}

impl Dialect {
    /// What goes behind a `SELECT` so that rows which others are about to change are left alone. SQLite has one writer,
    /// and nobody else.
    pub const fn skipping_locked(self) -> &'static str {
        match self {
            Dialect::Sqlite => "",
            Dialect::Postgres => " FOR UPDATE SKIP LOCKED",
        }
    }
}

/// One numbered step of a schema, in both dialects. Steps are never changed once released, only added
/// (see `migrations/README.md`).
#[derive(Debug, Clone, Copy)]
pub struct MigrationFile {
    /// Its number; the order in which steps are applied.
    pub version: i64,
    /// Its name.
    pub name: &'static str,
    /// For SQLite.
    pub sqlite: &'static str,
    /// For PostgreSQL.
    pub postgres: &'static str,
}

/// The tables could not be brought up to date. Nothing was changed by the step that failed, nor by any after it.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// There is a step that only a later version can have made.
    #[error(
        "the database's tables were changed by a newer version (step {found}; this version knows {known}); \
         start that version again, or restore the backup from before it"
    )]
    Newer {
        /// The unknown step.
        found: i64,
        /// The last known one.
        known: i64,
    },
    /// A step was applied that has the same number as one of ours and is another one.
    #[error(
        "step {0} of the database's tables is not the one that this version knows; \
         is it the database of another app, or of a version that was never released?"
    )]
    Foreign(i64),
    /// Nothing can be written.
    #[error(
        "the database can only be read; give the daemon's user the right to write to the file and its folder, \
         or name the server that is no standby"
    )]
    ReadOnly(#[source] sqlx::Error),
    /// What is there makes no sense.
    #[error("the database is damaged; put the file aside and a backup in its place")]
    Damaged(#[source] sqlx::Error),
    /// The database refused something else.
    #[error("the database's tables cannot be brought up to date")]
    Refused(#[source] sqlx::migrate::MigrateError),
}

impl MigrateError {
    /// Whether the same may well work later, without anybody putting right what is configured or what is there.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Refused(Refused::Execute(error)) if Trouble::passes(error))
    }

    fn of(error: Refused, known: i64) -> Self {
        match error {
            Refused::VersionMissing(found) if found > known => Self::Newer { found, known },
            Refused::VersionMissing(step) | Refused::VersionMismatch(step) => Self::Foreign(step),
            Refused::Execute(error) | Refused::ExecuteMigration(error, _) => Self::of_statement(error),
            other => Self::Refused(other),
        }
    }

    fn of_statement(error: sqlx::Error) -> Self {
        match Trouble::of(&error) {
            Some(Trouble::ReadOnly) => Self::ReadOnly(error),
            Some(Trouble::Damaged) => Self::Damaged(error),
            _ => Self::Refused(Refused::Execute(error)),
        }
    }
}

impl Database {
    /// Applies every one of `files` that the database has not seen. Safe to run from several processes at once.
    pub async fn migrate(&self, files: &[MigrationFile]) -> Result<(), MigrateError> {
        let mut files = files.to_vec();
        files.sort_by_key(|file| file.version);
        let migrations = files
            .into_iter()
            .map(|file| {
                let sql = match self.dialect() {
                    Dialect::Sqlite => file.sqlite,
                    Dialect::Postgres => file.postgres,
                };
                Migration::new(
                    file.version,
                    Cow::Borrowed(file.name),
                    MigrationType::Simple,
                    sqlx::SqlStr::from_static(sql),
                    false,
                )
            })
            .collect();
        let migrator = Migrator::with_migrations(migrations);
        let known = migrator.iter().map(|step| step.version).max().unwrap_or(0);
        match self.pools().map_err(MigrateError::of_statement)? {
            Pools::Sqlite { durable, .. } => {
                is_writable(durable).await?;
                migrator.run(durable).await
            }
            // On a connection of its own: a step may take longer than any statement of ours otherwise may.
            Pools::Postgres { general, .. } => {
                let alone = PgPoolOptions::new()
                    .max_connections(1)
                    .acquire_timeout(general.options().get_acquire_timeout())
                    .connect_with((*general.connect_options()).clone());
                let alone = alone.await.map_err(MigrateError::of_statement)?;
                let migrated = migrator.run(&alone).await;
                // With the connection go its locks.
                alone.close().await;
                migrated
            }
        }
        .map_err(|error| MigrateError::of(error, known))
    }
}

/// Tells a file that can only be read before anything needs it to be more: SQLite opens it without a word.
async fn is_writable(pool: &SqlitePool) -> Result<(), MigrateError> {
    let tried = async {
        let mut transaction = pool.begin().await?;
        transaction.execute("PRAGMA user_version = 0").await?;
        transaction.rollback().await
    };
    match tried.await {
        Err(error) if Trouble::of(&error) == Some(Trouble::ReadOnly) => Err(MigrateError::ReadOnly(error)),
        // Whatever else stands in the way may be gone by the time that something is to be written.
        _ => Ok(()),
    }
}
