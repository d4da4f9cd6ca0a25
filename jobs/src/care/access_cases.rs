//! What operators' switches, and what was granted without the database, open on top of somebody's own facts.

use keepwell_workers::clock::UnixMs;

use super::{
    access::{access, access_in},
    crisis::{EMERGENCY_FEATURES, EmergencyLevel, Severity, Signal, Source},
    document::{AccessDocument, EmergencyView, UtcTime},
    emergency::{Emergency, Granted, SwitchName, Switches},
    facts::Facts,
    held::lacking,
    resources::CRISIS_RESOURCES,
    subscription::{SubscriptionSnapshot, SubscriptionStatus},
    tiers::{FLOOR, SyncFrequency, Tiers, shipped},
};

const NOW_MS: UnixMs = 1_700_000_000_000;

fn subscribed(status: &str) -> Facts {
    let snapshot = SubscriptionSnapshot {
        id: "sub_1".into(),
        status: SubscriptionStatus::from_name(status),
        prices: vec!["price_premium_monthly".into()],
        period_end_s: None,
        cancel_at_s: None,
        latest_invoice: Some("in_1".into()),
        event_created_s: NOW_MS / 1_000,
        event_id: "evt_1".into(),
    };
    let mut facts = Facts::about("cus_1");
    facts.subscription_changed(snapshot, NOW_MS);
    facts
}

fn in_crisis(severity: Severity) -> Facts {
    let mut facts = Facts::about("cus_1");
    let signal = Signal { source: Source::Button, severity, at_ms: NOW_MS, only_in_crisis: false };
    facts.signalled("sig_1".into(), signal, NOW_MS);
    facts
}

/// `name` was switched on a minute ago, for an hour.
fn switched(name: SwitchName) -> Emergency {
    let mut switches = Switches::default();
    let switch = switches.switched_on(name, "rollback".into(), 3_600, NOW_MS - 60_000);
    switches.set(name, switch);
    Emergency { switches, granted: None }
}

fn granted(level: EmergencyLevel, until_ms: UnixMs) -> Emergency {
    Emergency { granted: Some(Granted { level, since_ms: NOW_MS - 1, until_ms }), ..Emergency::default() }
}

fn opened(facts: &Facts, emergency: &Emergency) -> AccessDocument {
    access_in(facts, &shipped(), &CRISIS_RESOURCES, emergency, NOW_MS)
}

fn essential(reason: &'static str) -> EmergencyView {
    EmergencyView {
        active: true,
        level: Some("essential"),
        reason: Some(reason),
        since: Some(UtcTime(NOW_MS - 60_000)),
        until: Some(UtcTime(NOW_MS - 60_000 + 3_600_000)),
    }
}

#[test]
fn the_document_says_in_what_crisis_somebody_is_and_since_when() {
    for (facts, told) in [
        (in_crisis(Severity::High), (true, Some("clinical"), Some("high"), Some(UtcTime(NOW_MS)))),
        (subscribed("active"), (false, None, None, None)),
    ] {
        let crisis = opened(&facts, &Emergency::default()).crisis;
        assert_eq!((crisis.active, crisis.kind, crisis.severity, crisis.since), told);
    }
}

#[test]
fn while_nobody_looks_at_payments_trouble_with_one_takes_nothing_away() {
    for (status, tier) in [
        ("past_due", "grace_period"),
        ("unpaid", "grace_period"),
        ("paused", "grace_period"),
        ("incomplete", "floor"),
    ] {
        let facts = subscribed(status);
        let document = opened(&facts, &Emergency::default());
        assert_eq!((document.tier.as_str(), document.emergency.active), (tier, false), "{status}");
        for (name, reason) in [
            (SwitchName::Bypass, "payment_failure"),
            (SwitchName::Maintenance, "payment_failure"),
            (SwitchName::GlobalBypass, "system_error"),
        ] {
            let document = opened(&facts, &switched(name));
            assert_eq!(document.tier, "premium", "{status} {name:?}");
            assert_eq!(document.emergency, essential(reason), "{status} {name:?}");
            assert_eq!(
                document.subscription.unwrap().status,
                status,
                "what Stripe says is shown all the same"
            );
        }
    }
}

#[test]
fn a_bypass_opens_nothing_where_no_payment_is_in_trouble() {
    for (status, tier) in [
        ("active", "premium"),
        ("trialing", "trial"),
        ("canceled", "grace_period"),
        ("incomplete_expired", "floor"),
    ] {
        for name in [SwitchName::Bypass, SwitchName::Maintenance] {
            let document = opened(&subscribed(status), &switched(name));
            assert_eq!((document.tier.as_str(), document.emergency.active), (tier, false), "{status}");
        }
    }
    let nobody = Facts::about("cus_1");
    assert_eq!(opened(&nobody, &switched(SwitchName::Bypass)).emergency, EmergencyView::default());
    assert_eq!(opened(&nobody, &switched(SwitchName::GlobalBypass)).emergency, essential("system_error"));
}

