//! What single events teach about grace: when it begins anew, when it is over, and how long it is remembered.

use keepwell_workers::clock::UnixMs;

use super::{
    contact_call::call_for_contacts,
    crisis::{CrisisKind, LATE_MS, Road, Severity, Signal, Source},
    facts::{Facts, PaymentFailure},
    grace::{Grace, GraceKey, GraceReason},
    occasion::{Occasion, occasion},
    running::running_grace,
    subscription::{SubscriptionSnapshot, SubscriptionStatus},
};

const NOW_MS: UnixMs = 1_700_000_000_000;
const DAY_MS: i64 = 86_400_000;

fn failed(facts: &mut Facts, created_s: i64, learned_ms: UnixMs) {
    let failure = PaymentFailure {
        invoice: "in_1".into(),
        subscription: Some("sub_1".into()),
        attempt_count: 1,
        event_created_s: created_s,
        event_id: format!("evt_{created_s}_{learned_ms}"),
        road: Road::Brought,
    };
    facts.payment_failed(failure, learned_ms);
}

/// A payment failed at 20.
fn in_trouble() -> Facts {
    let mut facts = Facts::about("cus_1");
    failed(&mut facts, 20, NOW_MS);
    facts
}

fn subscribed(facts: &mut Facts, id: &str, status: &str, created_s: i64) {
    let snapshot = SubscriptionSnapshot {
        id: id.into(),
        status: SubscriptionStatus::from_name(status),
        prices: vec![],
        period_end_s: None,
        cancel_at_s: None,
        latest_invoice: None,
        event_created_s: created_s,
        event_id: format!("evt_{id}_{created_s}"),
    };
    facts.subscription_changed(snapshot, NOW_MS);
}

fn pressed(facts: &mut Facts, learned_ms: UnixMs) {
    let (source, severity) = (Source::Button, Severity::Moderate);
    let signal = Signal { source, severity, at_ms: learned_ms, only_in_crisis: false };
    facts.signalled(format!("sig_{learned_ms}"), signal, learned_ms);
}

fn of_payment() -> GraceKey {
    GraceKey { reason: GraceReason::PaymentFailure, cause: "in_1".into() }
}

fn of(facts: &Facts, reason: GraceReason) -> &Grace {
    facts.graces.iter().find(|(key, _)| key.reason == reason).unwrap().1
}

#[test]
fn grace_for_a_payment_is_over_when_the_subscription_runs_again_or_another_one_takes_its_place() {
    for (status, created_s, other, over) in [
        ("active", 21, None, true),
        ("trialing", 21, None, true),
        // It ran before, or as, the payment failed.
        ("active", 20, None, false),
        ("active", 19, None, false),
        ("past_due", 21, None, false),
        ("canceled", 21, None, false),
        ("canceled", 19, Some("active"), true),
        ("canceled", 21, Some("past_due"), false),
        ("past_due", 21, Some("active"), false),
    ] {
        let mut facts = in_trouble();
        subscribed(&mut facts, "sub_1", status, created_s);
        if let Some(other) = other {
            subscribed(&mut facts, "sub_2", other, 30);
        }
        assert_eq!(facts.has_recovered(&of_payment()), over, "{status} {created_s} {other:?}");
    }
}

#[test]
fn a_payment_that_fails_after_it_was_made_up_for_begins_grace_anew_and_no_other_does() {
    let later_ms = NOW_MS + 3 * DAY_MS;
    for (paid, failed_again_s, started_ms) in [
        (true, 30, later_ms),
        // What had failed before it was paid says nothing new.
        (true, 20, NOW_MS),
        (true, 19, NOW_MS),
        // The tenth reminder of what is not paid grants no more than the first.
        (false, 30, NOW_MS),
    ] {
        let mut facts = in_trouble();
        if paid {
            facts.invoice_paid("in_1", None, 21, NOW_MS);
        }
        failed(&mut facts, failed_again_s, later_ms);
        let grace = of(&facts, GraceReason::PaymentFailure);
        assert_eq!(grace.started_ms, started_ms, "{paid} {failed_again_s}");
        assert_eq!(grace.ends_ms, started_ms + 7 * DAY_MS, "{paid} {failed_again_s}");
        assert_eq!(grace.trouble_s, Some(failed_again_s.max(20)), "{paid} {failed_again_s}");
    }
}

