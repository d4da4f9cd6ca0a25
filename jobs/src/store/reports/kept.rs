//! Reports that were made. Their content is sealed, so that whoever can write the database and has no key cannot put
//! other figures into one.

use async_trait::async_trait;
use keepwell_workers::{
    clock::UnixMs,
    database::{Database, Durability, Reader, Transaction, turn::Urgency},
    id::JobId,
    on_connection,
    seal::{KeyRing, Sealed},
};
use serde::{Deserialize, Serialize};

use super::super::{
    audit::{Actor, AuditEntry, append},
    person_data::encode,
    rotation::{Place, SealedTable, SealedValue},
};
use crate::care::{
    document::UtcTime,
    report::{crisis::CrisisReport, operations::OperationsReport, period::Period},
};
use crate::reporting::ReportKind;

/// Reports of one kind and [length](LENGTHS_MS) that are kept, at most; of more, the oldest are let go. How long they
/// are kept is [`forget_reports`]' matter: made on schedule they never come to as many, at whatever they are set to
/// (9 000 days, or the hours of 365). It bounds what is asked for again and again.
pub const REPORTS_MAX: i64 = 10_000;

/// Reports that are let go in one transaction.
const REPORTS_PER_SWEEP: i64 = 100;

/// An hour, in milliseconds.
const HOUR_MS: i64 = 60 * 60 * 1_000;

/// What tells hours, days and everything longer apart, in milliseconds, so that none of them pushes another out: hours
/// are shorter than the first, days (of 23 to 25 hours) than the second.
const LENGTHS_MS: [i64; 2] = [12 * 60 * 60 * 1_000, 36 * 60 * 60 * 1_000];

/// What a report says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "report", rename_all = "snake_case")]
pub enum ReportContent {
    /// Crisis safety.
    Crisis(Box<CrisisReport>),
    /// Operations.
    Operations(Box<OperationsReport>),
}

impl ReportContent {
    /// Its kind, as it is called on the command line and in the table.
    pub const fn kind(&self) -> &'static str {
        match self {
            ReportContent::Crisis(_) => ReportKind::Crisis.name(),
            ReportContent::Operations(_) => ReportKind::Operations.name(),
        }
    }
}

/// A report in the list.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct KeptReport {
    /// Its identity, which carries the instant.
    pub id: String,
    /// `crisis` or `operations`.
    pub kind: String,
    /// The time it is about: from then on …
    pub from_ms: UnixMs,
    /// … up to then.
    pub to_ms: UnixMs,
    /// When it was made.
    pub made_ms: UnixMs,
}

fn context(id: &str) -> Vec<u8> {
    format!("compliance report\0{id}").into_bytes()
}

/// A report that is to be kept.
#[derive(Debug)]
pub struct NewReport<'r> {
    /// Its identity.
    pub id: JobId,
    /// The time it is about.
    pub period: Period,
    /// What it says.
    pub content: &'r ReportContent,
    /// Who made it.
    pub actor: Actor,
}

/// Keeps `content` about `period`, made by `actor`; it and its entry in the audit trail are on disk when this returns.
pub async fn keep_report(
    database: &Database,
    keys: &KeyRing,
    period: Period,
    content: &ReportContent,
    actor: Actor,
    now_ms: UnixMs,
) -> Result<KeptReport, sqlx::Error> {
    let mut transaction = database.begin(Urgency::General, Durability::Durable, now_ms).await?;
    let report = NewReport { id: JobId::new(now_ms), period, content, actor };
    let kept = keep_report_in(&mut transaction, keys, report).await?;
    transaction.commit().await?;
    Ok(kept)
}

