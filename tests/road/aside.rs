//! What nobody handles or expects is recorded, answered like everything else, and changes nothing.

use serde_json::json;

use super::{
    access, app,
    event::{Event, SHAPES},
    on_both, signal, stripe, taken,
};

#[tokio::test]
async fn a_thin_event_is_recorded_and_changes_nothing() {
    on_both(&[], async |daemon| {
        stripe(daemon, &Event::of(SHAPES[1], "customer.subscription.created", "thin")).await;
        let before = access(daemon, "cus_thin").await;

        let ended = Event::thin("thin");
        let job = stripe(daemon, &ended).await;
        assert_eq!(job["kind"], "stripe.event_recorded");
        let again = taken(daemon.stripe(&ended).await);
        assert_eq!((&again["duplicate"], &again["job"]), (&true.into(), &job["id"]));
        assert_eq!(access(daemon, "cus_thin").await, before);
    })
    .await;
}

#[tokio::test]
async fn an_event_of_a_type_that_nobody_handles_is_recorded_and_changes_nothing() {
    on_both(&[], async |daemon| {
        stripe(daemon, &Event::of(SHAPES[0], "customer.subscription.created", "other")).await;
        let before = access(daemon, "cus_other").await;

        let job = stripe(daemon, &Event::unhandled("other")).await;
        assert_eq!((&job["kind"], &job["lane"]), (&"stripe.event_recorded".into(), &"background".into()));
        let job = app(daemon, &signal("mood.shared", "cus_other", json!({ "mood": "sunny" }))).await;
        assert_eq!((&job["kind"], &job["lane"]), (&"app.signal_recorded".into(), &"background".into()));
        assert_eq!(access(daemon, "cus_other").await, before);
    })
    .await;
}

#[tokio::test]
async fn an_event_of_another_mode_or_account_than_expected_is_set_aside() {
    let expected = [("KEEPWELL_STRIPE__LIVEMODE", "true"), ("KEEPWELL_STRIPE__ACCOUNT", "acct_ours")];
    on_both(&expected, async |daemon| {
        let event = |number: &str| {
            let mut event =
                Event::of(SHAPES[0], "customer.subscription.created", number).with("/livemode", true);
            event.insert("account", "acct_ours");
            event
        };
        let mut from_elsewhere = event("elsewhere");
        from_elsewhere.insert("account", "acct_theirs");
        for (event, customer) in
            [(event("test").with("/livemode", false), "cus_test"), (from_elsewhere, "cus_elsewhere")]
        {
            let job = stripe(daemon, &event).await;
            assert_eq!((&job["kind"], &job["lane"]), (&"stripe.event_recorded".into(), &"background".into()));
            let access = access(daemon, customer).await;
            assert_eq!((&access["tier"], &access["version"]), (&"floor".into(), &0.into()), "{customer}");
        }

        stripe(daemon, &event("ours")).await;
        assert_eq!(access(daemon, "cus_ours").await["tier"], "premium");
    })
    .await;
}
