//! What is told of a subscription while Stripe can be asked, one case after the other: what counts at once, what only
//! is a claim, and when Stripe is asked.

use keepwell_workers::clock::UnixMs;

use super::{
    confirmation::{Confirmed, Shown, Told},
    crisis::{Road, Severity, Signal, Source},
    facts::Facts,
    grace::{DAY_MS, GraceReason},
    subscription::{SubscriptionSnapshot, SubscriptionStatus},
    tiers::shipped,
};

const NOW_MS: UnixMs = 1_700_000_000_000;
const BASIC: &str = "price_basic_monthly";
const PREMIUM: &str = "price_premium_monthly";

fn snapshot(status: &str, price: &str, created_s: i64) -> SubscriptionSnapshot {
    SubscriptionSnapshot {
        id: "sub_1".into(),
        status: SubscriptionStatus::from_name(status),
        prices: vec![price.into()],
        period_end_s: None,
        cancel_at_s: None,
        latest_invoice: Some("in_1".into()),
        event_created_s: created_s,
        event_id: format!("evt_{status}_{created_s}"),
    }
}

/// Somebody of whom Stripe has told this.
fn knowing(status: &str, price: &str, created_s: i64) -> Facts {
    let mut facts = Facts::about("cus_1");
    facts.subscription_told(snapshot(status, price, created_s), Road::Brought, &shipped(), NOW_MS);
    facts
}

/// The same, and Stripe has shown it so between 30 and 40.
fn confirmed(status: &str, price: &str) -> Facts {
    let mut facts = knowing(status, price, 20);
    show(&mut facts, Some(snapshot(status, price, 0)), 30, 40);
    facts
}

/// Stripe shows `subscription` as it was at some time between; it was asked just after everything that was told.
fn show(facts: &mut Facts, subscription: Option<SubscriptionSnapshot>, from_s: i64, until_s: i64) {
    let shown = Shown { subscription, asked_ms: NOW_MS + 1, from_s, until_s };
    assert_eq!(facts.subscription_confirmed("sub_1", shown, NOW_MS + 2), Confirmed::Settled);
}

/// What counts, when it was made, and what is claimed.
fn counts(facts: &Facts) -> (&str, &str, i64, Option<&str>) {
    let known = &facts.subscriptions["sub_1"];
    let claim = facts.confirmations["sub_1"].claim.as_ref().map(|claim| claim.status.name());
    (known.status.name(), &known.prices[0], known.event_created_s, claim)
}

#[test]
fn what_grants_counts_at_once_and_stripe_is_asked_where_it_may_be_old_news() {
    for (known, created_s, told) in [
        (knowing("active", BASIC, 20), 21, Told::Settled),
        (knowing("active", BASIC, 20), 20, Told::ToConfirm),
        (confirmed("active", BASIC), 41, Told::Settled),
        // Newer than everything that was told, and Stripe was asked after it.
        (confirmed("active", BASIC), 35, Told::ToConfirm),
        // Nothing comes after an end.
        (knowing("canceled", BASIC, 20), 30, Told::ToConfirm),
    ] {
        let mut facts = known;
        let before = facts.clone();
        let upgrade = snapshot("active", PREMIUM, created_s);
        assert_eq!(
            facts.subscription_told(upgrade, Road::Brought, &shipped(), NOW_MS),
            told,
            "{created_s} {before:#?}"
        );
        assert_eq!(counts(&facts), ("active", PREMIUM, created_s, None), "{before:#?}");
    }
}

#[test]
fn old_news_changes_nothing_and_stripe_is_asked_only_if_it_says_something_else() {
    for (mut facts, status, created_s, told) in [
        (knowing("active", BASIC, 20), "past_due", 10, Told::ToConfirm),
        (knowing("active", BASIC, 20), "active", 10, Told::Settled),
        (confirmed("active", BASIC), "canceled", 25, Told::ToConfirm),
        (confirmed("active", BASIC), "active", 25, Told::Settled),
        (knowing("incomplete_expired", BASIC, 20), "canceled", 10, Told::ToConfirm),
        (knowing("canceled", BASIC, 20), "active", 10, Told::ToConfirm),
    ] {
        let before = facts.clone();
        let old = snapshot(status, BASIC, created_s);
        assert_eq!(
            facts.subscription_told(old, Road::Brought, &shipped(), NOW_MS),
            told,
            "{status} {before:#?}"
        );
        assert_eq!((counts(&facts), &facts.graces), (counts(&before), &before.graces), "{status}");
    }
}

