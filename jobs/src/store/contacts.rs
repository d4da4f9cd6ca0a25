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

/// The reason of those who may have been told: words were on their way to the gateway, and nobody knows that it took
/// them. The table has no result of its own for them.
const PERHAPS_TOLD: &str = "perhaps_told";

/// What became of a contact because of something: the key of a row.
#[derive(Debug, Clone, Copy)]
pub struct NoticeKey<'k> {
    /// Whose contact it is.
    pub customer: &'k str,
    /// The id of what made the crisis known.
    pub cause: &'k str,
    /// The contact's number ([`contact_number`]).
    pub contact: i64,
}

/// How many contacts had one result.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct NoticeCount {
    /// `later`, `queued`, `notified`, `perhaps_told` or `skipped`.
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

/// Keeps what becomes of a contact. Whoever may have been told stays so until they are known to have been, and whoever
/// is known to have been told stays that: of two runs of one job, the one that ends last may know less. What is older
/// than [`REMEMBERED_MS`] is forgotten.
pub async fn keep_notice(
    transaction: &mut Transaction,
    key: NoticeKey<'_>,
    severity: Severity,
    result: NoticeResult,
) -> Result<(), sqlx::Error> {
    const FORGET: &str = "DELETE FROM contact_notices WHERE customer = $1 AND at_ms < $2";
    const KEEP: &str = "INSERT INTO contact_notices \
         (customer, cause, contact, severity, result, reason, method, at_ms) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (customer, cause, contact) DO UPDATE SET \
         severity = excluded.severity, result = excluded.result, reason = excluded.reason, \
         method = excluded.method, at_ms = excluded.at_ms \
         WHERE excluded.result = 'notified' \
         OR contact_notices.result <> 'notified' AND COALESCE(contact_notices.reason, '') <> $9";
    const KNOWN: &str =
        "SELECT result FROM contact_notices WHERE customer = $1 AND cause = $2 AND contact = $3";
    let now_ms = transaction.now_ms();
    let (action, word, reason, method) = match result {
        NoticeResult::Later => ("contact.later", "later", None, None),
        NoticeResult::Queued(method) => ("contact.queued", "queued", None, Some(method.name())),
        NoticeResult::Notified(method) => ("contact.notified", "notified", None, Some(method.name())),
        NoticeResult::Skipped(why) => ("contact.skipped", "skipped", Some(why.name()), None),
    };
    on_connection!(transaction, |connection| {
        sqlx::query(FORGET)
            .bind(key.customer)
            .bind(now_ms.saturating_sub(REMEMBERED_MS))
            .execute(connection)
            .await
            .map(|_| ())
    })?;
    let kept = on_connection!(transaction, |connection| {
        sqlx::query(KEEP)
            .bind(key.customer)
            .bind(key.cause)
            .bind(key.contact)
            .bind(severity.name())
            .bind(word)
            .bind(reason)
            .bind(method)
            .bind(now_ms)
            .bind(PERHAPS_TOLD)
            .execute(connection)
            .await
            .map(|done| done.rows_affected() > 0)
    })?;
    let action = if kept {
        action
    } else {
        let known: Option<(String,)> = on_connection!(transaction, |connection| {
            let known = sqlx::query_as(KNOWN).bind(key.customer).bind(key.cause).bind(key.contact);
            known.fetch_optional(connection).await
        })?;
        if known.is_some_and(|(known,)| known == "notified") {
            return Ok(());
        }
        "contact.perhaps_told"
    };
    append_notice(transaction, &NoticeEntry { action, key, reason: reason.or(method) }).await
}

/// What a run finds that is about to tell a contact.
#[derive(Debug)]
pub enum Telling {
    /// They are known to have been told because of this.
    Told,
    /// They may have been told from now on. What was recorded until then, unless that was so before: then another run
    /// may be about to tell them as well, and nothing is taken back.
    Begun(Option<Before>),
}

/// What was recorded of a contact before they were about to be told, for [`not_yet_told`].
#[derive(Debug)]
pub struct Before {
    result: String,
    reason: Option<String>,
    method: Option<String>,
    begun_ms: UnixMs,
}

/// Notes, before words go to the gateway, that the contact may have been told from now on, whatever becomes of this
/// process.
pub async fn begin_telling(
    transaction: &mut Transaction,
    key: NoticeKey<'_>,
) -> Result<Telling, sqlx::Error> {
    // Takes the row. By its instant a run that began before sees that it is not the only one any more.
    const TAKE: &str = "UPDATE contact_notices SET at_ms = at_ms + 1 \
         WHERE customer = $1 AND cause = $2 AND contact = $3 RETURNING result, reason, method";
    const BEGIN: &str = "UPDATE contact_notices SET result = 'skipped', reason = $4, method = NULL, at_ms = $5 \
         WHERE customer = $1 AND cause = $2 AND contact = $3";
    type Row = (String, Option<String>, Option<String>);
    let begun_ms = transaction.now_ms();
    let known: Option<Row> = on_connection!(transaction, |connection| {
        let take = sqlx::query_as(TAKE).bind(key.customer).bind(key.cause).bind(key.contact);
        take.fetch_optional(connection).await
    })?;
    let Some((result, reason, method)) = known else { return Ok(Telling::Begun(None)) };
    if result == "notified" {
        return Ok(Telling::Told);
    }
    if reason.as_deref() == Some(PERHAPS_TOLD) {
        return Ok(Telling::Begun(None));
    }
    on_connection!(transaction, |connection| {
        sqlx::query(BEGIN)
            .bind(key.customer)
            .bind(key.cause)
            .bind(key.contact)
            .bind(PERHAPS_TOLD)
            .bind(begun_ms)
            .execute(connection)
            .await
            .map(|_| ())
    })?;
    append_notice(transaction, &NoticeEntry { action: "contact.perhaps_told", key, reason: None }).await?;
    Ok(Telling::Begun(Some(Before { result, reason, method, begun_ms })))
}

