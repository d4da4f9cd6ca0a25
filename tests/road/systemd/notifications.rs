//! What the daemon says on the socket that `NOTIFY_SOCKET` names.

use std::time::Duration;

use http::StatusCode;
use redis::AsyncCommands as _;
use rustix::process::Signal;
use serde_json::json;
use tokio::time::Instant;

use crate::{
    road::{
        event::{Event, SHAPES},
        signal, taken,
    },
    support::{
        daemon::ACCESS_TOKEN,
        door::Door,
        eventually,
        postgres::{Postgres, Sync},
        proxy::{Mode, Proxy},
        redis::Redis,
        service_manager::ServiceManager,
    },
};

#[tokio::test]
async fn the_daemon_says_that_it_is_ready_when_its_door_answers_and_that_it_stops() {
    for manager in [ServiceManager::new().await, ServiceManager::with_abstract_socket().await] {
        let mut daemon = manager.start();
        let said = manager.hears(&mut daemon, "READY=1").await;
        assert!(said[0].starts_with("STATUS=starting"), "{said:?}");
        assert_eq!(said.last().unwrap(), "READY=1\nSTATUS=taking requests", "{said:?}");
        // Asked once: who is told READY=1 sends people there at once.
        assert_eq!(manager.public().get("/health/live").await.status, StatusCode::OK);

        daemon.signal(Signal::TERM);
        let said = manager.hears(&mut daemon, "STOPPING=1").await;
        assert!(said.iter().all(|message| !message.contains("READY=1")), "{said:?}");
        assert_eq!(daemon.stop(Signal::TERM).await.code(), Some(0), "{}", daemon.log());
    }
}

#[tokio::test]
async fn the_watchdog_hears_from_the_daemon_again_and_again() {
    let manager = ServiceManager::new().await.with("WATCHDOG_USEC", "1000000");
    let mut daemon = manager.start_ready().await;
    for _ in 0..3 {
        manager.hears(&mut daemon, "WATCHDOG=1").await;
    }
}

#[tokio::test]
async fn a_silent_database_does_not_let_the_watchdog_starve() {
    /// How patient the watchdog is. A job that is read takes longer than that to be given up.
    const PATIENCE: Duration = Duration::from_secs(4);
    let postgres = Postgres::start(Sync::Off).await;
    postgres.database("keepwell").await;
    let network = Proxy::before(postgres.socket()).await;
    let redis = Redis::start().await;
    let manager = ServiceManager::new()
        .await
        .with("KEEPWELL_DATABASE__URL", network.postgres_url("keepwell"))
        .with("KEEPWELL_REDIS__URL", redis.url())
        .with("WATCHDOG_USEC", PATIENCE.as_micros().to_string());
    let mut daemon = manager.start_ready().await;
    // They wait in their lane, so that their rows are asked for when the database says nothing any more.
    let (mut lanes, paused) = (redis.connection().await, "{keepwell:0}:paused");
    for lane in ["1", "2", "3", "4"] {
        let _: () = lanes.hset(paused, lane, "a test").await.unwrap();
    }
    let door = Door::of(manager.public());
    for number in 0..100 {
        taken(door.stripe(&Event::of(SHAPES[1], "invoice.payment_succeeded", &number.to_string())).await);
    }
    network.set(Mode::BlackHole);
    // Not by an operator's hand: that asks the database first.
    let _: () = lanes.del(paused).await.unwrap();
    let _: () = lanes.publish("{keepwell:0}:wake", "0").await.unwrap();
    manager.hears(&mut daemon, "WATCHDOG=1").await;
    let begun = Instant::now();
    let mut fed = begun;
    while begun.elapsed() < PATIENCE * 4 {
        manager.hears(&mut daemon, "WATCHDOG=1").await;
        let pause = fed.elapsed();
        assert!(pause < PATIENCE, "{pause:?}: {}", daemon.log());
        fed = Instant::now();
    }
    let floor = manager.public().with_token(ACCESS_TOKEN).get("/v1/customers/cus_0/access").await;
    assert_eq!((floor.status, floor.header("keepwell-fallback")), (StatusCode::OK, "floor"));
    network.set(Mode::Forward);
    eventually("everything is done", async || {
        let page = manager.operator().get("/api/v1/jobs?state=owed&limit=1").await.json();
        (page["total"] == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_status_says_what_waits_and_what_is_held_up() {
    let manager = ServiceManager::new().await;
    let mut daemon = manager.start_ready().await;
    let body = json!({ "override": true, "reason": "a drill" });
    let paused = manager.operator().post("/api/v1/lanes/crisis/pause", &body).await;
    assert_eq!(paused.status, StatusCode::OK);
    let signal = signal("crisis.signal", "cus_1", json!({ "severity": "high" }));
    taken(Door::of(manager.public()).app("msg_1", &signal).await);
    let status = "STATUS=CRISIS WORK IS HELD UP by an operator; taking requests; waiting 1, running 0, later 0; paused: crisis";
    manager.hears(&mut daemon, status).await;
}