#[test]
fn what_may_come_back_for_ever_is_one_grace_period_until_it_has_ended() {
    for (later_ms, started_ms) in [
        (DAY_MS, NOW_MS),
        (3 * DAY_MS - 1, NOW_MS),
        // It is over then, whether or not somebody has seen to that.
        (3 * DAY_MS, NOW_MS + 3 * DAY_MS),
    ] {
        let again_ms = NOW_MS + later_ms;
        let mut facts = Facts::about("cus_1");
        facts.system_failed("a".into(), NOW_MS, NOW_MS);
        facts.system_failed("b".into(), again_ms, again_ms);
        let grace = of(&facts, GraceReason::SystemError);
        assert_eq!((grace.started_ms, grace.ends_ms), (started_ms, again_ms + 3 * DAY_MS), "{later_ms}");
    }
}

#[test]
fn a_grace_period_that_was_closed_is_not_opened_again_by_a_crisis() {
    let mut facts = in_trouble();
    let end_ms = NOW_MS + 7 * DAY_MS;
    facts.close_ended_graces(end_ms);
    pressed(&mut facts, end_ms);
    let grace = of(&facts, GraceReason::PaymentFailure);
    assert_eq!((grace.closed, grace.ends_ms), (true, end_ms));
}

#[test]
fn grace_goes_on_while_operators_do_not_look_at_payments_and_while_somebody_is_vulnerable() {
    let end_ms = NOW_MS + 7 * DAY_MS;
    let mut facts = in_trouble();
    assert_eq!(facts.protected_until_ms(&of_payment()), None);
    assert_eq!(running_grace(&facts, end_ms), None);
    facts.waived_until_ms = Some(end_ms + 1);
    assert_eq!(facts.protected_until_ms(&of_payment()), Some(end_ms + 1));
    assert_eq!(running_grace(&facts, end_ms).unwrap().ends_ms, end_ms + 7 * DAY_MS);
    pressed(&mut facts, NOW_MS);
    assert_eq!(facts.protected_until_ms(&of_payment()), Some(NOW_MS + 14 * DAY_MS));
    let of_crisis = GraceKey { reason: GraceReason::CrisisDetected, cause: String::new() };
    assert_eq!(facts.protected_until_ms(&of_crisis), Some(end_ms + 1), "not by itself");
}

#[test]
fn whose_first_payment_fails_has_nothing_to_keep() {
    for (status, has_grace) in [("incomplete", false), ("incomplete_expired", false), ("past_due", true)] {
        // In whatever order it is told.
        let mut told_first = Facts::about("cus_1");
        subscribed(&mut told_first, "sub_1", status, 20);
        failed(&mut told_first, 20, NOW_MS);
        let mut told_last = in_trouble();
        subscribed(&mut told_last, "sub_1", status, 20);
        for facts in [told_first, told_last] {
            assert_eq!(running_grace(&facts, NOW_MS).is_some(), has_grace, "{status}");
        }
    }
    assert!(running_grace(&in_trouble(), NOW_MS).is_some(), "nobody knows yet that it is the first");
}

#[test]
fn of_a_first_payment_that_failed_nobody_is_told_that_it_was_made() {
    let mut facts = Facts::about("cus_1");
    subscribed(&mut facts, "sub_2", "active", 10);
    failed(&mut facts, 20, NOW_MS);
    for (status, told) in
        [("incomplete", None), ("incomplete_expired", None), ("active", Some(Occasion::Recovered))]
    {
        let mut after = facts.clone();
        subscribed(&mut after, "sub_1", status, 21);
        assert_eq!(occasion(&facts, &after, NOW_MS), told, "{status}");
    }
}

#[test]
fn a_payment_that_makes_a_subscription_active_is_remembered_for_as_long_as_it_does() {
    let later_ms = NOW_MS + 1_000 * DAY_MS;
    let mut facts = in_trouble();
    subscribed(&mut facts, "sub_1", "past_due", 20);
    for (invoice, paid_s) in [("in_0", 21), ("in_1", 22)] {
        facts.invoice_paid(invoice, Some("sub_1".into()), paid_s, NOW_MS);
    }
    facts.close_ended_graces(later_ms);
    facts.forget_old(later_ms);
    // The last one is enough.
    assert_eq!(facts.invoices.keys().collect::<Vec<_>>(), ["in_1"]);
    assert!(facts.has_running_subscription());
    failed(&mut facts, 20, later_ms);
    assert!(facts.has_running_subscription() && running_grace(&facts, later_ms).is_none());
    subscribed(&mut facts, "sub_1", "active", 23);
    facts.forget_old(later_ms + 90 * DAY_MS + 1);
    assert_eq!(facts.invoices.len(), 0, "Stripe has said so itself");
}

