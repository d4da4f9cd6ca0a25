//! The same history told in every order, parts of it twice: what a person may use ends up the same.

use keepwell_jobs::care::document::AccessDocument;
use keepwell_workers::outcome::Outcome;

use crate::support::{DAY_MS, NOW_MS, Room, event, invoice, on_each_database, signal, subscription};

/// An event of Stripe's or a signal of the app's, about a given customer.
type Telling = fn(&str) -> String;

/// What lasts: the times at which grace begins and ends depend on when we learn of its cause.
#[derive(Debug, Clone, PartialEq)]
struct Lasting {
    tier: String,
    status: Option<String>,
    grace: Option<&'static str>,
    crisis: Option<&'static str>,
    enabled: Vec<String>,
}

fn lasting(document: AccessDocument) -> Lasting {
    Lasting {
        tier: document.tier,
        status: document.subscription.map(|subscription| subscription.status),
        grace: document.grace.reason,
        crisis: document.crisis.severity,
        enabled: document.features.enabled,
    }
}

async fn hear(room: &Room, telling: &str) {
    let outcome = if telling.contains(r#""object":"event""#) {
        room.stripe(telling).await
    } else {
        room.app(telling).await
    };
    assert_eq!(outcome, Outcome::Done);
}

/// Tells `history` in every order, each time with one part of it repeated, each time about somebody else.
async fn told_in_every_order(room: &Room, history: &[Telling]) -> Lasting {
    let mut first: Option<Lasting> = None;
    for (number, order) in orders(history.len()).into_iter().enumerate() {
        let customer = format!("cus_{number}");
        for place in order.iter().chain([&order[number % order.len()]]) {
            hear(room, &history[*place](&customer)).await;
        }
        let ended = lasting(room.access(&customer, NOW_MS + DAY_MS).await);
        let first = first.get_or_insert_with(|| ended.clone());
        assert_eq!(*first, ended, "{order:?}");
    }
    first.expect("a history with something in it")
}

/// Every order of `count` things.
fn orders(count: usize) -> Vec<Vec<usize>> {
    if count == 0 {
        return vec![vec![]];
    }
    let shorter = orders(count - 1);
    let with = |place: usize| {
        shorter.iter().map(move |order| {
            let mut order = order.clone();
            order.insert(place, count - 1);
            order
        })
    };
    (0..count).flat_map(with).collect()
}

#[tokio::test]
async fn a_payment_that_failed_and_was_made_ends_in_the_paid_tier() {
    let history: [Telling; 5] = [
        |who| event("evt_1", "customer.subscription.created", 90, &subscription(who, "active")),
        |who| event("evt_2", "invoice.payment_failed", 60, &invoice(who)),
        |who| event("evt_3", "customer.subscription.updated", 60, &subscription(who, "past_due")),
        |who| event("evt_4", "invoice.payment_succeeded", 30, &invoice(who)),
        |who| event("evt_5", "customer.subscription.updated", 30, &subscription(who, "active")),
    ];
    on_each_database(async |room| {
        let ended = told_in_every_order(room, &history).await;
        assert_eq!((ended.tier.as_str(), ended.grace, ended.crisis), ("premium", None, None));
        assert_eq!(ended.status.as_deref(), Some("active"));
    })
    .await;
}

#[tokio::test]
async fn a_subscription_that_ended_in_a_crisis_ends_in_grace_with_the_crisis_open() {
    let history: [Telling; 5] = [
        |who| event("evt_1", "customer.subscription.created", 90, &subscription(who, "active")),
        |who| signal("crisis.signal", who, 80, r#","severity":"critical""#),
        |who| signal("crisis.resolved", who, 70, ""),
        |who| signal("crisis.signal", who, 60, r#","severity":"moderate""#),
        |who| event("evt_2", "customer.subscription.deleted", 50, &subscription(who, "canceled")),
    ];
    on_each_database(async |room| {
        let ended = told_in_every_order(room, &history).await;
        // The critical signal was resolved; ending a subscription makes the moderate one high.
        assert_eq!((ended.tier.as_str(), ended.crisis), ("grace_period", Some("high")));
        assert_eq!((ended.grace, ended.status.as_deref()), (Some("crisis_detected"), Some("canceled")));
    })
    .await;
}