#[test]
fn every_switching_makes_a_new_version_of_the_document() {
    let facts = Facts { version: 7, ..Facts::about("cus_1") };
    assert_eq!(opened(&facts, &Emergency::default()).version, 7);
    assert_eq!(opened(&facts, &switched(SwitchName::Bypass)).version, 8);
}

#[test]
fn what_was_granted_without_the_database_is_there_until_its_end() {
    let nobody = Facts::about("cus_1");
    let document = opened(&nobody, &granted(EmergencyLevel::CrisisOnly, NOW_MS + 1));
    let view = EmergencyView {
        active: true,
        level: Some("crisis_only"),
        reason: Some("crisis_detected"),
        since: Some(UtcTime(NOW_MS - 1)),
        until: Some(UtcTime(NOW_MS + 1)),
    };
    assert_eq!(document.emergency, view);
    assert_eq!(document.sync.frequency, SyncFrequency::Realtime);
    let over = opened(&nobody, &granted(EmergencyLevel::CrisisOnly, NOW_MS));
    assert_eq!(over.emergency, EmergencyView::default());
    assert_eq!(over.sync.frequency, SyncFrequency::Background);
}

#[test]
fn of_several_reasons_the_crisis_is_told_and_the_highest_level_counts() {
    let emergency = Emergency {
        granted: granted(EmergencyLevel::Full, NOW_MS + 1).granted,
        ..switched(SwitchName::GlobalBypass)
    };
    let told = |facts: &Facts, emergency: &Emergency| {
        let view = opened(facts, emergency).emergency;
        (view.level.unwrap(), view.reason.unwrap(), view.since.unwrap().0, view.until.is_some())
    };
    let crisis = in_crisis(Severity::Moderate);
    assert_eq!(told(&crisis, &emergency), ("full", "crisis_detected", NOW_MS, false));
    let switched = switched(SwitchName::GlobalBypass);
    assert_eq!(told(&crisis, &switched), ("essential", "crisis_detected", NOW_MS, false));
    let nobody = Facts::about("cus_1");
    assert_eq!(told(&nobody, &emergency), ("full", "crisis_detected", NOW_MS - 1, true));
}

#[test]
fn each_level_opens_what_it_is_for_and_no_more() {
    let tiers = Tiers::from_toml(
        r#"
        default_tier = "best"
        tiers.best = { rank = 2, features = ["of_best"], sync_frequency = "realtime" }
        tiers.trial = { rank = 1, features = [], sync_frequency = "background" }
        tiers.grace_period = { rank = 0, features = ["of_grace"], sync_frequency = "frequent" }
        "#,
    )
    .unwrap();
    for (level, more) in [
        (EmergencyLevel::CrisisOnly, &[][..]),
        (EmergencyLevel::Essential, &["of_grace"][..]),
        (EmergencyLevel::Full, &["of_grace", "of_best"][..]),
    ] {
        let granted = granted(level, NOW_MS + 1);
        let document = access_in(&Facts::about("cus_1"), &tiers, &CRISIS_RESOURCES, &granted, NOW_MS);
        let expected: Vec<&str> = [&FLOOR[..], &EMERGENCY_FEATURES, more].concat();
        assert_eq!(document.features.enabled, expected, "{level:?}");
        assert_eq!(lacking(&document, &tiers, Some(level)), [""; 0], "{level:?}");
        let nobody = AccessDocument::floor("cus_1", NOW_MS);
        let mut missing = [&EMERGENCY_FEATURES[..], more].concat();
        missing.sort_unstable();
        assert_eq!(lacking(&nobody, &tiers, Some(level)), missing, "{level:?}");
    }
}

#[test]
fn of_subscriptions_that_open_nothing_the_one_that_is_not_over_is_told_of() {
    let mut facts = subscribed("incomplete");
    let ended = SubscriptionSnapshot {
        id: "sub_2".into(),
        status: SubscriptionStatus::Canceled,
        event_created_s: NOW_MS / 1_000 + 1,
        ..facts.subscriptions["sub_1"].clone()
    };
    facts.subscription_changed(ended, NOW_MS);
    let document = opened(&facts, &Emergency::default());
    assert_eq!((document.customer.as_str(), document.subscription.unwrap().id.as_str()), ("cus_1", "sub_1"));
}

#[test]
fn what_is_open_is_not_shown_as_switched_off_and_there_are_words_for_it() {
    let facts = subscribed("past_due");
    let document = access(&facts, &shipped(), NOW_MS);
    assert_eq!(document.features.disabled, ["advanced_analytics"]);
    assert_eq!(document.message.unwrap().title, "Your Therapeutic Journey Continues");
    let document = opened(&facts, &granted(EmergencyLevel::Full, NOW_MS + 1));
    assert_eq!(document.features.disabled, [""; 0]);
}