/// Takes [`begin_telling`] back, unless another run has begun to tell them since: the gateway has not taken the words.
pub async fn not_yet_told(
    transaction: &mut Transaction,
    key: NoticeKey<'_>,
    before: &Before,
) -> Result<(), sqlx::Error> {
    const SQL: &str = "UPDATE contact_notices SET result = $4, reason = $5, method = $6 \
         WHERE customer = $1 AND cause = $2 AND contact = $3 AND reason = $7 AND at_ms = $8";
    on_connection!(transaction, |connection| {
        sqlx::query(SQL)
            .bind(key.customer)
            .bind(key.cause)
            .bind(key.contact)
            .bind(&before.result)
            .bind(before.reason.as_deref())
            .bind(before.method.as_deref())
            .bind(PERHAPS_TOLD)
            .bind(before.begun_ms)
            .execute(connection)
            .await
            .map(|_| ())
    })
}

/// A contact who is about to be told: the row's key and instant, by which the next page begins.
#[derive(Debug, Clone, Default, sqlx::FromRow)]
pub(crate) struct QueuedNotice {
    pub(crate) at_ms: UnixMs,
    pub(crate) customer: String,
    pub(crate) cause: String,
    pub(crate) contact: i64,
}

/// At most `limit` contacts who are about to be told, behind `after`, in order.
pub(crate) async fn queued_notices(
    reader: &mut Reader,
    after: &QueuedNotice,
    limit: u32,
) -> Result<Vec<QueuedNotice>, sqlx::Error> {
    // The first condition is for the index, which neither database takes for the second.
    const SQL: &str = "SELECT at_ms, customer, cause, contact FROM contact_notices \
         WHERE at_ms >= $1 AND (at_ms, customer, cause, contact) > ($1, $2, $3, $4) AND result = 'queued' \
         ORDER BY at_ms, customer, cause, contact LIMIT $5";
    on_connection!(reader, |connection| {
        sqlx::query_as(SQL)
            .bind(after.at_ms)
            .bind(&after.customer)
            .bind(&after.cause)
            .bind(after.contact)
            .bind(i64::from(limit))
            .fetch_all(connection)
            .await
    })
}

/// Notes that nobody will tell the contact any more, if they were still to be told.
pub async fn keep_untold(transaction: &mut Transaction, key: NoticeKey<'_>) -> Result<(), sqlx::Error> {
    const SQL: &str = "UPDATE contact_notices SET result = 'skipped', method = NULL, \
         reason = CASE WHEN result = 'queued' THEN $4 ELSE reason END, \
         at_ms = CASE WHEN result = 'queued' THEN $5 ELSE at_ms END \
         WHERE customer = $1 AND cause = $2 AND contact = $3 AND (result = 'queued' OR reason = $6) RETURNING reason";
    let (now_ms, reason) = (transaction.now_ms(), Skipped::NotDelivered.name());
    let kept: Option<(String,)> = on_connection!(transaction, |connection| {
        sqlx::query_as(SQL)
            .bind(key.customer)
            .bind(key.cause)
            .bind(key.contact)
            .bind(reason)
            .bind(now_ms)
            .bind(PERHAPS_TOLD)
            .fetch_optional(connection)
            .await
    })?;
    let Some((kept,)) = kept else { return Ok(()) };
    let action = if kept == PERHAPS_TOLD { "contact.perhaps_told" } else { "contact.skipped" };
    append_notice(transaction, &NoticeEntry { action, key, reason: Some(reason) }).await
}

/// Which contacts of `customer` were told lately ([`TOLD_AGAIN_MS`]), or may have been or are about to be
/// ([`QUEUED_MS`]), not counting what becomes of them because of `besides`.
pub(crate) async fn contacts_told(
    connected: &mut impl Connected,
    customer: &str,
    besides: Option<&str>,
    now_ms: UnixMs,
) -> Result<Vec<(i64, Told)>, sqlx::Error> {
    const SQL: &str = "SELECT contact, severity, at_ms FROM contact_notices WHERE customer = $1 AND cause <> $4 \
         AND (result = 'notified' AND at_ms >= $2 OR (result = 'queued' OR reason = $5) AND at_ms >= $3)";
    let found: Vec<(i64, String, i64)> = on_connection!(connected, |connection| {
        sqlx::query_as(SQL)
            .bind(customer)
            .bind(now_ms.saturating_sub(TOLD_AGAIN_MS))
            .bind(now_ms.saturating_sub(QUEUED_MS))
            // No cause is empty.
            .bind(besides.unwrap_or_default())
            .bind(PERHAPS_TOLD)
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
    const SQL: &str = "SELECT CASE WHEN reason = $2 THEN reason ELSE result END AS result, \
         CASE WHEN reason = $2 THEN NULL ELSE reason END AS reason, COUNT(*) AS count \
         FROM contact_notices WHERE at_ms >= $1 GROUP BY 1, 2 ORDER BY 1, 2";
    on_connection!(reader, |connection| {
        sqlx::query_as(SQL).bind(since_ms).bind(PERHAPS_TOLD).fetch_all(connection).await
    })
}