#[test]
fn an_end_that_is_told_late_is_a_claim_all_the_same() {
    let mut facts = knowing("active", BASIC, 20);
    assert_eq!(
        facts.subscription_told(snapshot("canceled", BASIC, 10), Road::Brought, &shipped(), NOW_MS),
        Told::ToConfirm
    );
    assert_eq!(counts(&facts), ("active", BASIC, 20, Some("canceled")));
}

#[test]
fn a_change_of_what_is_no_access_is_settled_without_asking() {
    let mut facts = knowing("active", BASIC, 20);
    for created_s in [20, 21] {
        let renewed = SubscriptionSnapshot { period_end_s: Some(9), ..snapshot("active", BASIC, created_s) };
        assert_eq!(
            facts.subscription_told(renewed, Road::Brought, &shipped(), NOW_MS),
            Told::Settled,
            "{created_s}"
        );
        assert_eq!(facts.subscriptions["sub_1"].period_end_s, Some(9));
    }
}

#[test]
fn a_claim_of_the_same_second_is_not_left_behind() {
    let mut facts = knowing("active", BASIC, 10);
    facts.subscription_told(snapshot("past_due", BASIC, 20), Road::Brought, &shipped(), NOW_MS);
    facts.subscription_told(snapshot("active", BASIC, 20), Road::Brought, &shipped(), NOW_MS);
    assert_eq!(counts(&facts), ("active", BASIC, 20, Some("past_due")));
    facts.subscription_told(snapshot("active", BASIC, 21), Road::Brought, &shipped(), NOW_MS);
    assert_eq!(counts(&facts), ("active", BASIC, 21, None));
}

#[test]
fn what_a_claim_says_of_a_crisis_counts_at_once_and_nothing_else_of_it_does() {
    let mut facts = knowing("active", BASIC, 20);
    let (source, severity) = (Source::Button, Severity::Moderate);
    let pressed = Signal { source, severity, at_ms: NOW_MS, only_in_crisis: false };
    facts.signalled("sig_1".into(), pressed, NOW_MS);
    let created_s = NOW_MS / 1_000;
    facts.subscription_told(snapshot("canceled", BASIC, created_s), Road::Brought, &shipped(), NOW_MS);
    assert_eq!(counts(&facts), ("active", BASIC, 20, Some("canceled")));
    assert_eq!(facts.crisis(NOW_MS).unwrap().severity, Severity::High);
    let graces: Vec<_> = facts.graces.iter().map(|(key, grace)| (key.reason, grace.ends_ms)).collect();
    assert_eq!(graces, [(GraceReason::CrisisDetected, NOW_MS + 21 * DAY_MS)]);
}

#[test]
fn what_stripe_shows_is_newer_than_everything_told_before_and_keeps_the_last_event() {
    let mut facts = knowing("active", PREMIUM, 20);
    facts.subscription_told(snapshot("past_due", PREMIUM, 50), Road::Brought, &shipped(), NOW_MS);
    let another = SubscriptionSnapshot { id: "sub_9".into(), ..snapshot("active", BASIC, 0) };
    show(&mut facts, Some(another), 40, 41);
    assert_eq!(counts(&facts), ("active", BASIC, 50, None));
    let known = &facts.subscriptions["sub_1"];
    assert_eq!((known.id.as_str(), known.event_id.as_str()), ("sub_1", "evt_past_due_50"));
    assert_eq!(facts.confirmations["sub_1"].confirmed_s, Some(50));
}

#[test]
fn a_payment_that_was_told_before_stripe_was_asked_is_in_what_it_shows() {
    // Whose invoice, learned how long after Stripe was asked; when what is shown counts from.
    for (invoice, of, learned_after_ms, from_s, status) in [
        ("in_1", None, -1, 50, "past_due"),
        ("in_1", Some("sub_1"), -1, 50, "past_due"),
        ("in_8", Some("sub_1"), -1, 50, "past_due"),
        ("in_9", Some("sub_2"), -1, 40, "past_due"),
        ("in_1", None, 0, 40, "active"),
        ("in_1", None, 1, 40, "active"),
    ] {
        let mut facts = knowing("past_due", PREMIUM, 10);
        facts.invoice_paid(invoice, of.map(str::to_owned), 50, NOW_MS + 1 + learned_after_ms);
        show(&mut facts, Some(snapshot("past_due", PREMIUM, 0)), 40, 41);
        let known = &facts.subscriptions["sub_1"];
        let counts = (known.event_created_s, facts.status_of(known).name().to_owned());
        assert_eq!(counts, (from_s, status.to_owned()), "{invoice} {of:?} {learned_after_ms}");
    }
}

