//! While jobs that run come to their end, the door stays open; and what hangs keeps nobody from stopping.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use keepwell::serve::STOPPING_MAX_MS;
use rustix::process::Signal;
use serde_json::json;
use tokio::time::Instant;

use crate::{
    road::{
        event::{Event, SHAPES},
        from_database, signal, taken,
    },
    support::{
        daemon::ACCESS_TOKEN,
        door::Door,
        eventually,
        gateway::{GATEWAY_TOKEN, Gateway, Manner},
        postgres::{Postgres, Sync},
        proxy::{Mode, Proxy},
        service_manager::ServiceManager,
    },
};

#[tokio::test]
async fn while_jobs_come_to_their_end_the_floor_is_answered_and_crises_are_taken() {
    let gateway = Gateway::start().await;
    let manager = ServiceManager::new()
        .await
        .with("KEEPWELL_NOTIFY__URL", gateway.url())
        .with("KEEPWELL_NOTIFY__TOKEN", GATEWAY_TOKEN)
        .with("KEEPWELL_NOTIFY__TIMEOUT_MS", "20000");
    let mut daemon = manager.start_ready().await;
    let door = Door::of(manager.public());
    gateway.always(Manner::Hangs);
    taken(door.stripe(&Event::of(SHAPES[1], "invoice.payment_failed", "told")).await);
    eventually("a message is under way", async || (gateway.held() == 1).then_some(())).await;

    daemon.signal(Signal::TERM);
    manager.hears(&mut daemon, "STOPPING=1").await;
    let reader = manager.public().with_token(ACCESS_TOKEN);
    let known = from_database(&reader, "/v1/customers/cus_told/access").await;
    assert_eq!(known.status, StatusCode::OK);
    assert_eq!(manager.public().get("/v1/crisis-resources").await.status, StatusCode::OK);
    let pressed =
        signal("crisis.signal", "cus_pressed", json!({ "source": "button", "severity": "critical" }));
    taken(door.app("msg_pressed", &pressed).await);
    eventually("the crisis is answered", async || {
        let access = reader.get("/v1/customers/cus_pressed/access").await.json();
        (access["crisis"]["active"] == true).then_some(())
    })
    .await;
    taken(door.stripe(&Event::of(SHAPES[0], "customer.subscription.created", "later")).await);
    let later = reader.get("/v1/customers/cus_later/access").await.json();
    assert_eq!(later["tier"], "floor", "what is no crisis is for the next life");
    let ready = manager.public().get("/health/ready").await;
    assert_eq!(ready.json()["because"], "it is shutting down");
    assert_eq!(daemon.ended(), None, "it waits for the message");

    gateway.let_go();
    let ended = eventually("it ends", async || daemon.ended()).await;
    assert_eq!(ended.code(), Some(0), "{}", daemon.log());
    assert_eq!(gateway.taken().len(), 1, "what was under way came to its end");

    let _next = manager.start_ready().await;
    eventually("what was taken meanwhile is done", async || {
        let access = reader.get("/v1/customers/cus_later/access").await.json();
        (access["tier"] == "premium").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_daemon_whose_database_says_nothing_stops_by_itself_in_the_time_that_systemd_gives() {
    stops_in_time(Mode::BlackHole).await;
}

#[tokio::test]
async fn what_operators_have_begun_is_left_behind_when_it_does_not_end_in_the_time_that_systemd_gives() {
    let log = stops_in_time(Mode::MuteFrom(b"INSERT 0 1")).await;
    assert!(log.contains("what operators have begun does not come to its end"), "{log}");
}

/// Sees that a daemon stops whose database behaves like this all of a sudden; answers with what it has logged.
async fn stops_in_time(mode: Mode) -> String {
    const DRAIN_MS: u64 = 1_000;
    let postgres = Postgres::start(Sync::Off).await;
    postgres.database("keepwell").await;
    let network = Proxy::before(postgres.socket()).await;
    let manager = ServiceManager::new()
        .await
        .with("KEEPWELL_DATABASE__URL", network.postgres_url("keepwell"))
        .with("KEEPWELL_POOL__DRAIN_TIMEOUT_MS", DRAIN_MS.to_string());
    let mut daemon = manager.start_ready().await;
    let (operator, door) = (manager.operator(), Door::of(manager.public()));
    network.set(mode);
    let pressed =
        signal("crisis.signal", "cus_pressed", json!({ "source": "button", "severity": "critical" }));
    // Both are under way for longer than anybody who has to stop can wait.
    let body = Bytes::from_static(br#"{"reason":"an upgrade"}"#);
    let pausing = operator.try_call(Method::POST, "/api/v1/lanes/standard/pause", &[], body);
    let stopping = async {
        let told = Instant::now();
        let ended = daemon.stop(Signal::TERM).await;
        (ended, told.elapsed())
    };
    let (_, _, (ended, took)) = tokio::join!(door.app("msg_pressed", &pressed), pausing, stopping);
    assert_eq!(ended.code(), Some(0), "{}", daemon.log());
    assert!(took < Duration::from_millis(DRAIN_MS + STOPPING_MAX_MS), "{took:?}\n{}", daemon.log());
    daemon.log()
}
