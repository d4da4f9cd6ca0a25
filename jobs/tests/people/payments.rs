//! Payments that fail, succeed and end.

use keepwell_jobs::care::tiers::FLOOR_TIER;
use keepwell_workers::outcome::Outcome;
use tokio::task::JoinSet;

use crate::support::{DAY_MS, NOW_MS, Room, event, invoice, on_each_database, subscription};

async fn hear(room: &Room, event_type: &str, ago_s: i64, object: &str) {
    let id = format!("evt_{event_type}_{ago_s}");
    assert_eq!(room.stripe(&event(&id, event_type, ago_s, object)).await, Outcome::Done);
}

#[tokio::test]
async fn a_declined_card_begins_seven_days_of_grace_and_payment_ends_them() {
    on_each_database(async |room| {
        hear(room, "customer.subscription.created", 60, &subscription("cus_1", "active")).await;
        hear(room, "invoice.payment_failed", 30, &invoice("cus_1")).await;
        hear(room, "customer.subscription.updated", 30, &subscription("cus_1", "past_due")).await;
        let declined = room.access("cus_1", NOW_MS).await;
        assert_eq!(
            (declined.tier.as_str(), declined.grace.reason),
            ("grace_period", Some("payment_failure"))
        );
        assert_eq!((declined.grace.active, declined.grace.remaining_days), (true, 7));
        assert!(declined.message.unwrap().body.contains("988"));
        assert_eq!(room.access("cus_1", NOW_MS + 7 * DAY_MS - 1).await.grace.remaining_days, 1);
        assert_eq!(room.access("cus_1", NOW_MS + 7 * DAY_MS).await.tier, FLOOR_TIER);

        hear(room, "invoice.payment_succeeded", 10, &invoice("cus_1")).await;
        let paid = room.access("cus_1", NOW_MS).await;
        assert_eq!((paid.tier.as_str(), paid.grace.active), ("premium", false));
        assert_eq!(paid.subscription.unwrap().status, "active");
    })
    .await;
}

#[tokio::test]
async fn the_end_of_a_subscription_begins_seven_days_of_grace() {
    on_each_database(async |room| {
        hear(room, "customer.subscription.created", 60, &subscription("cus_1", "active")).await;
        // Even if the object still says what it was before.
        hear(room, "customer.subscription.deleted", 30, &subscription("cus_1", "active")).await;
        let ended = room.access("cus_1", NOW_MS).await;
        assert_eq!((ended.tier.as_str(), ended.grace.remaining_days), ("grace_period", 7));
        assert_eq!(ended.grace.reason, Some("subscription_canceled"));
        assert_eq!(ended.subscription.unwrap().status, "canceled");
    })
    .await;
}

#[tokio::test]
async fn a_saved_payment_method_is_remembered() {
    on_each_database(async |room| {
        hear(room, "setup_intent.succeeded", 0, r#"{"id":"seti_1","customer":"cus_1"}"#).await;
        assert!(room.facts("cus_1").await.payment_method_on_file);
        assert!(!room.facts("cus_2").await.payment_method_on_file);
    })
    .await;
}

#[tokio::test]
async fn events_of_one_person_at_the_same_time_lose_nothing() {
    const EVENTS: usize = 24;
    on_each_database(async |room| {
        let mut running = JoinSet::new();
        for number in 0..EVENTS {
            let object = format!(r#"{{"id":"in_{number}","customer":"cus_1","subscription":"sub_1"}}"#);
            let body = event(&format!("evt_{number}"), "invoice.payment_failed", 0, &object);
            let room = room.clone();
            running.spawn(async move { room.stripe(&body).await });
        }
        let outcomes = running.join_all().await;
        assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Done));
        let facts = room.facts("cus_1").await;
        assert_eq!((facts.invoices.len(), facts.graces.len()), (EVENTS, EVENTS));
        assert_eq!(facts.version, i64::try_from(EVENTS).unwrap());
    })
    .await;
}
