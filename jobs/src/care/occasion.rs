//! When a person is told something, and what about: at most one thing for one change, and never about money in a
//! crisis.
//!
//! The seeds name the messages and not their number. Somebody who is unwell should hear as little as possible of what
//! they need not do anything about, so most changes are silent: they stand in the access document.

use keepwell_workers::clock::UnixMs;
use serde::{Deserialize, Serialize};

use super::{
    facts::Facts,
    grace::{DAY_MS, GraceReason},
    running::{running_grace, written_end_ms},
};

/// How long before its end a grace period is said to be ending, in milliseconds. The seeds give no number.
pub const ENDING_SOON_MS: i64 = 2 * DAY_MS;

/// By how much the end has to move away for somebody to be told, in milliseconds: less is no news. The seeds give no
/// number.
pub const EXTENSION_TOLD_MS: i64 = 3 * DAY_MS;

/// What somebody is told about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Occasion {
    /// A crisis has begun.
    CrisisActive,
    /// Grace has begun, or has another reason now.
    GraceStarted(GraceReason),
    /// Grace lasts longer than was said before, for this reason.
    GraceExtended(GraceReason),
    /// Grace for this reason ends in [`ENDING_SOON_MS`].
    GraceEndingSoon(GraceReason),
    /// Grace for this reason is over.
    GraceEnded(GraceReason),
    /// What was missing is paid.
    Recovered,
}

impl Occasion {
    /// The name of its text.
    pub const fn key(self) -> &'static str {
        match self {
            Occasion::CrisisActive => "crisis_active",
            Occasion::GraceStarted(reason) => match reason {
                GraceReason::CrisisDetected => "crisis_detected",
                GraceReason::PaymentFailure => "payment_failure",
                GraceReason::SubscriptionCanceled => "subscription_canceled",
                GraceReason::SystemError => "system_error",
            },
            Occasion::GraceExtended(_) => "grace_extended",
            Occasion::GraceEndingSoon(_) => "grace_ending_soon",
            Occasion::GraceEnded(_) => "grace_ended",
            Occasion::Recovered => "recovered",
        }
    }

    /// Whether somebody may want to pay, if they like.
    pub const fn is_about_money(self) -> bool {
        match self {
            Occasion::CrisisActive | Occasion::Recovered => false,
            Occasion::GraceStarted(reason)
            | Occasion::GraceExtended(reason)
            | Occasion::GraceEndingSoon(reason)
            | Occasion::GraceEnded(reason) => is_about_money(reason),
        }
    }
}

/// What to tell the person about, after what is known became `after`.
pub fn occasion(before: &Facts, after: &Facts, now_ms: UnixMs) -> Option<Occasion> {
    if after.crisis(now_ms).is_some() {
        return before.crisis(now_ms).is_none().then_some(Occasion::CrisisActive);
    }
    let (ran, runs) = (running_grace(before, now_ms), running_grace(after, now_ms));
    match (ran, runs) {
        (None, Some(runs)) if runs.reason == GraceReason::SystemError && after.has_running_subscription() => {
            None
        }
        (None, Some(runs)) => Some(Occasion::GraceStarted(runs.reason)),
        (Some(ran), Some(runs)) if is_about_money(ran.reason) && !is_about_money(runs.reason) => {
            recovered(before, after).then_some(Occasion::Recovered)
        }
        (Some(ran), Some(runs)) if ran.reason > runs.reason && is_about_money(runs.reason) => {
            Some(Occasion::GraceStarted(runs.reason))
        }
        (Some(_), Some(runs)) => {
            let written_ms = written_end_ms(before).unwrap_or(runs.ends_ms);
            let more_ms = runs.ends_ms.saturating_sub(written_ms);
            (more_ms >= EXTENSION_TOLD_MS).then_some(Occasion::GraceExtended(runs.reason))
        }
        (Some(_), None) if recovered(before, after) => Some(Occasion::Recovered),
        (Some(_) | None, None) => ended(before, after),
    }
}

/// What to tell the person about when [`ENDING_SOON_MS`] before the end at `ends_ms` has come.
pub fn ending_soon(facts: &Facts, ends_ms: UnixMs, now_ms: UnixMs) -> Option<Occasion> {
    let grace = running_grace(facts, now_ms)?;
    let silent =
        grace.ends_ms != ends_ms || facts.crisis(now_ms).is_some() || facts.has_running_subscription();
    (!silent).then_some(Occasion::GraceEndingSoon(grace.reason))
}

pub(super) const fn is_about_money(reason: GraceReason) -> bool {
    matches!(reason, GraceReason::PaymentFailure | GraceReason::SubscriptionCanceled)
}

/// Whether trouble with money was open before and none is now. What turns out to have been nothing was not open, and
/// nobody is told that it is paid.
fn recovered(before: &Facts, after: &Facts) -> bool {
    let open = |facts: &Facts| {
        let mut graces = facts.graces.iter().filter(|(key, _)| !after.was_nothing(key));
        graces.any(|(key, grace)| is_about_money(key.reason) && !grace.closed && !facts.has_recovered(key))
    };
    open(before) && !open(after) && after.has_running_subscription()
}

