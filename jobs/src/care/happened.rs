//! What happens to people, for tests.

use keepwell_workers::clock::UnixMs;

use super::{
    crisis::{Road, Severity, Signal, Source},
    facts::{Facts, PaymentFailure},
};

/// A payment of theirs fails.
pub(super) fn failed(facts: &mut Facts, invoice: &str, at_ms: UnixMs) {
    let failure = PaymentFailure {
        invoice: invoice.into(),
        subscription: None,
        attempt_count: 1,
        event_created_s: at_ms / 1_000,
        event_id: format!("evt_{invoice}_{at_ms}"),
        road: Road::Brought,
    };
    facts.payment_failed(failure, at_ms);
}

/// They press the button.
pub(super) fn in_crisis(facts: &mut Facts, severity: Severity, at_ms: UnixMs) {
    let signal = Signal { source: Source::Button, severity, at_ms, only_in_crisis: false };
    facts.signalled(format!("sig_{at_ms}"), signal, at_ms);
}
