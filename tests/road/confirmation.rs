//! What would be taken away is taken away when Stripe has confirmed it, and not before.

use serde_json::{Value, json};

use super::{
    access,
    event::{Event, SHAPES},
    nothing_owed, taken,
};
use crate::support::{
    daemon::Daemon,
    eventually,
    stripe::{API_KEY, FakeStripe, Manner},
};

const KIND: &str = "stripe.confirm_subscription";

async fn daemon_asking(stripe: &FakeStripe) -> Daemon {
    let url = stripe.url();
    Daemon::start_with(&[("KEEPWELL_STRIPE__API_KEY", API_KEY), ("KEEPWELL_STRIPE__API_BASE", &url)]).await
}

/// A history of `person`'s subscription: begun, overdue, paid again, cancelled. It is told with the end first but one.
fn history(person: &str) -> Vec<Event> {
    let becomes = |event_type: &str, status: &str| {
        let shape = SHAPES[person.len() % SHAPES.len()];
        let event_type = format!("customer.subscription.{event_type}");
        Event::of(shape, &event_type, person).with("/data/object/status", status)
    };
    let begun = becomes("created", "active");
    let overdue = becomes("updated", "past_due");
    let paid = becomes("updated", "active");
    let ended = becomes("deleted", "canceled");
    vec![paid, ended, overdue, begun]
}

/// Has Stripe know `person`'s subscription as `status`.
fn knows(stripe: &FakeStripe, person: &str, status: &str) {
    let event = Event::of(SHAPES[0], "customer.subscription.updated", person);
    stripe.knows(event.with("/data/object/status", status)["data"]["object"].clone());
}

async fn tell(daemon: &Daemon, person: &str) {
    for (place, event) in history(person).iter().enumerate() {
        taken(daemon.stripe(event).await);
        if place == 0 {
            // The end waits in a more urgent lane, and where nothing stood there is nothing to take away.
            nothing_owed(daemon).await;
        }
    }
}

async fn confirmations(daemon: &Daemon, state: &str) -> Vec<Value> {
    let page = daemon.operator().get(&format!("/api/v1/jobs?kind={KIND}&state={state}")).await.json();
    page["items"].as_array().expect("a list").clone()
}

#[tokio::test]
async fn a_cancellation_out_of_order_counts_if_stripe_says_so_and_only_then() {
    let stripe = FakeStripe::start().await;
    let daemon = daemon_asking(&stripe).await;
    knows(&stripe, "ada", "active");
    knows(&stripe, "ben", "canceled");
    for person in ["ada", "ben"] {
        tell(&daemon, person).await;
    }
    nothing_owed(&daemon).await;
    let (ada, ben) = (access(&daemon, "cus_ada").await, access(&daemon, "cus_ben").await);
    assert_eq!((&ada["tier"], &ada["subscription"]["status"]), (&"premium".into(), &"active".into()));
    assert_eq!((&ada["grace"]["active"], &ada["message"]), (&false.into(), &Value::Null));
    assert_eq!((&ben["tier"], &ben["subscription"]["status"]), (&"grace_period".into(), &"canceled".into()));
    assert_eq!(
        (&ben["grace"]["reason"], &ben["grace"]["remaining_days"]),
        (&"subscription_canceled".into(), &7.into())
    );
    for person in ["ada", "ben"] {
        assert!(stripe.asked().iter().any(|asked| asked.path == format!("/v1/subscriptions/sub_{person}")));
    }
    assert!(!daemon.log().contains(API_KEY), "the key is in the log");
}

#[tokio::test]
async fn while_stripe_is_away_everybody_keeps_what_they_have() {
    let stripe = FakeStripe::start().await;
    stripe.always(Manner::HangsUp);
    let mut daemon = daemon_asking(&stripe).await;
    knows(&stripe, "cleo", "canceled");
    tell(&daemon, "cleo").await;
    eventually("Stripe was asked in vain", async || {
        let waiting = confirmations(&daemon, "owed").await;
        waiting.iter().any(|job| job["attempts"].as_i64() > Some(0)).then_some(())
    })
    .await;
    assert_eq!(access(&daemon, "cus_cleo").await["tier"], "premium");
    // A daemon that was killed meanwhile has forgotten nothing.
    daemon.kill();
    daemon.start_again().await;
    assert_eq!(access(&daemon, "cus_cleo").await["tier"], "premium");
    stripe.let_go();
    nothing_owed(&daemon).await;
    assert_eq!(access(&daemon, "cus_cleo").await["tier"], "grace_period");
}

#[tokio::test]
async fn a_key_that_may_not_read_is_told_and_takes_nothing_away() {
    let stripe = FakeStripe::start().await;
    let body = json!({ "error": { "type": "invalid_request_error", "message": "not allowed" } }).to_string();
    stripe.always(Manner::Says(403, vec![], body));
    let daemon = daemon_asking(&stripe).await;
    tell(&daemon, "dora").await;
    nothing_owed(&daemon).await;
    let dead = confirmations(&daemon, "dead").await;
    let error = dead[0]["last_error"].as_str().expect("an error");
    assert!(error.contains("leave to read subscriptions") && !error.contains(API_KEY), "{error}");
    assert_eq!(access(&daemon, "cus_dora").await["tier"], "premium");
    // With a better key, the operator retries the job, and it goes on.
    stripe.let_go();
    knows(&stripe, "dora", "canceled");
    for job in &dead {
        let path = format!("/api/v1/jobs/{}/retry", job["id"].as_str().expect("an id"));
        assert!(daemon.operator().post(&path, &json!({})).await.status.is_success());
    }
    nothing_owed(&daemon).await;
    assert_eq!(access(&daemon, "cus_dora").await["tier"], "grace_period");
}
