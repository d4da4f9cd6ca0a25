//! What operators do, as entries of the audit trail.

use keepwell_jobs::store::audit::AuditEntry;
use serde_json::Value;

use super::super::{operator_name::OperatorName, state::ApiState};

/// Who did what to what, why, and what it is now.
pub(super) fn entry(
    state: &ApiState,
    operator: &OperatorName,
    action: &'static str,
    subject: Option<String>,
    reason: &str,
    after: Value,
) -> AuditEntry {
    AuditEntry {
        at_ms: state.clock.now_ms(),
        actor: operator.actor(),
        action,
        subject,
        reason: reason.to_owned(),
        before: None,
        after: Some(after).filter(|after| !after.is_null()),
    }
}

/// Writes down what has happened already, or was refused. Nothing is left undone because the trail cannot be written.
pub(super) async fn note(state: &ApiState, entry: &AuditEntry) {
    if let Err(error) = state.trail.record(entry).await {
        tracing::error!(error, action = entry.action, "what an operator did is not in the audit trail");
    }
}