/// Whether the last grace was closed just now, and somebody who has nothing else is left with the floor.
fn ended(before: &Facts, after: &Facts) -> Option<Occasion> {
    let closed = after.graces.iter().filter(|(key, grace)| {
        grace.closed && !after.has_recovered(key) && before.graces.get(key).is_some_and(|known| !known.closed)
    });
    let reason = closed.map(|(key, _)| key.reason).min()?;
    (!after.has_running_subscription()).then_some(Occasion::GraceEnded(reason))
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            crisis::Severity,
            happened::{failed, in_crisis},
            subscription::{SubscriptionSnapshot, SubscriptionStatus},
        },
        *,
    };

    const NOW_MS: UnixMs = 1_700_000_000_000;

    fn subscribed(facts: &mut Facts, status: &str, at_ms: UnixMs) {
        let snapshot = SubscriptionSnapshot {
            id: "sub_1".into(),
            status: SubscriptionStatus::from_name(status),
            prices: vec![],
            period_end_s: None,
            cancel_at_s: None,
            latest_invoice: Some("in_1".into()),
            event_created_s: at_ms / 1_000,
            event_id: format!("evt_{status}_{at_ms}"),
        };
        facts.subscription_changed(snapshot, at_ms);
    }

    /// What is told when `change` is learned at `now_ms`.
    fn told(facts: &mut Facts, now_ms: UnixMs, change: impl FnOnce(&mut Facts)) -> Option<Occasion> {
        let before = facts.clone();
        change(facts);
        facts.close_ended_graces(now_ms);
        occasion(&before, facts, now_ms)
    }

    #[test]
    fn each_begin_is_told_with_its_reason() {
        use GraceReason::{CrisisDetected, PaymentFailure, SubscriptionCanceled, SystemError};
        let nobody = || Facts::about("cus_1");
        let mut facts = nobody();
        let payment = told(&mut facts, NOW_MS, |facts| failed(facts, "in_1", NOW_MS));
        assert_eq!(payment, Some(Occasion::GraceStarted(PaymentFailure)));
        let mut facts = nobody();
        subscribed(&mut facts, "active", NOW_MS - 1_000);
        let ended = told(&mut facts, NOW_MS, |facts| subscribed(facts, "canceled", NOW_MS));
        assert_eq!(ended, Some(Occasion::GraceStarted(SubscriptionCanceled)));
        // A payment that fails besides is another reason; a cancellation after it is not.
        let payment = told(&mut facts, NOW_MS, |facts| failed(facts, "in_9", NOW_MS));
        assert_eq!(payment, Some(Occasion::GraceStarted(PaymentFailure)));
        let fault = |facts: &mut Facts| facts.system_failed("tool".into(), NOW_MS, NOW_MS);
        assert_eq!(told(&mut nobody(), NOW_MS, fault), Some(Occasion::GraceStarted(SystemError)));
        assert_eq!(told(&mut facts, NOW_MS, fault), None);
        let mut paying = nobody();
        subscribed(&mut paying, "active", NOW_MS);
        assert_eq!(told(&mut paying, NOW_MS, fault), None);
        assert_eq!(told(&mut paying, NOW_MS + 3 * DAY_MS, |_| {}), None, "nothing was missing");
        // A crisis that was over before it was told of still leaves its grace.
        let mut facts = nobody();
        facts.crisis_resolved(NOW_MS, NOW_MS);
        let late = told(&mut facts, NOW_MS, |facts| in_crisis(facts, Severity::High, NOW_MS - 1));
        assert_eq!(late, Some(Occasion::GraceStarted(CrisisDetected)));
    }

    #[test]
    fn a_crisis_is_told_once_and_nothing_else_while_it_lasts() {
        let mut facts = Facts::about("cus_1");
        subscribed(&mut facts, "active", NOW_MS - 9_000);
        let begun = told(&mut facts, NOW_MS, |facts| in_crisis(facts, Severity::Moderate, NOW_MS));
        assert_eq!(begun, Some(Occasion::CrisisActive));
        let more: [fn(&mut Facts); 4] = [
            |facts| in_crisis(facts, Severity::Critical, NOW_MS + 1),
            |facts| failed(facts, "in_1", NOW_MS + 2),
            |facts| subscribed(facts, "canceled", NOW_MS + 1_000),
            |facts| facts.invoice_paid("in_1", Some("sub_1".into()), NOW_MS / 1_000 + 9, NOW_MS),
        ];
        for change in more {
            assert_eq!(told(&mut facts, NOW_MS + 2_000, change), None);
        }
        assert_eq!(
            told(&mut facts, NOW_MS + 3_000, |facts| facts.crisis_resolved(NOW_MS + 3_000, NOW_MS)),
            None
        );
    }

    #[test]
    fn an_extension_is_told_from_three_days_on() {
        assert_eq!((ENDING_SOON_MS, EXTENSION_TOLD_MS), (172_800_000, 259_200_000));
        for (later_ms, expected) in [
            (EXTENSION_TOLD_MS - 1, None),
            (EXTENSION_TOLD_MS, Some(Occasion::GraceExtended(GraceReason::PaymentFailure))),
        ] {
            let mut facts = Facts::about("cus_1");
            failed(&mut facts, "in_1", NOW_MS);
            let now_ms = NOW_MS + later_ms;
            assert_eq!(told(&mut facts, now_ms, |facts| failed(facts, "in_2", now_ms)), expected);
            // The same invoice again is no news at all.
            assert_eq!(told(&mut facts, now_ms, |facts| failed(facts, "in_1", now_ms)), None);
        }
    }

    #[test]
    fn recovery_is_told_when_nothing_is_missing_any_more() {
        let mut facts = Facts::about("cus_1");
        subscribed(&mut facts, "past_due", NOW_MS);
        failed(&mut facts, "in_2", NOW_MS);
        let paid = |facts: &mut Facts, invoice: &str| {
            facts.invoice_paid(invoice, Some("sub_1".into()), NOW_MS / 1_000 + 1, NOW_MS);
        };
        assert_eq!(told(&mut facts, NOW_MS, |facts| paid(facts, "in_1")), None);
        assert_eq!(told(&mut facts, NOW_MS, |facts| paid(facts, "in_2")), Some(Occasion::Recovered));
        assert_eq!(told(&mut facts, NOW_MS, |facts| paid(facts, "in_2")), None);
        // Grace for another reason goes on; what was paid is told all the same.
        let mut facts = Facts::about("cus_1");
        subscribed(&mut facts, "past_due", NOW_MS);
        facts.system_failed("tool".into(), NOW_MS, NOW_MS);
        assert_eq!(told(&mut facts, NOW_MS, |facts| paid(facts, "in_1")), Some(Occasion::Recovered));
        // One that has ended and that nobody has seen to yet is missing all the same.
        let mut facts = Facts::about("cus_1");
        failed(&mut facts, "in_9", NOW_MS - 8 * DAY_MS);
        failed(&mut facts, "in_1", NOW_MS);
        subscribed(&mut facts, "active", NOW_MS);
        let before = facts.clone();
        paid(&mut facts, "in_1");
        assert_eq!(occasion(&before, &facts, NOW_MS), None);
        // Without anything that is paid for, nothing is open as before.
        let mut facts = Facts::about("cus_1");
        failed(&mut facts, "in_1", NOW_MS);
        let orphan =
            told(&mut facts, NOW_MS, |facts| facts.invoice_paid("in_1", None, NOW_MS / 1_000 + 1, NOW_MS));
        assert_eq!(orphan, None);
    }

    #[test]
    fn the_end_is_told_to_whom_nothing_else_is_left() {
        let end_ms = NOW_MS + 7 * DAY_MS;
        let mut facts = Facts::about("cus_1");
        failed(&mut facts, "in_1", NOW_MS);
        assert_eq!(told(&mut facts.clone(), end_ms - 1, |_| {}), None);
        assert_eq!(occasion(&facts, &facts, end_ms), None, "nobody has seen to it yet");
        let mut trying = facts.clone();
        let ended = told(&mut facts, end_ms, |_| {});
        assert_eq!(ended, Some(Occasion::GraceEnded(GraceReason::PaymentFailure)));
        assert_eq!(told(&mut facts, end_ms + 1, |_| {}), None);
        subscribed(&mut trying, "trialing", NOW_MS);
        assert_eq!(told(&mut trying, end_ms, |_| {}), None);
    }

    #[test]
    fn an_end_is_announced_to_whom_it_concerns_and_only_the_one_that_was_meant() {
        let (end_ms, now_ms) = (NOW_MS + 7 * DAY_MS, NOW_MS + 5 * DAY_MS);
        let mut facts = Facts::about("cus_1");
        failed(&mut facts, "in_1", NOW_MS);
        let soon = Some(Occasion::GraceEndingSoon(GraceReason::PaymentFailure));
        assert_eq!(ending_soon(&facts, end_ms, now_ms), soon);
        assert_eq!(
            (ending_soon(&facts, end_ms - 1, now_ms), ending_soon(&facts, end_ms, end_ms)),
            (None, None)
        );
        let mut paying = facts.clone();
        subscribed(&mut paying, "active", NOW_MS);
        assert_eq!(ending_soon(&paying, end_ms, now_ms), None);
        in_crisis(&mut facts, Severity::Moderate, now_ms);
        let end_ms = running_grace(&facts, now_ms).unwrap().ends_ms;
        assert_eq!(ending_soon(&facts, end_ms, now_ms), None);
    }
}
