//! Bringing a database's tables up to date.

use std::borrow::Cow;

use sqlx::migrate::{Migration, MigrationType, Migrator};

use super::{Database, Pools};

/// Which SQL a database speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// SQLite's.
    Sqlite,
    /// PostgreSQL's.
    Postgres,
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

/// The tables could not be brought up to date.
#[derive(Debug, thiserror::Error)]
#[error("the database's tables cannot be brought up to date")]
pub struct MigrateError(#[from] sqlx::migrate::MigrateError);

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
        match &self.pools {
            Pools::Sqlite { durable, .. } => migrator.run(durable).await?,
            Pools::Postgres { general, .. } => migrator.run(general).await?,
        }
        Ok(())
    }
}
