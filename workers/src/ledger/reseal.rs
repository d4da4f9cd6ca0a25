//! Sealing payloads again with the first key of the ring, a few at a time: what a rotation of keys asks of the ledger.

use uuid::Uuid;

use super::Ledger;
use crate::{
    database::{Reader, Transaction},
    id::JobId,
    on_connection,
    seal::Sealed,
};

/// Which key sealed a payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PayloadKey {
    /// The payload's job.
    pub job: JobId,
    /// The id of the key.
    pub key_id: String,
    /// The size of the sealed payload, in bytes.
    pub bytes: u64,
}

impl Ledger {
    /// How many payloads each key has sealed. Looks at every payload's row.
    pub async fn payloads_by_key(reader: &mut Reader) -> Result<Vec<(String, u64)>, sqlx::Error> {
        const SQL: &str = "SELECT key_id, COUNT(*) FROM job_payloads GROUP BY key_id ORDER BY key_id";
        let rows: Vec<(String, i64)> =
            on_connection!(reader, |connection| sqlx::query_as(SQL).fetch_all(connection).await)?;
        Ok(rows.into_iter().map(|(key_id, count)| (key_id, u64::try_from(count).unwrap_or(0))).collect())
    }

    /// The keys of the next `limit` payloads behind that of `after`, in the order of their jobs.
    pub async fn payload_keys(
        reader: &mut Reader,
        after: Option<JobId>,
        limit: i64,
    ) -> Result<Vec<PayloadKey>, sqlx::Error> {
        const SQL: &str = "SELECT job_id, key_id, CAST(length(sealed) AS BIGINT) FROM job_payloads \
             WHERE job_id > $1 ORDER BY job_id LIMIT $2";
        let after = after.map_or(Uuid::nil(), |id| id.0);
        let rows: Vec<(Uuid, String, i64)> = on_connection!(reader, |connection| {
            sqlx::query_as(SQL).bind(after).bind(limit).fetch_all(connection).await
        })?;
        let of = |(job, key_id, bytes)| PayloadKey {
            job: JobId(job),
            key_id,
            bytes: u64::try_from(bytes).unwrap_or(0),
        };
        Ok(rows.into_iter().map(of).collect())
    }

    /// The sealed payload of `job`, and the key that sealed it.
    pub async fn sealed_payload(
        reader: &mut Reader,
        job: JobId,
    ) -> Result<Option<(String, Vec<u8>)>, sqlx::Error> {
        const SQL: &str = "SELECT key_id, sealed FROM job_payloads WHERE job_id = $1";
        on_connection!(reader, |connection| {
            sqlx::query_as(SQL).bind(job.0).fetch_optional(connection).await
        })
    }

    /// Puts `sealed` in the place of what `key_id` had sealed for `job`, if it is still there.
    pub async fn replace_sealed_payload(
        transaction: &mut Transaction,
        job: JobId,
        key_id: &str,
        sealed: &Sealed,
    ) -> Result<(), sqlx::Error> {
        // What a payload says never changes, so the key tells whether it is the one that was read.
        const SQL: &str =
            "UPDATE job_payloads SET key_id = $3, sealed = $4 WHERE job_id = $1 AND key_id = $2";
        on_connection!(transaction, |connection| {
            sqlx::query(SQL)
                .bind(job.0)
                .bind(key_id)
                .bind(&*sealed.key_id)
                .bind(&sealed.bytes)
                .execute(connection)
                .await
                .map(|_| ())
        })
    }
}
