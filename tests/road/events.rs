//! Each event changes what the person may use as the rules say, in every shape in which Stripe has sent it, on every
//! database.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use toml::Table;

use super::{
    access,
    event::{Event, SHAPES},
    on_both, stripe,
};
use crate::support::daemon::Daemon;

const CREATED: &str = "customer.subscription.created";
const UPDATED: &str = "customer.subscription.updated";
const DELETED: &str = "customer.subscription.deleted";
const PAID: &str = "invoice.payment_succeeded";
const FAILED: &str = "invoice.payment_failed";

/// The tiers as they are shipped.
fn shipped() -> Table {
    include_str!("../../config/tiers.toml").parse().expect("TOML")
}

fn names(list: &toml::Value) -> BTreeSet<&str> {
    list.as_array().expect("a list").iter().map(|name| name.as_str().expect("a name")).collect()
}

fn enabled(access: &Value) -> BTreeSet<&str> {
    let features = access["features"]["enabled"].as_array().expect("a list");
    features.iter().map(|name| name.as_str().expect("a name")).collect()
}

/// Has the access of `person` been what `tier` opens, and the floor below it?
fn assert_tier(access: &Value, name: &str) {
    let shipped = shipped();
    let tier = &shipped["tiers"][name];
    assert_eq!(access["tier"], name, "{access:#}");
    let expected: BTreeSet<&str> =
        names(&tier["features"]).union(&names(&shipped["floor"]["features"])).copied().collect();
    assert_eq!(enabled(access), expected);
    let disabled: Vec<&str> = names(&tier["disabled"]).into_iter().collect();
    assert_eq!(access["features"]["disabled"], json!(disabled));
    let limit = tier.get("data_limit_mb").and_then(toml::Value::as_integer);
    let frequency = tier["sync_frequency"].as_str();
    assert_eq!(access["sync"], json!({ "frequency": frequency, "data_limit_mb": limit }));
}

#[tokio::test]
async fn a_subscription_opens_the_tier_of_its_price() {
    on_both(&[], async |daemon| {
        let shipped = shipped();
        let prices = shipped["prices"].as_table().expect("a table");
        let tiers = prices.iter().map(|(price, tier)| (price.as_str(), tier.as_str().expect("a name")));
        for (number, (price, tier)) in tiers.chain([("price_of_tomorrow", "basic")]).enumerate() {
            for shape in SHAPES {
                let person = format!("{number}_{}", &shape[..4]);
                stripe(daemon, &Event::of(shape, CREATED, &person).for_price(price)).await;
                let access = access(daemon, &format!("cus_{person}")).await;
                assert_tier(&access, tier);
                assert_eq!(
                    access["subscription"],
                    json!({ "id": format!("sub_{person}"), "status": "active", "period_end": "2026-01-31T00:00:00.000Z" })
                );
                assert_eq!((&access["version"], &access["grace"]["active"]), (&1.into(), &false.into()));
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_trial_opens_the_tier_of_trials_until_it_is_paid() {
    on_both(&[], async |daemon| {
        for shape in SHAPES {
            let person = format!("trial_{}", &shape[..4]);
            let customer = format!("cus_{person}");
            stripe(daemon, &Event::of(shape, CREATED, &person).with("/data/object/status", "trialing")).await;
            assert_tier(&access(daemon, &customer).await, "trial");
            stripe(daemon, &Event::of(shape, UPDATED, &person)).await;
            assert_tier(&access(daemon, &customer).await, "premium");
        }
    })
    .await;
}

/// A premium subscription whose renewal fails.
async fn renewal_fails(daemon: &Daemon, shape: &str, person: &str) {
    stripe(daemon, &Event::of(shape, CREATED, person)).await;
    stripe(daemon, &Event::of(shape, FAILED, person)).await;
    stripe(daemon, &Event::of(shape, UPDATED, person).with("/data/object/status", "past_due")).await;
}

#[tokio::test]
async fn a_failed_payment_begins_seven_days_of_grace_on_top_of_the_floor() {
    on_both(&[], async |daemon| {
        for shape in SHAPES {
            let person = format!("declined_{}", &shape[..4]);
            renewal_fails(daemon, shape, &person).await;

            let access = access(daemon, &format!("cus_{person}")).await;
            assert_tier(&access, "grace_period");
            assert_eq!(access["subscription"]["status"], "past_due");
            let grace = &access["grace"];
            assert_eq!(
                (&grace["active"], &grace["reason"]),
                (&true.into(), &"payment_failure".into()),
                "{grace}"
            );
            assert_eq!(grace["remaining_days"], 7);
            let days = days_between(&grace["started_at"], &grace["ends_at"]);
            assert!((days - 7.0).abs() < f64::EPSILON, "{grace}");
            assert!(access["message"]["body"].as_str().expect("words").contains("988"));
        }
    })
    .await;
}

#[tokio::test]
async fn a_payment_that_comes_after_all_ends_the_grace() {
    on_both(&[], async |daemon| {
        for shape in SHAPES {
            let person = format!("recovered_{}", &shape[..4]);
            renewal_fails(daemon, shape, &person).await;
            stripe(daemon, &Event::of(shape, PAID, &person)).await;

            let access = access(daemon, &format!("cus_{person}")).await;
            assert_tier(&access, "premium");
            assert_eq!(access["subscription"]["status"], "active");
            assert_eq!((&access["grace"]["active"], &access["message"]), (&false.into(), &Value::Null));
        }
    })
    .await;
}

#[tokio::test]
async fn a_subscription_that_ends_is_followed_by_seven_days_of_grace() {
    on_both(&[], async |daemon| {
        for shape in SHAPES {
            let person = format!("ended_{}", &shape[..4]);
            stripe(daemon, &Event::of(shape, CREATED, &person)).await;
            stripe(daemon, &Event::of(shape, DELETED, &person)).await;

            let access = access(daemon, &format!("cus_{person}")).await;
            assert_tier(&access, "grace_period");
            assert_eq!(access["subscription"]["status"], "canceled");
            assert_eq!(access["grace"]["reason"], "subscription_canceled");
            assert_eq!(access["grace"]["remaining_days"], 7);
        }
    })
    .await;
}

#[tokio::test]
async fn a_saved_payment_method_is_known_and_takes_nothing_away() {
    on_both(&[], async |daemon| {
        for shape in SHAPES {
            let person = format!("saved_{}", &shape[..4]);
            stripe(daemon, &Event::of(shape, CREATED, &person)).await;
            let before = access(daemon, &format!("cus_{person}")).await;
            let job = stripe(daemon, &Event::of(shape, "setup_intent.succeeded", &person)).await;

            assert_eq!(job["kind"], "stripe.payment_method_saved");
            let mut after = access(daemon, &format!("cus_{person}")).await;
            assert_eq!(after["version"], 2);
            after["version"] = before["version"].clone();
            assert_eq!(after, before);
        }
    })
    .await;
}

fn days_between(start: &Value, end: &Value) -> f64 {
    let instant = |text: &Value| {
        chrono::DateTime::parse_from_rfc3339(text.as_str().expect("an instant")).expect("an instant")
    };
    (instant(end) - instant(start)).as_seconds_f64() / 86_400.0
}
