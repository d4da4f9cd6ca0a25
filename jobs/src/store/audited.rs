//! What is audited of emergencies (003: `createEmergencyAccessAudit`, `auditCrisisViolation`).

use keepwell_workers::{clock::UnixMs, database::Transaction};
use serde_json::Value;

use super::audit::{Actor, AuditEntry, append};

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

/// Writes `entry` into the audit trail, and into the log: both exactly if `transaction` commits.
pub(super) async fn audited(transaction: &mut Transaction, entry: &Audited<'_>) -> Result<(), sqlx::Error> {
    let Audited { at_ms, who, action, subject, reason, before, after } = entry.clone();
    let actor = match who {
        Who::EmergencyToken => Actor::Operator { name: "emergency token".to_owned() },
        Who::Watch { job } => Actor::System { job: format!("watch over {job}") },
    };
    let (subject, reason) = (subject.to_owned(), reason.to_owned());
    let entry = AuditEntry { at_ms, actor, action, subject: Some(subject), reason, before, after };
    append(transaction, &entry).await?;
    transaction.after_commit(move || {
        let AuditEntry { at_ms, actor, action, subject, .. } = entry;
        // A switch is told by its name, a person by the job that was watched over.
        let switch = subject.filter(|_| matches!(actor, Actor::Operator { .. }));
        tracing::warn!(target: "keepwell::audit", at_ms, who = actor.name(), action, switch, "audited");
    });
    Ok(())
}
