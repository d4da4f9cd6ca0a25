//! What became of emergency contacts. Who they are is nowhere in this table: a contact is eight bytes of a hash.

use keepwell_workers::{
    clock::UnixMs,
    database::{Reader, Transaction},
    on_connection,
};
use sha2::{Digest as _, Sha256};

use super::{
    connected::Connected,
    notice_audit::{NoticeEntry, append_notice},
};
use crate::care::{
    contacts::{Method, QUEUED_MS, Skipped, TOLD_AGAIN_MS, Told},
    crisis::Severity,
    facts::REMEMBERED_MS,
};

/// What became of a contact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoticeResult {
    /// Looked at again when their hours begin.
    Later,
    /// About to be told.
    Queued(Method),
    /// Told.
    Notified(Method),
    /// Not told.
    Skipped(Skipped),
}

/// How many contacts had one result.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct NoticeCount {
    /// `later`, `queued`, `notified` or `skipped`.
    pub result: String,
    /// Why, if skipped.
    pub reason: Option<String>,
    /// How many.
    pub count: i64,
}

/// The number by which the table knows the contact `contact` of `customer`.
pub fn contact_number(customer: &str, contact: &str) -> i64 {
    let digest = Sha256::new().chain_update(customer).chain_update([0]).chain_update(contact).finalize();
    // A SHA-256 digest has 32 bytes.
    digest[..8].iter().fold(0_i64, |number, byte| (number << 8) | i64::from(*byte))
}

/// Keeps what becomes of a contact in the crisis that `cause` made known. What is older than [`REMEMBERED_MS`] is
/// forgotten.
pub async fn keep_notice(
    transaction: &mut Transaction,
    customer: &str,
    cause: &str,
    contact: i64,
    severity: Severity,
    result: NoticeResult,
) -> Result<(), sqlx::Error> {
    const FORGET: &str = "DELETE FROM contact_notices WHERE customer = $1 AND at_ms < $2";
    const KEEP: &str = "INSERT INTO contact_notices \
         (customer, cause, contact, severity, result, reason, method, at_ms) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (customer, cause, contact) DO UPDATE SET \
         severity = excluded.severity, result = excluded.result, reason = excluded.reason, \
         method = excluded.method, at_ms = excluded.at_ms";
    let now_ms = transaction.now_ms();
    let (action, word, reason, method) = match result {
        NoticeResult::Later => ("contact.later", "later", None, None),
        NoticeResult::Queued(method) => ("contact.queued", "queued", None, Some(method.name())),
        NoticeResult::Notified(method) => ("contact.notified", "notified", None, Some(method.name())),
        NoticeResult::Skipped(why) => ("contact.skipped", "skipped", Some(why.name()), None),
    };
    let entry = NoticeEntry { action, subject: customer, cause, contact, reason: reason.or(method) };
    append_notice(transaction, &entry).await?;
    on_connection!(transaction, |connection| {
        sqlx::query(FORGET)
            .bind(customer)
            .bind(now_ms.saturating_sub(REMEMBERED_MS))
            .execute(connection)
            .await
            .map(|_| ())
    })?;
    on_connection!(transaction, |connection| {
        sqlx::query(KEEP)
            .bind(customer)
            .bind(cause)
            .bind(contact)
            .bind(severity.name())
            .bind(word)
            .bind(reason)
            .bind(method)
            .bind(now_ms)
            .execute(connection)
            .await
            .map(|_| ())
    })
}

/// Which contacts of `customer` were told lately ([`TOLD_AGAIN_MS`]), or are about to be ([`QUEUED_MS`]), not counting
/// what becomes of them because of `besides`.
pub(crate) async fn contacts_told(
    connected: &mut impl Connected,
    customer: &str,
    besides: Option<&str>,
    now_ms: UnixMs,
) -> Result<Vec<(i64, Told)>, sqlx::Error> {
    const SQL: &str = "SELECT contact, severity, at_ms FROM contact_notices WHERE customer = $1 AND cause <> $4 \
         AND (result = 'notified' AND at_ms >= $2 OR result = 'queued' AND at_ms >= $3)";
    let found: Vec<(i64, String, i64)> = on_connection!(connected, |connection| {
        sqlx::query_as(SQL)
            .bind(customer)
            .bind(now_ms.saturating_sub(TOLD_AGAIN_MS))
            .bind(now_ms.saturating_sub(QUEUED_MS))
            // No cause is empty.
            .bind(besides.unwrap_or_default())
            .fetch_all(connection)
            .await
    })?;
    // The column's CHECK allows no other word.
    let told = found.into_iter().filter_map(|(contact, severity, at_ms)| {
        Some((contact, Told { at_ms, severity: Severity::from_name(&severity)? }))
    });
    Ok(told.collect())
}

/// How many contacts had which result since `since_ms`, of all people together.
pub async fn notice_counts(reader: &mut Reader, since_ms: UnixMs) -> Result<Vec<NoticeCount>, sqlx::Error> {
    const SQL: &str = "SELECT result, reason, COUNT(*) AS count FROM contact_notices WHERE at_ms >= $1 \
         GROUP BY result, reason ORDER BY result, reason";
    on_connection!(reader, |connection| sqlx::query_as(SQL).bind(since_ms).fetch_all(connection).await)
}
