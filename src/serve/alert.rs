//! What operators do in an emergency, said so that nobody overlooks it.

use keepwell_jobs::care::emergency::Switch;

/// Says what was done: `action` to `what`, because of `reason`.
pub(super) fn alerted(action: &'static str, what: &str, reason: &str, switch: Option<&Switch>) {
    let until_ms = switch.filter(|switch| switch.is_on).map(|switch| switch.until_ms);
    tracing::error!(alert = "emergency", action, what, reason, until_ms, "an emergency procedure was used");
}