/// The same as a part of `transaction`.
pub async fn keep_report_in(
    transaction: &mut Transaction,
    keys: &KeyRing,
    report: NewReport<'_>,
) -> Result<KeptReport, sqlx::Error> {
    const KEEP: &str = "INSERT INTO compliance_reports (id, kind, from_ms, to_ms, made_ms, key_id, sealed) \
         VALUES ($1, $2, $3, $4, $5, $6, $7)";
    const LET_GO: &str = "DELETE FROM compliance_reports \
         WHERE kind = $1 AND to_ms - from_ms >= $2 AND to_ms - from_ms < $3 AND id <= \
         (SELECT id FROM compliance_reports WHERE kind = $1 AND to_ms - from_ms >= $2 AND to_ms - from_ms < $3 \
          ORDER BY id DESC LIMIT 1 OFFSET $4)";
    let NewReport { id, period: Period { from_ms, to_ms }, content, actor } = report;
    let (id, kind, now_ms) = (id.to_string(), content.kind(), transaction.now_ms());
    let (longer_ms, shorter_ms) = lengths_like(to_ms - from_ms);
    let text = serde_json::to_vec(content).map_err(|error| sqlx::Error::Encode(error.into()))?;
    let sealed = keys.seal(&context(&id), &text).map_err(encode)?;
    on_connection!(transaction, |connection| {
        sqlx::query(KEEP)
            .bind(&id)
            .bind(kind)
            .bind(from_ms)
            .bind(to_ms)
            .bind(now_ms)
            .bind(&*sealed.key_id)
            .bind(&sealed.bytes)
            .execute(connection)
            .await
            .map(|_| ())
    })?;
    on_connection!(transaction, |connection| {
        sqlx::query(LET_GO)
            .bind(kind)
            .bind(longer_ms)
            .bind(shorter_ms)
            .bind(REPORTS_MAX)
            .execute(connection)
            .await
            .map(|_| ())
    })?;
    let after = serde_json::json!({ "kind": kind, "from": UtcTime(from_ms), "to": UtcTime(to_ms) });
    let entry = AuditEntry {
        at_ms: now_ms,
        actor,
        action: "report.made",
        subject: Some(id.clone()),
        reason: "a compliance report was made".to_owned(),
        before: None,
        after: Some(after),
    };
    append(transaction, &entry).await?;
    Ok(KeptReport { id, kind: kind.to_owned(), from_ms, to_ms, made_ms: now_ms })
}

/// For how long reports are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReportsKept {
    /// Those about an hour or less, in milliseconds.
    pub hourly_ms: i64,
    /// All others, in milliseconds.
    pub others_ms: i64,
}

/// Lets a batch of reports go that were made longer ago than they are `kept`; whether there may be more. Nobody writes
/// while it is looked for.
pub async fn forget_reports(
    database: &Database,
    kept: ReportsKept,
    now_ms: UnixMs,
) -> Result<bool, sqlx::Error> {
    const FIND: &str = "SELECT id FROM compliance_reports \
         WHERE (made_ms < $1 AND to_ms - from_ms < $3) OR (made_ms < $2 AND to_ms - from_ms >= $3) \
         ORDER BY id LIMIT $4";
    const LET_GO: &str = "DELETE FROM compliance_reports WHERE id = $1";
    let mut reader = database.reader(Urgency::General).await?;
    let found: Vec<(String,)> = on_connection!(reader, |connection| {
        sqlx::query_as(FIND)
            .bind(now_ms.saturating_sub(kept.hourly_ms))
            .bind(now_ms.saturating_sub(kept.others_ms))
            .bind(HOUR_MS + 1)
            .bind(REPORTS_PER_SWEEP)
            .fetch_all(connection)
            .await
    })?;
    drop(reader);
    if found.is_empty() {
        return Ok(false);
    }
    let mut transaction = database.begin(Urgency::General, Durability::Relaxed, now_ms).await?;
    for (id,) in &found {
        on_connection!(transaction, |connection| {
            sqlx::query(LET_GO).bind(id).execute(connection).await.map(|_| ())
        })?;
    }
    transaction.commit().await?;
    Ok(found.len() as i64 == REPORTS_PER_SWEEP)
}

/// The lengths that count as the same as `length_ms`: from the first to before the second.
fn lengths_like(length_ms: i64) -> (i64, i64) {
    let longer_ms = LENGTHS_MS.into_iter().rfind(|edge_ms| *edge_ms <= length_ms);
    let shorter_ms = LENGTHS_MS.into_iter().find(|edge_ms| *edge_ms > length_ms);
    (longer_ms.unwrap_or(0), shorter_ms.unwrap_or(i64::MAX))
}

