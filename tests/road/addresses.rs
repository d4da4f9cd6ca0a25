//! The addresses that Stripe publishes, as the receiver keeps to them.

use http::StatusCode;
use serde_json::json;

use super::event::{Event, SHAPES};
use crate::support::{
    daemon::Daemon,
    eventually,
    stripe::{FakeStripe, Manner},
};

/// How an event of Stripe's is answered.
async fn answered(daemon: &Daemon) -> StatusCode {
    let event = Event::of(SHAPES[0], "setup_intent.succeeded", "someone");
    daemon.stripe(&event).await.expect("an answer").status
}

/// Waits until the daemon answers with `status`.
async fn answers(daemon: &Daemon, status: StatusCode) {
    eventually("events are answered so", async || (answered(daemon).await == status).then_some(())).await;
}

fn list(addresses: &[&str]) -> Manner {
    Manner::Says(200, vec![], json!({ "WEBHOOKS": addresses }).to_string())
}

/// Has the daemon begin anew, and waits until it has asked for a list.
async fn begins_anew(daemon: &mut Daemon, publisher: &FakeStripe) {
    let before = publisher.asked().len();
    daemon.kill();
    daemon.start_again().await;
    eventually("a list is asked for", async || (publisher.asked().len() > before).then_some(())).await;
}

#[tokio::test]
async fn a_bad_address_list_keeps_the_last_good_one() {
    let publisher = FakeStripe::start().await;
    publisher.always(Manner::Says(200, vec![], "<html>a captive portal</html>".to_owned()));
    let url = format!("{}/files/ips/ips_webhooks.json", publisher.url());
    let mut daemon = Daemon::start_with(&[
        ("KEEPWELL_STRIPE__PUBLISHED_ADDRESSES", "true"),
        ("KEEPWELL_STRIPE__ADDRESSES_URL", &url),
    ])
    .await;
    eventually("it is said", async || {
        daemon.log().contains("list of addresses was not renewed").then_some(())
    })
    .await;
    assert_eq!(answered(&daemon).await, StatusCode::OK, "nobody is locked out for want of a list");
    assert!(daemon.public().get("/metrics").await.text().contains("keepwell_stripe_addresses 0"));

    // One without this machine's address is heeded.
    publisher.always(list(&["192.0.2.1", "198.51.100.0/24"]));
    begins_anew(&mut daemon, &publisher).await;
    answers(&daemon, StatusCode::FORBIDDEN).await;
    let metrics = daemon.public().get("/metrics").await.text();
    for name in ["keepwell_stripe_addresses 2", "keepwell_stripe_addresses_age_seconds "] {
        assert!(metrics.contains(name), "{name} is not in {metrics}");
    }

    for bad in [
        list(&[]),
        list(&["192.0.2.1", "nowhere"]),
        Manner::Says(500, vec![], String::new()),
        Manner::Garbage,
    ] {
        publisher.always(bad.clone());
        begins_anew(&mut daemon, &publisher).await;
        assert_eq!(answered(&daemon).await, StatusCode::FORBIDDEN, "after {bad:?}");
    }

    publisher.always(list(&["127.0.0.1"]));
    begins_anew(&mut daemon, &publisher).await;
    answers(&daemon, StatusCode::OK).await;
    let entries = daemon.operator().get("/api/v1/audit?action=stripe.addresses_changed").await.json();
    assert_eq!((&entries["total"], &entries["items"][0]["after"]), (&2.into(), &json!(["127.0.0.1/32"])));
    // A reload reads the configured networks again, and leaves the published ones alone.
    let said = "the webhooks' secrets and networks were read again";
    rustix::process::kill_process(daemon.pid(), rustix::process::Signal::HUP).expect("it lives");
    eventually("it is reloaded", async || daemon.log().contains(said).then_some(())).await;
    assert_eq!(answered(&daemon).await, StatusCode::OK);
}
