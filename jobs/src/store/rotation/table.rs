//! What a rotation of keys asks of every table that has a sealed column.

use async_trait::async_trait;
use keepwell_workers::{
    database::{Reader, Transaction},
    ledger::Ledger,
    on_connection,
    seal::Sealed,
};

use super::super::{
    audit::{AuditEntries, AuditKeys},
    reports::Reports,
    sealed_pairs::{DEVICES, PERSON_DATA, SCORES, SealedPairs},
};

/// A row, and the key that sealed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) struct Place {
    /// What tells the row from all others, as a text; rows are looked at in an order of their own.
    pub(in crate::store) name: String,
    pub(in crate::store) key_id: String,
    /// Of what was sealed.
    pub(in crate::store) bytes: u64,
}

/// What was sealed, and what opens it.
#[derive(Debug, Clone)]
pub(in crate::store) struct SealedValue {
    pub(in crate::store) context: Vec<u8>,
    pub(in crate::store) key_id: String,
    pub(in crate::store) sealed: Vec<u8>,
}

/// A table with the columns `key_id` and `sealed`.
#[async_trait]
pub(in crate::store) trait SealedTable: Send + Sync {
    /// Its name in SQL.
    fn name(&self) -> &'static str;

    /// The next `limit` rows behind the one named `after`, or from the first one if that is empty.
    async fn look(&self, reader: &mut Reader, after: &str, limit: i64) -> Result<Vec<Place>, sqlx::Error>;

    /// What the row named `place` holds.
    async fn read(&self, reader: &mut Reader, place: &str) -> Result<Option<SealedValue>, sqlx::Error>;

    /// Puts `new` in the place of `old`, unless something else is there by now.
    async fn replace(
        &self,
        transaction: &mut Transaction,
        place: &str,
        old: &SealedValue,
        new: &Sealed,
    ) -> Result<(), sqlx::Error>;

    /// How many rows each key has sealed.
    async fn by_key(&self, reader: &mut Reader) -> Result<Vec<(String, i64)>, sqlx::Error> {
        let sql = format!("SELECT key_id, COUNT(*) FROM {} GROUP BY key_id", self.name());
        on_connection!(reader, |connection| {
            sqlx::query_as(sqlx::AssertSqlSafe(sql)).fetch_all(connection).await
        })
    }
}

/// Every table with a sealed column, in the order in which a rotation goes through them. The test
/// `every_sealed_column_is_rotated` compares this with the database.
pub(super) const TABLES: [&dyn SealedTable; 7] = [
    &AuditKeys,
    &(PERSON_DATA as SealedPairs),
    &(DEVICES as SealedPairs),
    &(SCORES as SealedPairs),
    &AuditEntries,
    &Payloads,
    &Reports,
];

/// What jobs were asked to do.
#[derive(Debug)]
struct Payloads;

#[async_trait]
impl SealedTable for Payloads {
    fn name(&self) -> &'static str {
        "job_payloads"
    }

    async fn look(&self, reader: &mut Reader, after: &str, limit: i64) -> Result<Vec<Place>, sqlx::Error> {
        let found = Ledger::payload_keys(reader, after.parse().ok(), limit).await?;
        let place = |found: keepwell_workers::ledger::PayloadKey| Place {
            name: found.job.to_string(),
            key_id: found.key_id,
            bytes: found.bytes,
        };
        Ok(found.into_iter().map(place).collect())
    }

    async fn read(&self, reader: &mut Reader, place: &str) -> Result<Option<SealedValue>, sqlx::Error> {
        let Ok(job) = place.parse::<keepwell_workers::id::JobId>() else { return Ok(None) };
        let found = Ledger::sealed_payload(reader, job).await?;
        Ok(found.map(|(key_id, sealed)| SealedValue { context: job.as_bytes().to_vec(), key_id, sealed }))
    }

    async fn replace(
        &self,
        transaction: &mut Transaction,
        place: &str,
        old: &SealedValue,
        new: &Sealed,
    ) -> Result<(), sqlx::Error> {
        let Ok(job) = place.parse() else { return Ok(()) };
        Ledger::replace_sealed_payload(transaction, job, &old.key_id, new).await
    }

    async fn by_key(&self, reader: &mut Reader) -> Result<Vec<(String, i64)>, sqlx::Error> {
        let rows = Ledger::payloads_by_key(reader).await?;
        Ok(rows.into_iter().map(|(key_id, count)| (key_id, count as i64)).collect())
    }
}