/// At most `limit` reports older than `before` (or the newest ones), the newest first, and how many there are in all.
pub async fn reports(
    database: &Database,
    before: Option<&str>,
    limit: u32,
) -> Result<(Vec<KeptReport>, u64), sqlx::Error> {
    const COUNT: &str = "SELECT COUNT(*) FROM compliance_reports";
    const LIST: &str = "SELECT id, kind, from_ms, to_ms, made_ms FROM compliance_reports WHERE id < $1 \
         ORDER BY id DESC LIMIT $2";
    let mut reader = database.reader(Urgency::General).await?;
    let (total,): (i64,) =
        on_connection!(reader, |connection| sqlx::query_as(COUNT).fetch_one(connection).await)?;
    // Behind every id, in every collation: those are hexadecimal digits and hyphens.
    let before = before.unwrap_or("g");
    let found = on_connection!(reader, |connection| {
        sqlx::query_as(LIST).bind(before).bind(i64::from(limit)).fetch_all(connection).await
    })?;
    Ok((found, u64::try_from(total).unwrap_or(0)))
}

/// What is found of a report.
#[derive(Debug, Clone, PartialEq)]
pub enum FoundReport {
    /// There is none, or it was let go.
    Nothing,
    /// Somebody changed it, or the key that sealed it is not in the ring: nobody can say what it said.
    Unreadable,
    /// The report.
    Report(ReportContent),
}

/// The report `id`.
pub async fn report(database: &Database, keys: &KeyRing, id: &str) -> Result<FoundReport, sqlx::Error> {
    let mut reader = database.reader(Urgency::General).await?;
    let Some(found) = Reports.read(&mut reader, id).await? else { return Ok(FoundReport::Nothing) };
    let text = keys.open(&found.context, &found.key_id, &found.sealed).unwrap_or_default();
    Ok(serde_json::from_slice(&text).map_or(FoundReport::Unreadable, FoundReport::Report))
}

/// The table, as a rotation of keys sees it.
#[derive(Debug)]
pub(in crate::store) struct Reports;

#[async_trait]
impl SealedTable for Reports {
    fn name(&self) -> &'static str {
        "compliance_reports"
    }

    async fn look(&self, reader: &mut Reader, after: &str, limit: i64) -> Result<Vec<Place>, sqlx::Error> {
        const SQL: &str = "SELECT id, key_id, CAST(length(sealed) AS BIGINT) FROM compliance_reports \
             WHERE id > $1 ORDER BY id LIMIT $2";
        let rows: Vec<(String, String, i64)> = on_connection!(reader, |connection| {
            sqlx::query_as(SQL).bind(after).bind(limit).fetch_all(connection).await
        })?;
        let place = |(name, key_id, bytes): (String, String, i64)| Place {
            name,
            key_id,
            bytes: u64::try_from(bytes).unwrap_or(0),
        };
        Ok(rows.into_iter().map(place).collect())
    }

    async fn read(&self, reader: &mut Reader, place: &str) -> Result<Option<SealedValue>, sqlx::Error> {
        const SQL: &str = "SELECT key_id, sealed FROM compliance_reports WHERE id = $1";
        let found: Option<(String, Vec<u8>)> = on_connection!(reader, |connection| {
            sqlx::query_as(SQL).bind(place).fetch_optional(connection).await
        })?;
        Ok(found.map(|(key_id, sealed)| SealedValue { context: context(place), key_id, sealed }))
    }

    async fn replace(
        &self,
        transaction: &mut Transaction,
        place: &str,
        old: &SealedValue,
        new: &Sealed,
    ) -> Result<(), sqlx::Error> {
        const SQL: &str =
            "UPDATE compliance_reports SET key_id = $2, sealed = $3 WHERE id = $1 AND key_id = $4";
        on_connection!(transaction, |connection| {
            sqlx::query(SQL)
                .bind(place)
                .bind(&*new.key_id)
                .bind(&new.bytes)
                .bind(&old.key_id)
                .execute(connection)
                .await
                .map(|_| ())
        })
    }
}
