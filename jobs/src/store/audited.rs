//! What is audited of emergencies (003: `createEmergencyAccessAudit`, `auditCrisisViolation`).

use keepwell_workers::{clock::UnixMs, database::Transaction};
use serde_json::Value;

/// Who did it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Who<'e> {
    /// Whoever has the token of the emergency endpoints.
    EmergencyToken,
    /// keepwell itself, as it watched over this job.
    Watch {
        /// The job.
        job: &'e str,
    },
}

/// What was done.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Audited<'e> {
    /// When.
    pub(super) at_ms: UnixMs,
    /// By whom.
    pub(super) who: Who<'e>,
    /// What, in dotted words.
    pub(super) action: &'static str,
    /// To whom or what: a customer's id, a switch.
    pub(super) subject: &'e str,
    /// Why.
    pub(super) reason: &'e str,
    /// What it was before.
    pub(super) before: Option<Value>,
    /// What it is now.
    pub(super) after: Option<Value>,
}

/// Audits `entry`: it is told exactly if `transaction` commits.
#[allow(clippy::unused_async, reason = "an audit trail in the database is written by awaiting")]
pub(super) async fn audited(transaction: &mut Transaction, entry: &Audited<'_>) -> Result<(), sqlx::Error> {
    let Audited { at_ms, who, action, subject, reason, before, after } = entry.clone();
    let who = match who {
        Who::EmergencyToken => "emergency token".to_owned(),
        Who::Watch { job } => format!("watch over {job}"),
    };
    let (subject, reason) = (subject.to_owned(), reason.to_owned());
    let [before, after] = [before, after].map(|value| value.map(|value| value.to_string()));
    transaction.after_commit(move || {
        tracing::warn!(target: "keepwell::audit", at_ms, who, action, subject, reason, before, after, "audited");
    });
    Ok(())
}
