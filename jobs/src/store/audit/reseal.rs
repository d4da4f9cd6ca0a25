//! The trail's own sealed columns in a rotation of keys. What was digested does not change with the key, so the chain
//! stays as it is.

use async_trait::async_trait;
use keepwell_workers::{
    database::{Reader, Transaction},
    id::JobId,
    on_connection,
    seal::Sealed,
};
use sqlx::types::Uuid;

use super::{
    super::rotation::{Place, SealedTable, SealedValue},
    entry::{COLUMNS, EntryRow},
    keys::{KeyRow, key_context},
};

/// The details of entries.
#[derive(Debug)]
pub(in crate::store) struct AuditEntries;

/// The keys of the blocks' codes.
#[derive(Debug)]
pub(in crate::store) struct AuditKeys;

fn size(bytes: i64) -> u64 {
    u64::try_from(bytes).unwrap_or(0)
}

fn entry_id(place: &str) -> Uuid {
    place.parse::<JobId>().map_or(Uuid::nil(), |id| id.0)
}

#[async_trait]
impl SealedTable for AuditEntries {
    fn name(&self) -> &'static str {
        "audit_entries"
    }

    async fn look(&self, reader: &mut Reader, after: &str, limit: i64) -> Result<Vec<Place>, sqlx::Error> {
        const SQL: &str = "SELECT id, key_id, CAST(length(sealed) AS BIGINT) FROM audit_entries \
             WHERE id > $1 ORDER BY id LIMIT $2";
        let rows: Vec<(Uuid, String, i64)> = on_connection!(reader, |connection| {
            sqlx::query_as(SQL).bind(entry_id(after)).bind(limit).fetch_all(connection).await
        })?;
        let place = |(id, key_id, bytes)| Place { name: JobId(id).to_string(), key_id, bytes: size(bytes) };
        Ok(rows.into_iter().map(place).collect())
    }

    async fn read(&self, reader: &mut Reader, place: &str) -> Result<Option<SealedValue>, sqlx::Error> {
        let sql = format!("SELECT {COLUMNS} FROM audit_entries WHERE id = $1");
        let found: Option<EntryRow> = on_connection!(reader, |connection| {
            sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(entry_id(place)).fetch_optional(connection).await
        })?;
        Ok(found.map(|row| SealedValue { context: row.context(), key_id: row.key_id, sealed: row.sealed }))
    }

    async fn replace(
        &self,
        transaction: &mut Transaction,
        place: &str,
        old: &SealedValue,
        new: &Sealed,
    ) -> Result<(), sqlx::Error> {
        const SQL: &str = "UPDATE audit_entries SET key_id = $3, sealed = $4 WHERE id = $1 AND key_id = $2";
        on_connection!(transaction, |connection| {
            sqlx::query(SQL)
                .bind(entry_id(place))
                .bind(&old.key_id)
                .bind(&*new.key_id)
                .bind(&new.bytes)
                .execute(connection)
                .await
                .map(|_| ())
        })
    }
}

#[async_trait]
impl SealedTable for AuditKeys {
    fn name(&self) -> &'static str {
        "audit_keys"
    }

    async fn look(&self, reader: &mut Reader, after: &str, limit: i64) -> Result<Vec<Place>, sqlx::Error> {
        const SQL: &str = "SELECT id, key_id, CAST(length(sealed) AS BIGINT) FROM audit_keys \
             WHERE id > $1 ORDER BY id LIMIT $2";
        let rows: Vec<(i64, String, i64)> = on_connection!(reader, |connection| {
            sqlx::query_as(SQL)
                .bind(after.parse::<i64>().unwrap_or(0))
                .bind(limit)
                .fetch_all(connection)
                .await
        })?;
        let place =
            |(id, key_id, bytes): (i64, _, _)| Place { name: id.to_string(), key_id, bytes: size(bytes) };
        Ok(rows.into_iter().map(place).collect())
    }

    async fn read(&self, reader: &mut Reader, place: &str) -> Result<Option<SealedValue>, sqlx::Error> {
        const SQL: &str = "SELECT id, made_under, key_id, sealed FROM audit_keys WHERE id = $1";
        let found: Option<KeyRow> = on_connection!(reader, |connection| {
            sqlx::query_as(SQL).bind(place.parse::<i64>().unwrap_or(0)).fetch_optional(connection).await
        })?;
        Ok(found.map(|row| SealedValue {
            context: key_context(row.id),
            key_id: row.key_id,
            sealed: row.sealed,
        }))
    }

    async fn replace(
        &self,
        transaction: &mut Transaction,
        place: &str,
        old: &SealedValue,
        new: &Sealed,
    ) -> Result<(), sqlx::Error> {
        const SQL: &str = "UPDATE audit_keys SET key_id = $3, sealed = $4 WHERE id = $1 AND key_id = $2";
        on_connection!(transaction, |connection| {
            sqlx::query(SQL)
                .bind(place.parse::<i64>().unwrap_or(0))
                .bind(&old.key_id)
                .bind(&*new.key_id)
                .bind(&new.bytes)
                .execute(connection)
                .await
                .map(|_| ())
        })
    }
}