#[test]
fn stripe_is_asked_after_a_payment_of_those_that_waited_for_it() {
    let told = |known: &Facts, invoice: &str, of: Option<&str>, created_s| {
        known.clone().invoice_told(invoice, of.map(str::to_owned), created_s, NOW_MS)
    };
    let waiting = knowing("past_due", BASIC, 20);
    assert_eq!(told(&waiting, "in_1", None, 20), ["sub_1"]);
    assert_eq!(told(&waiting, "in_9", Some("sub_1"), 20), ["sub_1"]);
    assert_eq!(told(&waiting, "in_9", None, 20), [""; 0], "of another subscription");
    assert_eq!(told(&waiting, "in_9", Some("sub_9"), 20), [""; 0], "of another subscription");
    assert_eq!(told(&waiting, "in_1", None, 19), [""; 0], "it failed after that");
    assert_eq!(told(&knowing("active", BASIC, 20), "in_1", None, 20), [""; 0], "it waited for nothing");
}

#[test]
fn when_stripe_can_be_asked_no_longer_what_was_claimed_counts() {
    let mut facts = knowing("active", BASIC, 20);
    facts.subscription_unconfirmed("sub_1", NOW_MS);
    assert_eq!(counts(&facts), ("active", BASIC, 20, None));
    facts.subscription_told(snapshot("canceled", BASIC, 30), Road::Brought, &shipped(), NOW_MS);
    facts.subscription_unconfirmed("sub_1", NOW_MS);
    assert_eq!(counts(&facts), ("canceled", BASIC, 30, None));
}

/// A crisis of yesterday, and none from before the day before that.
fn falls_into_crisis(facts: &mut Facts) {
    facts.crisis_resolved(NOW_MS - 2 * DAY_MS, NOW_MS - 2 * DAY_MS);
    let (source, severity) = (Source::Button, Severity::Moderate);
    let pressed = Signal { source, severity, at_ms: NOW_MS - DAY_MS, only_in_crisis: false };
    facts.signalled("sig_1".into(), pressed, NOW_MS - DAY_MS);
}

#[test]
fn a_cancellation_of_a_history_makes_no_crisis_graver_that_began_after_it_also_when_stripe_has_confirmed_it()
{
    let crisis = |ago_ms: i64, road| {
        let mut facts = knowing("active", BASIC, 20);
        let created_s = (NOW_MS - ago_ms) / 1_000;
        falls_into_crisis(&mut facts);
        let canceled = snapshot("canceled", BASIC, created_s);
        facts.subscription_told(canceled.clone(), road, &shipped(), NOW_MS);
        facts.forget_old(NOW_MS);
        let mut unasked = facts.clone();
        show(&mut facts, Some(canceled), created_s, NOW_MS / 1_000);
        unasked.subscription_unconfirmed("sub_1", NOW_MS + 2);
        let severities = [&facts, &unasked].map(|facts| facts.crisis(NOW_MS + 2).unwrap().severity);
        assert_eq!(severities[0], severities[1]);
        let graces = facts.graces.iter().filter(|(key, _)| key.reason == GraceReason::SubscriptionCanceled);
        assert!(graces.count() == 1 && facts.subscriptions["sub_1"].status.is_final(), "its grace has begun");
        severities[0]
    };
    assert_eq!(crisis(3 * DAY_MS, Road::Brought), Severity::High, "late, as of now");
    assert_eq!(crisis(3 * DAY_MS, Road::Fetched), Severity::Moderate);
    assert_eq!(crisis(DAY_MS / 2, Road::Fetched), Severity::High, "in the crisis");
}

#[test]
fn a_cancellation_that_takes_nothing_away_counts_by_its_road_too() {
    for known in [None, Some("incomplete")] {
        let severity = |road| {
            let mut facts = known.map_or_else(|| Facts::about("cus_1"), |status| knowing(status, BASIC, 20));
            falls_into_crisis(&mut facts);
            let canceled = snapshot("canceled", BASIC, (NOW_MS - 3 * DAY_MS) / 1_000);
            facts.subscription_told(canceled, road, &shipped(), NOW_MS);
            facts.crisis(NOW_MS).unwrap().severity
        };
        assert_eq!(severity(Road::Brought), Severity::High, "{known:?}");
        assert_eq!(severity(Road::Fetched), Severity::Moderate, "{known:?}");
    }
}

#[test]
fn a_cancellation_of_which_only_stripe_has_told_counts_as_of_then() {
    for mut facts in [Facts::about("cus_1"), knowing("active", BASIC, 20)] {
        falls_into_crisis(&mut facts);
        let from_s = (NOW_MS - 3 * DAY_MS) / 1_000;
        show(&mut facts, Some(snapshot("canceled", BASIC, 0)), from_s, NOW_MS / 1_000);
        assert_eq!(facts.crisis(NOW_MS + 2).unwrap().severity, Severity::High);
    }
}
