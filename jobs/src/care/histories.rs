//! Whole histories: whatever happens, in whatever order it is told and however often, access ends up the same, and the
//! floor is there at every step.

use std::sync::LazyLock;

use keepwell_workers::clock::UnixMs;
use proptest::prelude::*;
use serde_json::Value;

use super::{
    access::access,
    assessment::{Assessment, Instrument, assessed},
    crisis::{Road, Severity, Signal, Source, resolved_time_ms, signal_time_ms},
    facts::{Facts, PaymentFailure},
    grace::DAY_MS,
    scores::Scores,
    subscription::{SubscriptionSnapshot, SubscriptionStatus},
    tiers::{FLOOR, Tiers, shipped},
};

pub(super) const NOW_MS: UnixMs = 1_700_000_000_000;
const NOW_S: i64 = NOW_MS / 1_000;

/// Something that happened, `ago_s` before it is told.
#[derive(Debug, Clone)]
pub(super) enum Happening {
    Subscription { id: u8, status: &'static str, price: &'static str, invoice: Option<u8>, ago_s: i64 },
    Paid { invoice: u8, ago_s: i64 },
    Failed { invoice: u8, attempt_count: i64, ago_s: i64 },
    Crisis { severity: Severity, ago_s: i64 },
    Resolved { ago_s: i64 },
    ToolFailed { ago_s: i64 },
    Threatened { ago_s: i64 },
    AnsweredLate { ago_s: i64 },
    Assessed { instrument: Instrument, points: u8, thoughts: bool, ago_s: i64 },
}

pub(super) static TIERS: LazyLock<Tiers> = LazyLock::new(shipped);

fn happening() -> impl Strategy<Value = Happening> {
    // Few names and instants, so that they collide.
    let (invoice, ago_s) = (0..3_u8, 0..8_i64);
    let status = prop::sample::select(vec![
        "incomplete",
        "incomplete_expired",
        "trialing",
        "active",
        "past_due",
        "canceled",
        "unpaid",
        "paused",
        "odd",
    ]);
    let price = prop::sample::select(vec!["price_basic_monthly", "price_premium_monthly", "unheard_of"]);
    prop_oneof![
        4 => (0..2_u8, status, price, prop::option::of(invoice.clone()), ago_s.clone())
            .prop_map(|(id, status, price, invoice, ago_s)| {
                // Whatever else a subscription becomes, it is incomplete first; told of it may be later. One that
                // expires as that becomes nothing else.
                let first_s = if status.starts_with("incomplete") { 8 } else { 0 };
                let id = if status == "incomplete_expired" { 2 } else { id };
                Happening::Subscription { id, status, price, invoice, ago_s: ago_s + first_s }
            }),
        2 => (invoice.clone(), ago_s.clone()).prop_map(|(invoice, ago_s)| Happening::Paid { invoice, ago_s }),
        2 => (invoice, 1..3_i64, ago_s.clone())
            .prop_map(|(invoice, attempt_count, ago_s)| Happening::Failed { invoice, attempt_count, ago_s }),
        1 => (prop::sample::select(Severity::ALL.to_vec()), ago_s.clone())
            .prop_map(|(severity, ago_s)| Happening::Crisis { severity, ago_s }),
        1 => ago_s.clone().prop_map(|ago_s| Happening::Resolved { ago_s }),
        1 => ago_s.clone().prop_map(|ago_s| Happening::ToolFailed { ago_s }),
        1 => ago_s.clone().prop_map(|ago_s| Happening::Threatened { ago_s }),
        1 => ago_s.clone().prop_map(|ago_s| Happening::AnsweredLate { ago_s }),
        // Mild, elevated, deteriorating and severe ones.
        3 => (
            prop::sample::select(vec![Instrument::Phq9, Instrument::Gad7]),
            prop::sample::select(vec![4_u8, 10, 16, 21]),
            prop::bool::weighted(0.1),
            ago_s,
        )
            .prop_map(|(instrument, points, thoughts, ago_s)| {
                Happening::Assessed { instrument, points, thoughts, ago_s }
            }),
    ]
}

