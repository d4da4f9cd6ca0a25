//! What is said for the audit about emergency contacts: the one place that says it.

use keepwell_workers::database::Transaction;

/// Where everything is said that was done in somebody's name.
const TARGET: &str = "keepwell::audit";

/// What became of one emergency contact.
#[derive(Debug, Clone, Copy)]
pub struct NoticeEntry<'n> {
    /// `contact.later`, `contact.queued`, `contact.notified` or `contact.skipped`.
    pub action: &'static str,
    /// Whose contact it is: a customer's id.
    pub subject: &'n str,
    /// The id of what made the crisis known.
    pub cause: &'n str,
    /// The number of the contact (see [`contact_number`](super::contact_number)).
    pub contact: i64,
    /// How, or why not.
    pub reason: Option<&'static str>,
}

/// Says `entry` once the transaction has committed. Who was in a crisis is in no log, so the line does not name the
/// subject; what made the crisis known leads to it, for whoever may look into the ledger.
pub(super) fn append_notice(transaction: &mut Transaction, entry: &NoticeEntry<'_>) {
    let NoticeEntry { action, cause, contact, reason, .. } = *entry;
    let cause = cause.to_owned();
    let contact = format!("{contact:016x}");
    transaction.after_commit(move || {
        tracing::info!(target: TARGET, action, cause, contact, reason, "emergency contact");
    });
}