#[test]
fn invoices_and_closed_grace_periods_are_remembered_for_ninety_days() {
    let days_ms = 90 * DAY_MS;
    let mut facts = in_trouble();
    let end_ms = NOW_MS + 7 * DAY_MS;
    facts.forget_old(NOW_MS + days_ms);
    assert_eq!((facts.invoices.len(), facts.graces.len()), (1, 1));
    facts.forget_old(NOW_MS + days_ms + 1);
    assert_eq!(facts.invoices.len(), 0);
    facts.forget_old(end_ms + days_ms + 1);
    assert_eq!(facts.graces.len(), 1, "nobody has seen to its end yet");
    facts.close_ended_graces(end_ms);
    facts.forget_old(end_ms + days_ms);
    assert_eq!(facts.graces.len(), 1);
    facts.forget_old(end_ms + days_ms + 1);
    assert_eq!(facts.graces.len(), 0);
}

#[test]
fn a_failure_that_is_told_late_of_what_is_paid_makes_no_crisis_graver() {
    let failed_s = NOW_MS / 1_000 - 3 * 86_400;
    let told = |paid_s: Option<i64>| {
        let mut facts = Facts::about("cus_1");
        pressed(&mut facts, NOW_MS);
        if let Some(paid_s) = paid_s {
            facts.invoice_paid("in_1", None, paid_s, NOW_MS);
        }
        for hours in 0..3 {
            failed(&mut facts, failed_s + hours * 3_600, NOW_MS + 60_000);
        }
        let crisis = facts.crisis(NOW_MS + 60_000).unwrap();
        (crisis.kind, crisis.severity)
    };
    assert_eq!(told(Some(failed_s + 86_400)), (CrisisKind::Clinical, Severity::Moderate));
    assert_eq!(told(None), (CrisisKind::Combined, Severity::High), "it may still trouble somebody");
    assert_eq!(told(Some(failed_s - 1)), (CrisisKind::Combined, Severity::High), "it failed after that");
    // What fails in the crisis is a part of it, paid or not.
    let mut facts = Facts::about("cus_1");
    pressed(&mut facts, NOW_MS);
    facts.invoice_paid("in_1", None, NOW_MS / 1_000 + 60, NOW_MS + 60_000);
    failed(&mut facts, NOW_MS / 1_000 + 30, NOW_MS + DAY_MS);
    assert_eq!(facts.crisis(NOW_MS + DAY_MS).unwrap().kind, CrisisKind::Combined);
}

#[test]
fn contacts_are_thought_of_when_what_is_told_late_makes_a_crisis_of_what_was_known() {
    let call = |facts: &mut Facts, change: fn(&mut Facts)| {
        let before = facts.clone();
        change(facts);
        call_for_contacts(&before, facts, NOW_MS, NOW_MS)
    };
    let elevated = |facts: &mut Facts| {
        let (source, severity, at_ms) = (Source::HighRisk, Severity::Moderate, NOW_MS - 2 * DAY_MS);
        facts.signalled("risk".into(), Signal { source, severity, at_ms, only_in_crisis: true }, NOW_MS);
    };
    let mut facts = Facts::about("cus_1");
    let failed_s = NOW_MS / 1_000 - 60;
    failed(&mut facts, failed_s, NOW_MS);
    assert_eq!(facts.crisis(NOW_MS), None);
    let opened = call(&mut facts, elevated);
    let cause = format!("late:moderate:evt_{failed_s}_{NOW_MS}");
    assert_eq!(opened, Some((cause, Severity::Moderate)));
    assert_eq!(call(&mut facts, elevated), None, "it says nothing new");
    // The same of what makes a milder one graver: here what adds to a crisis since earlier than was known.
    let mut facts = Facts::about("cus_1");
    facts.threatened("threat".into(), NOW_MS - 30_000, NOW_MS);
    pressed(&mut facts, NOW_MS);
    failed(&mut facts, failed_s, NOW_MS);
    let graver = call(&mut facts, elevated);
    assert_eq!(graver, Some((format!("late:high:sig_{NOW_MS}"), Severity::High)));
}