/// What happened, each with its place in time.
pub(super) type Told = Vec<(usize, Happening)>;

/// A history, and the same one retold in another order with repetitions.
pub(super) fn told_twice() -> impl Strategy<Value = (Told, Told)> {
    prop::collection::vec(happening(), 1..14).prop_flat_map(|history| {
        let told: Vec<_> = history.into_iter().enumerate().collect();
        let repeated: Vec<_> = told.iter().cloned().chain(told.iter().cloned()).collect();
        (Just(told.clone()), Just(repeated).prop_shuffle(), 0..=told.len()).prop_map(
            |(told, mut retold, extra)| {
                // Everything at least once, some of it twice.
                let mut seen = vec![0; told.len()];
                retold.retain(|(number, _)| {
                    seen[*number] += 1;
                    seen[*number] == 1 || *number < extra
                });
                (told, retold)
            },
        )
    })
}

pub(super) fn learn(
    facts: &mut Facts,
    scores: &mut Scores,
    number: usize,
    happening: &Happening,
    learned_ms: UnixMs,
) {
    let id = format!("evt_{number}");
    let invoice_id = |invoice: u8| format!("in_{invoice}");
    let of = |invoice: u8| (invoice > 0).then(|| format!("sub_{}", invoice % 2));
    let signal_ms = |ago_s: i64| signal_time_ms(Some((NOW_S - ago_s) * 1_000), learned_ms);
    match *happening {
        Happening::Subscription { id: subscription, status, price, invoice, ago_s } => {
            let subscription = format!("sub_{subscription}");
            let snapshot = SubscriptionSnapshot {
                status: SubscriptionStatus::from_name(status),
                prices: vec![price.to_owned()],
                period_end_s: None,
                cancel_at_s: None,
                // An invoice is of one subscription at most.
                latest_invoice: invoice
                    .filter(|it| of(*it).is_none_or(|of| of == subscription))
                    .map(invoice_id),
                id: subscription,
                event_created_s: NOW_S - ago_s,
                event_id: id,
            };
            facts.subscription_changed(snapshot, learned_ms);
        }
        Happening::Paid { invoice, ago_s } => {
            facts.invoice_paid(&invoice_id(invoice), of(invoice), NOW_S - ago_s, learned_ms);
        }
        Happening::Failed { invoice, attempt_count, ago_s } => {
            let failure = PaymentFailure {
                invoice: invoice_id(invoice),
                subscription: of(invoice),
                attempt_count,
                event_created_s: NOW_S - ago_s,
                event_id: id,
                road: Road::Brought,
            };
            facts.payment_failed(failure, learned_ms);
        }
        Happening::Crisis { severity, ago_s } => {
            let at_ms = signal_ms(ago_s);
            let signal = Signal { source: Source::Button, severity, at_ms, only_in_crisis: false };
            facts.signalled(id, signal, learned_ms);
        }
        Happening::Resolved { ago_s } => {
            facts.crisis_resolved(resolved_time_ms(Some((NOW_S - ago_s) * 1_000), learned_ms), learned_ms);
        }
        Happening::ToolFailed { ago_s } => facts.system_failed(id, signal_ms(ago_s), learned_ms),
        Happening::Threatened { ago_s } => facts.threatened(id, signal_ms(ago_s), learned_ms),
        Happening::AnsweredLate { ago_s } => facts.answered_late(id, signal_ms(ago_s), learned_ms),
        Happening::Assessed { instrument, points, thoughts, ago_s } => {
            let assessment = Assessment {
                instrument: Some(instrument),
                score: Some(f64::from(points)),
                suicidal_ideation: thoughts,
                emergency: false,
            };
            let stated_ms = Some((NOW_S - ago_s) * 1_000);
            assessed(facts, scores, &id, &assessment, stated_ms, learned_ms);
        }
    }
    facts.forget_old(learned_ms);
}

