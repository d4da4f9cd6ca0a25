//! Stripe delivers at least once, so what is delivered again is recorded once.

use futures_util::future::join_all;
use serde_json::json;

use super::{
    access, app,
    event::{Event, SHAPES},
    on_both, signal, stripe, taken,
};

/// Deliveries of one event at once.
const AT_ONCE: usize = 20;

#[tokio::test]
async fn an_event_that_is_sent_twice_is_recorded_once_and_changes_nothing_more() {
    on_both(&[], async |daemon| {
        let failed = Event::of(SHAPES[0], "invoice.payment_failed", "twice");
        let job = stripe(daemon, &failed).await;
        let before = access(daemon, "cus_twice").await;

        let again = taken(daemon.stripe(&failed).await);
        assert_eq!((&again["duplicate"], &again["job"]), (&true.into(), &job["id"]));
        assert_eq!(again["id"], failed["id"]);
        let page = daemon.operator().get("/api/v1/jobs?subject=cus_twice").await.json();
        assert_eq!((&page["total"], &page["items"][0]["attempts"]), (&1.into(), &1.into()));
        assert_eq!(access(daemon, "cus_twice").await, before);
    })
    .await;
}

#[tokio::test]
async fn a_signal_that_is_sent_twice_is_recorded_once() {
    on_both(&[], async |daemon| {
        let pressed =
            signal("crisis.signal", "cus_pressed", json!({ "source": "button", "severity": "high" }));
        let first = taken(daemon.app("msg_pressed", &pressed).await);
        let again = taken(daemon.app("msg_pressed", &pressed).await);
        assert_eq!((&first["duplicate"], &again["duplicate"]), (&false.into(), &true.into()));
        assert_eq!(first["job"], again["job"]);

        // Whoever presses again has sent another message.
        let job = app(daemon, &pressed).await;
        assert_ne!(job["id"], first["job"]);
    })
    .await;
}

#[tokio::test]
async fn an_event_that_comes_over_many_connections_at_once_is_recorded_once() {
    on_both(&[], async |daemon| {
        for round in 0..5 {
            let paid = Event::of(SHAPES[1], "invoice.payment_succeeded", &format!("many_{round}"));
            let accepted: Vec<_> =
                join_all((0..AT_ONCE).map(|_| daemon.stripe(&paid))).await.into_iter().map(taken).collect();

            let fresh = accepted.iter().filter(|accepted| accepted["duplicate"] == false).count();
            assert_eq!(fresh, 1, "{accepted:?}");
            assert!(accepted.iter().all(|one| one["job"] == accepted[0]["job"]), "{accepted:?}");
            let subject = format!("/api/v1/jobs?subject=cus_many_{round}");
            assert_eq!(daemon.operator().get(&subject).await.json()["total"], 1);
        }
    })
    .await;
}
