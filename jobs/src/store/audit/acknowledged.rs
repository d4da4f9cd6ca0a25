//! What somebody has looked into: an entry of the trail says of one finding who has, when and why. The finding stays
//! one, and is told apart from those that nobody has looked into yet.
//!
//! An acknowledgement names the [fingerprint](Finding::fingerprint) of what was found, so it covers nothing else at the
//! same place. It counts if it can be opened: whoever has no key of the ring can neither make one nor have another one
//! stand for it, and one that somebody put in by hand is a finding itself. One that is gone covers nothing any more.

use std::collections::{BTreeSet, HashMap};

use keepwell_workers::{
    database::{Database, turn::Urgency},
    on_connection,
    seal::KeyRing,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::QueryBuilder;

use super::{
    super::connected::Connected,
    entry::{Actor, AuditEntry, COLUMNS, EntryRow},
    finding::Finding,
};
use crate::care::document::UtcTime;

/// What an entry says that acknowledges a finding.
const ACKNOWLEDGED: &str = "audit.finding_acknowledged";

/// Fingerprints in one statement.
const FINGERPRINTS_PER_STATEMENT: usize = 256;

/// Acknowledgements that are opened for one statement. Of one finding there are more only if somebody put them in by
/// hand, and then it is found.
const OPENED_MAX: i64 = 1_000;

/// Who has looked into a finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledged {
    /// Who, as the trail names them.
    pub by: String,
    /// When.
    pub at: String,
    /// What they found out.
    pub reason: String,
}

/// The entry with which `actor` acknowledges `finding`.
pub fn acknowledgement(finding: &Finding, actor: Actor, reason: &str, at_ms: i64) -> AuditEntry {
    AuditEntry {
        at_ms,
        actor,
        action: ACKNOWLEDGED,
        subject: Some(finding.fingerprint.clone()),
        reason: reason.to_owned(),
        before: None,
        after: Some(json!({
            "problem": finding.problem, "block": finding.block, "position": finding.position,
            "entry": finding.entry, "detail": finding.detail,
        })),
    }
}

/// Which of `fingerprints` somebody has acknowledged.
pub async fn acknowledged_of(
    database: &Database,
    keys: &KeyRing,
    fingerprints: &BTreeSet<String>,
) -> Result<BTreeSet<String>, sqlx::Error> {
    let asked: Vec<&str> = fingerprints.iter().map(String::as_str).collect();
    let mut reader = database.reader(Urgency::General).await?;
    Ok(look_for(&mut reader, keys, &asked).await?.into_keys().collect())
}

/// Marks those of `findings` that somebody has acknowledged.
pub(super) async fn mark(
    reader: &mut impl Connected,
    keys: &KeyRing,
    findings: &mut [Finding],
) -> Result<(), sqlx::Error> {
    let asked: Vec<&str> = findings.iter().map(|finding| finding.fingerprint.as_str()).collect();
    let known = look_for(reader, keys, &asked).await?;
    for finding in findings {
        finding.acknowledged = known.get(&finding.fingerprint).cloned().map(Box::new);
    }
    Ok(())
}

/// Which of `fingerprints` somebody has acknowledged, and who.
pub(super) async fn look_for(
    reader: &mut impl Connected,
    keys: &KeyRing,
    fingerprints: &[&str],
) -> Result<HashMap<String, Acknowledged>, sqlx::Error> {
    let mut known = HashMap::new();
    let asked: Vec<&str> = fingerprints.iter().copied().filter(|print| !print.is_empty()).collect();
    for piece in asked.chunks(FINGERPRINTS_PER_STATEMENT) {
        let rows: Vec<EntryRow> = on_connection!(reader, |connection| {
            let sql = format!("SELECT {COLUMNS} FROM audit_entries WHERE action = ");
            let mut statement = QueryBuilder::new(sql);
            statement.push_bind(ACKNOWLEDGED).push(" AND subject IN (");
            let mut subjects = statement.separated(", ");
            for fingerprint in piece {
                subjects.push_bind(*fingerprint);
            }
            statement.push(") ORDER BY id LIMIT ").push_bind(OPENED_MAX);
            statement.build_query_as().fetch_all(connection).await
        })?;
        for entry in rows.into_iter().map(|row| row.view(keys)).filter(|entry| entry.readable) {
            let Some(fingerprint) = entry.subject else { continue };
            let (by, at) = (entry.actor, UtcTime(entry.at_ms).to_rfc3339());
            known.entry(fingerprint).or_insert(Acknowledged { by, at, reason: entry.reason });
        }
    }
    Ok(known)
}
