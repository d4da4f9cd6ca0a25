//! Crises: whether somebody is in one, of what kind and how severe (003: crisis detection).
//!
//! A crisis is open if a sign that counts by itself came at or after the newest "resolved" and not too long ago
//! ([`Severity::counts_for_ms`]). Payment and system trouble makes an open crisis more severe. In a high-risk period
//! (a while after an elevated score) trouble with a payment makes a crisis by itself; so does a payment that fails
//! again in the crisis window that stays open for a while after a "resolved". All of it follows from the set of signs
//! alone, so the order in which they arrive makes no difference.

use keepwell_workers::clock::UnixMs;

use super::definitions::Definitions;

pub use super::{
    crisis_signal::{
        Bearing, CrisisKind, LATE_MS, Road, Signal, Source, event_time_ms, past_event_time_ms,
        resolved_time_ms, signal_time_ms,
    },
    severity::{EMERGENCY_FEATURES, EmergencyLevel, HIGH_LIMIT_MS, HOTLINE_LIMIT_MS, Severity},
};

/// An open crisis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crisis {
    /// What kind of trouble its signs tell of.
    pub kind: CrisisKind,
    /// The highest of its signs.
    pub severity: Severity,
    /// When the first of its signs came that still counts.
    pub since_ms: UnixMs,
    /// When it is over if there is no further sign and nobody says so before; not included.
    pub ends_ms: UnixMs,
}

/// What the signs are judged by.
#[derive(Debug, Clone, Copy)]
pub struct Circumstances {
    /// The newest "resolved".
    pub resolved_ms: Option<UnixMs>,
    /// The person was in a crisis, and its consequences last. Without that nothing was resolved.
    pub vulnerable: bool,
    /// What the words mean.
    pub definitions: Definitions,
    /// When it is asked.
    pub now_ms: UnixMs,
}

/// The open crisis that `signals` show.
pub fn detect<'s>(
    signals: &(impl Iterator<Item = &'s Signal> + Clone),
    circumstances: &Circumstances,
) -> Option<Crisis> {
    let Circumstances { resolved_ms, vulnerable, definitions, now_ms } = *circumstances;
    let counting = signals.clone().filter(|signal| {
        signal.bearing() != Bearing::Risk
            && resolved_ms.is_none_or(|resolved_ms| signal.at_ms >= resolved_ms)
            && counts_until_ms(signal) > now_ms
    });
    let window =
        resolved_ms.filter(|_| vulnerable).map(|from_ms| from_ms..=definitions.window_ends_ms(from_ms));
    let fails_in_window = |signal: &&Signal| {
        signal.source.is_payment_failure()
            && window.as_ref().is_some_and(|window| window.contains(&signal.at_ms))
    };
    let fails_again = is_repeated(signals.clone().filter(fails_in_window));
    let stands = |signal: &Signal| match signal.bearing() {
        Bearing::ByItself => true,
        Bearing::InHighRisk => {
            is_high_risk(signals.clone(), &definitions, signal.at_ms)
                || fails_again && fails_in_window(&signal)
        }
        Bearing::InCrisis | Bearing::Risk => false,
    };
    let standing = counting.clone().filter(|signal| stands(signal));
    let since_ms = standing.clone().map(|signal| signal.at_ms).min()?;
    let part = counting.filter(|signal| signal.at_ms >= since_ms);
    let repeated = is_repeated(part.clone().filter(|signal| signal.source.is_payment_failure()));
    let severity = part.clone().map(|signal| signal.severity).max()?;
    Some(Crisis {
        kind: part.map(|signal| signal.source.kind()).reduce(CrisisKind::with)?,
        severity: if repeated { severity.max(Severity::High) } else { severity },
        since_ms,
        ends_ms: standing.map(counts_until_ms).max()?,
    })
}

/// Whether `at_ms` lies in a high-risk period.
pub fn is_high_risk<'s>(
    mut signals: impl Iterator<Item = &'s Signal>,
    definitions: &Definitions,
    at_ms: UnixMs,
) -> bool {
    signals.any(|signal| {
        signal.bearing() == Bearing::Risk
            && (signal.at_ms..definitions.high_risk_ends_ms(signal.at_ms)).contains(&at_ms)
    })
}

/// Until when a sign counts if nobody says that the crisis is over; not included. Counted from the begin of its second,
/// because what Stripe tells counts as of the end of one, and no crisis is to outlive its grace period.
pub const fn counts_until_ms(signal: &Signal) -> UnixMs {
    let second_ms = signal.at_ms.saturating_sub(signal.at_ms.rem_euclid(1_000));
    second_ms.saturating_add(signal.severity.counts_for_ms())
}

/// Until when a sign is remembered: for as long as it, or another one because of it, can count; not included.
pub const fn remembered_until_ms(signal: &Signal, definitions: &Definitions) -> UnixMs {
    // What fails in a high-risk period or in a crisis window counts for at most so long after it.
    let after_ms = Severity::High.counts_for_ms();
    match signal.bearing() {
        Bearing::Risk => definitions.high_risk_ends_ms(signal.at_ms).saturating_add(after_ms),
        _ if signal.source.is_payment_failure() => signal.at_ms.saturating_add(after_ms),
        _ => counts_until_ms(signal),
    }
}

/// A payment that failed twice, or once and said that it was not the first time.
fn is_repeated<'s>(failures: impl Iterator<Item = &'s Signal>) -> bool {
    let weight = |signal: &Signal| if signal.source == Source::RepeatedFailure { 2 } else { 1 };
    failures.map(weight).sum::<u32>() > 1
}
