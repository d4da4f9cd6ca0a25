//! How far a rotation has come: one row, so that whoever is started next goes on there.

use keepwell_workers::{clock::UnixMs, database::Transaction, on_connection};

use super::super::connected::Connected;

/// How far a rotation has come.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Progress {
    /// The key that everything is sealed with.
    pub key_id: String,
    /// When it was asked for.
    pub started_at_ms: UnixMs,
    /// When it was through.
    pub finished_at_ms: Option<UnixMs>,
    /// Which table is looked at, counted from 0.
    pub(super) stage: i64,
    /// The row that was looked at last.
    pub(super) cursor: String,
    /// Rows that were looked at.
    pub looked_at: i64,
    /// Rows that were sealed again.
    pub resealed: i64,
    /// Rows that cannot be opened.
    pub unreadable: i64,
}

impl Progress {
    pub(super) fn beginning(key_id: &str, now_ms: UnixMs) -> Self {
        Self {
            key_id: key_id.to_owned(),
            started_at_ms: now_ms,
            finished_at_ms: None,
            stage: 0,
            cursor: String::new(),
            looked_at: 0,
            resealed: 0,
            unreadable: 0,
        }
    }

    /// The table that is looked at now; `None` between two passes and at the end.
    pub fn table(&self) -> Option<&'static str> {
        super::tables().nth(usize::try_from(self.stage).ok()?)
    }

    pub(super) async fn read(connected: &mut impl Connected) -> Result<Option<Self>, sqlx::Error> {
        const SQL: &str = "SELECT key_id, started_at_ms, finished_at_ms, stage, cursor, looked_at, resealed, \
             unreadable FROM key_rotation WHERE id = 1";
        on_connection!(connected, |connection| sqlx::query_as(SQL).fetch_optional(connection).await)
    }

    /// Writes it in the place of whatever was there.
    pub(super) async fn begin(&self, transaction: &mut Transaction) -> Result<(), sqlx::Error> {
        const SQL: &str = "DELETE FROM key_rotation WHERE id = 1";
        const INSERT: &str = "INSERT INTO key_rotation (id, key_id, started_at_ms, stage, cursor, looked_at, \
             resealed, unreadable) VALUES (1, $1, $2, 0, '', 0, 0, 0)";
        on_connection!(transaction, |connection| sqlx::query(SQL).execute(connection).await.map(|_| ()))?;
        on_connection!(transaction, |connection| {
            sqlx::query(INSERT)
                .bind(&self.key_id)
                .bind(self.started_at_ms)
                .execute(connection)
                .await
                .map(|_| ())
        })
    }

    /// Writes it in the place of `before`; `false` if something else is there by now.
    pub(super) async fn replace(
        &self,
        transaction: &mut Transaction,
        before: &Self,
    ) -> Result<bool, sqlx::Error> {
        const SQL: &str = "UPDATE key_rotation SET key_id = $1, started_at_ms = $2, finished_at_ms = $3, \
             stage = $4, cursor = $5, looked_at = $6, resealed = $7, unreadable = $8 \
             WHERE id = 1 AND key_id = $9 AND stage = $10 AND cursor = $11 AND looked_at = $12 \
             AND finished_at_ms IS NULL";
        let replaced = on_connection!(transaction, |connection| {
            sqlx::query(SQL)
                .bind(&self.key_id)
                .bind(self.started_at_ms)
                .bind(self.finished_at_ms)
                .bind(self.stage)
                .bind(&self.cursor)
                .bind(self.looked_at)
                .bind(self.resealed)
                .bind(self.unreadable)
                .bind(&before.key_id)
                .bind(before.stage)
                .bind(&before.cursor)
                .bind(before.looked_at)
                .execute(connection)
                .await
                .map(|done| done.rows_affected())
        })?;
        Ok(replaced == 1)
    }
}