#[test]
fn a_sign_is_past_once_it_has_counted_for_its_days_or_what_could_be_told_late_was_resolved_as_well() {
    let pressed = |at_ms| (Source::Button, at_ms);
    let days_ms = 14 * DAY_MS;
    for (resolved_ms, (source, at_ms), now_ms, past) in [
        (None, pressed(NOW_MS), NOW_MS, false),
        (None, pressed(NOW_MS), NOW_MS + days_ms - 1, false),
        (None, pressed(NOW_MS), NOW_MS + days_ms, true),
        // What comes at the same time, or later, still counts.
        (Some(NOW_MS), pressed(NOW_MS - 1), NOW_MS + LATE_MS, true),
        (Some(NOW_MS), pressed(NOW_MS), NOW_MS + LATE_MS, false),
        (Some(NOW_MS), pressed(NOW_MS + 1), NOW_MS + LATE_MS, false),
        (Some(NOW_MS), pressed(NOW_MS + 1), NOW_MS + 1 + days_ms, true),
        // Something older may still be told.
        (Some(NOW_MS), pressed(NOW_MS - 1), NOW_MS + LATE_MS - 1, false),
        // A risk goes on, whatever was resolved.
        (Some(NOW_MS), (Source::HighRisk, NOW_MS - 1), NOW_MS + LATE_MS, false),
    ] {
        let (severity, only_in_crisis) = (Severity::Moderate, source == Source::HighRisk);
        let signal = Signal { source, severity, at_ms, only_in_crisis };
        let mut facts = Facts { resolved_ms, ..Facts::about("cus_1") };
        assert_eq!(facts.is_past(&signal, now_ms), past, "{resolved_ms:?} {signal:?} {now_ms}");
        facts.signals.insert("sign".into(), signal);
        facts.forget_old(now_ms);
        assert_eq!(facts.signals.is_empty(), past, "{resolved_ms:?} {now_ms}");
    }
}

#[test]
fn grace_that_ended_while_the_subscription_still_opened_something_begins_anew_when_it_no_longer_does() {
    let later_ms = NOW_MS + 8 * DAY_MS;
    for (known, restarts) in [("active", true), ("past_due", false)] {
        let mut facts = Facts::about("cus_1");
        subscribed(&mut facts, "sub_1", known, 10);
        failed(&mut facts, 20, NOW_MS);
        facts.close_ended_graces(later_ms);
        assert!(facts.graces[&of_payment()].closed, "{known}");
        let snapshot = SubscriptionSnapshot {
            status: SubscriptionStatus::PastDue,
            latest_invoice: Some("in_1".into()),
            event_created_s: 21,
            event_id: "evt_late".into(),
            ..facts.subscriptions["sub_1"].clone()
        };
        facts.subscription_changed(snapshot, later_ms);
        let grace = &facts.graces[&of_payment()];
        assert_eq!((grace.closed, grace.started_ms == later_ms), (!restarts, restarts), "{known}");
        assert_eq!(running_grace(&facts, later_ms + 6 * DAY_MS).is_some(), restarts, "{known}");
    }
}

#[test]
fn of_what_was_known_contacts_are_told_of_the_newest_sign_that_still_counts_and_of_no_score() {
    let told = |id: &str, source, severity, at_ms| {
        (id.to_owned(), Signal { source, severity, at_ms, only_in_crisis: true })
    };
    let repeated = |at_ms| told("repeated", Source::RepeatedFailure, Severity::High, at_ms);
    let first = |at_ms| told("first", Source::PaymentFailure, Severity::Moderate, at_ms);
    let risk = |id, at_ms| told(id, Source::HighRisk, Severity::Moderate, at_ms);
    let old_ms = NOW_MS - 14 * DAY_MS;
    for (newest, named) in [
        (first(old_ms), "repeated"),
        (first(old_ms + 1_000), "first"),
        (risk("risk", old_ms + 1_000), "repeated"),
    ] {
        let mut facts = Facts::about("cus_1");
        for (id, signal) in [repeated(old_ms - DAY_MS), newest] {
            facts.signalled(id, signal, NOW_MS);
        }
        assert_eq!(facts.crisis(NOW_MS), None);
        let before = facts.clone();
        let (id, signal) = risk("late", old_ms - 2 * DAY_MS);
        facts.signalled(id, signal, NOW_MS);
        // Learned while these signs were news, and applied long after that.
        let learned_ms = old_ms - DAY_MS;
        let call = call_for_contacts(&before, &facts, learned_ms, NOW_MS);
        assert_eq!(call_for_contacts(&before, &facts, NOW_MS, NOW_MS), None, "no news any more");
        assert_eq!(call, Some((format!("late:high:{named}"), Severity::High)));
    }
}