/// What is true after all of it, without the instants that depend on when it was told.
fn lasting(facts: &Facts, now_ms: UnixMs) -> Value {
    let mut document = serde_json::to_value(access(facts, &TIERS, now_ms)).unwrap();
    for passing in ["started_at", "ends_at", "remaining_days"] {
        document["grace"].as_object_mut().unwrap().remove(passing);
    }
    document.as_object_mut().unwrap().remove("as_of");
    if let Some(message) = document["message"].as_object_mut() {
        message.remove("body");
    }
    document
}

fn tell(history: &[(usize, Happening)]) -> Facts {
    steps(history).pop().unwrap_or_default()
}

/// What is known before anything is told, and after each step.
fn steps(history: &[(usize, Happening)]) -> Vec<Facts> {
    let (mut facts, mut scores) = (Facts::about("cus_1"), Scores::default());
    let mut steps = vec![facts.clone()];
    for (delay_ms, (number, happening)) in (0..).zip(history) {
        learn(&mut facts, &mut scores, *number, happening, NOW_MS + delay_ms);
        steps.push(facts.clone());
    }
    steps
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn access_does_not_depend_on_the_order_or_number_of_tellings((told, retold) in told_twice()) {
        let later_ms = NOW_MS + DAY_MS;
        let (one, other) = (tell(&told), tell(&retold));
        prop_assert_eq!(lasting(&one, later_ms), lasting(&other, later_ms), "{:#?}\n{:#?}", one, other);
        prop_assert_eq!(one.vulnerable, other.vulnerable);
    }

    #[test]
    fn the_floor_is_there_at_every_step_and_at_any_time(
        (_, history) in told_twice(),
        now_ms in prop_oneof![Just(i64::MIN), Just(0), Just(NOW_MS), Just(NOW_MS + 100 * DAY_MS), Just(i64::MAX)],
    ) {
        for facts in steps(&history) {
            let document = access(&facts, &TIERS, now_ms);
            for feature in FLOOR {
                prop_assert!(document.features.enabled.iter().any(|enabled| enabled == feature));
                prop_assert!(!document.features.disabled.iter().any(|disabled| disabled == feature));
            }
        }
    }

    #[test]
    fn whoever_is_in_a_crisis_is_marked_and_covered_until_its_end((_, history) in told_twice()) {
        let facts = tell(&history);
        let now_ms = NOW_MS + history.len() as i64;
        if let Some(crisis) = facts.crisis(now_ms) {
            prop_assert!(facts.vulnerable);
            prop_assert!(facts.marked_until_ms(now_ms) >= Some(crisis.ends_ms));
            let document = access(&facts, &TIERS, crisis.ends_ms - 1);
            prop_assert!(document.crisis.active && document.emergency.active && document.grace.active);
        }
    }

    #[test]
    fn no_grace_period_is_ever_shortened((_, history) in told_twice()) {
        for pair in steps(&history).windows(2) {
            let [before, after] = pair else { unreachable!("windows of two") };
            for (key, grace) in &before.graces {
                prop_assert!(after.graces[key].ends_ms >= grace.ends_ms);
            }
        }
    }

    #[test]
    fn whoever_loses_a_paid_tier_falls_no_lower_than_the_grace_period((_, history) in told_twice()) {
        for (pair, (_, last)) in steps(&history).windows(2).zip(&history) {
            let [before, after] = pair else { unreachable!("windows of two") };
            let tier = |facts: &Facts| access(facts, &TIERS, NOW_MS + DAY_MS).tier;
            let trouble = matches!(
                last,
                Happening::Failed { .. } | Happening::Subscription { status: "past_due" | "unpaid" | "canceled", .. }
            );
            if trouble && tier(before) != "floor" {
                prop_assert_ne!(tier(after), "floor");
            }
        }
    }
}
