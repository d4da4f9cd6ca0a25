//! What is said for the audit about emergency contacts: the one place that says it.

use keepwell_workers::database::Transaction;
use serde_json::json;

use super::{
    audit::{Actor, AuditEntry, append},
    contacts::NoticeKey,
};

/// Where everything is said that was done in somebody's name.
const TARGET: &str = "keepwell::audit";

/// What became of one emergency contact.
#[derive(Debug, Clone, Copy)]
pub struct NoticeEntry<'n> {
    /// `contact.later`, `contact.queued`, `contact.notified`, `contact.perhaps_told` or `contact.skipped`.
    pub action: &'static str,
    /// Which one.
    pub key: NoticeKey<'n>,
    /// How, or why not.
    pub reason: Option<&'static str>,
}

/// Writes `entry` into the audit trail, and says it in the log once the transaction has committed. Who was in a crisis
/// is in no log, so the line names neither the subject nor the contact, whose number anybody can compute who knows
/// both; what made the crisis known leads to them, for whoever may look into the ledger.
pub(super) async fn append_notice(
    transaction: &mut Transaction,
    entry: &NoticeEntry<'_>,
) -> Result<(), sqlx::Error> {
    let NoticeEntry { action, key: NoticeKey { customer, cause, contact }, reason } = *entry;
    let cause = cause.to_owned();
    let audited = AuditEntry {
        at_ms: transaction.now_ms(),
        actor: Actor::System { job: "emergency contacts".to_owned() },
        action,
        subject: Some(customer.to_owned()),
        reason: reason.unwrap_or_default().to_owned(),
        before: None,
        after: Some(json!({ "cause": cause, "contact": format!("{contact:016x}") })),
    };
    append(transaction, &audited).await?;
    transaction.after_commit(move || {
        tracing::info!(target: TARGET, action, cause, reason, "emergency contact");
    });
    Ok(())
}
