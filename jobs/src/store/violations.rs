//! Crises that were not answered within their time.

use keepwell_workers::{clock::UnixMs, database::Transaction, on_connection};

use serde_json::json;

use super::audited::{Audited, Who, audited};
use crate::care::severity::Severity;

/// A crisis that was not answered within its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The job that should have answered it.
    pub id: String,
    /// Whose crisis.
    pub customer: String,
    /// How severe.
    pub severity: Severity,
    /// When it was noticed.
    pub at_ms: UnixMs,
    /// How long it may take, in milliseconds.
    pub limit_ms: i64,
    /// How long nothing had been answered then, in milliseconds.
    pub took_ms: i64,
}

/// Keeps `violation` once and audits it. The customer's row must have been taken before.
pub async fn keep_violation(transaction: &mut Transaction, violation: &Violation) -> Result<(), sqlx::Error> {
    const SQL: &str = "INSERT INTO crisis_violations (id, customer, severity, at_ms, limit_ms, took_ms) \
         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (id) DO NOTHING";
    let is_new = on_connection!(transaction, |connection| {
        sqlx::query(SQL)
            .bind(&violation.id)
            .bind(&violation.customer)
            .bind(violation.severity.name())
            .bind(violation.at_ms)
            .bind(violation.limit_ms)
            .bind(violation.took_ms.max(violation.limit_ms))
            .execute(connection)
            .await
            .map(|done| done.rows_affected() > 0)
    })?;
    if !is_new {
        return Ok(());
    }
    let entry = Audited {
        at_ms: violation.at_ms,
        who: Who::Watch { job: &violation.id },
        action: "crisis.answered_late",
        subject: &violation.customer,
        reason: violation.severity.name(),
        before: None,
        after: Some(json!({ "limit_ms": violation.limit_ms, "took_ms": violation.took_ms })),
    };
    audited(transaction, &entry).await
}
