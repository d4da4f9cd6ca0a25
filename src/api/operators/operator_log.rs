//! What operators did, one line of the log each, beside their entries in the audit trail: the target is
//! `keepwell::audit`, which every plain log level lets through. Customers are in it as ids at most.

/// Logs the action `$action` with `$message`; fields as in `tracing`.
macro_rules! audit {
    ($action:literal, $message:literal $(, $($fields:tt)+)?) => {
        tracing::warn!(
            target: $crate::api::operators::operator_log::TARGET, action = $action, $($($fields)+,)? $message
        )
    };
}

/// The target of these lines.
pub(in crate::api) const TARGET: &str = "keepwell::audit";

pub(super) use audit;
