//! Redis only says what is next. While it is away nothing is lost, and a crisis does not wait for it.

use http::StatusCode;
use serde_json::{Value, json};

use super::{
    access, app,
    event::{Event, SHAPES},
    nothing_owed, signal, taken,
};
use crate::support::{
    daemon::Daemon,
    eventually,
    proxy::{Mode, Proxy},
    redis::Redis,
};

/// Events that come while Redis is away.
const BACKLOG: usize = 40;

async fn on_a_redis_of_its_own() -> (Redis, Daemon) {
    let redis = Redis::start().await;
    let daemon = Daemon::start_with(&[("KEEPWELL_REDIS__URL", &redis.url())]).await;
    (redis, daemon)
}

fn pressed() -> Value {
    signal("crisis.signal", "cus_pressed", json!({ "source": "button", "severity": "critical" }))
}

/// Takes a backlog and a crisis while Redis is away.
pub(super) async fn take_what_comes(daemon: &Daemon) {
    for number in 0..BACKLOG {
        let event = Event::of(SHAPES[0], "customer.subscription.created", &format!("{number}"));
        taken(daemon.stripe(&event).await);
    }
    let job = app(daemon, &pressed()).await;
    assert_eq!((&job["state"], &job["lane"]), (&"done".into(), &"crisis".into()));
    assert_eq!(access(daemon, "cus_pressed").await["crisis"]["severity"], "critical");
}

/// Sees that the backlog is worked off once Redis is back.
pub(super) async fn work_it_off(daemon: &Daemon) {
    nothing_owed(daemon).await;
    for number in 0..BACKLOG {
        assert_eq!(access(daemon, &format!("cus_{number}")).await["tier"], "premium");
    }
    let page = daemon.operator().get("/api/v1/jobs?limit=1").await.json();
    assert_eq!(page["total"], BACKLOG + 1);
    eventually("the daemon says that Redis is back", async || {
        let report = daemon.public().get("/health").await.json();
        (report["dependencies"]["redis"] == true).then_some(())
    })
    .await;
}

#[tokio::test]
async fn while_redis_is_killed_events_are_recorded_and_a_crisis_is_answered() {
    let (mut redis, daemon) = on_a_redis_of_its_own().await;
    redis.kill();
    take_what_comes(&daemon).await;
    let owed = daemon.operator().get("/api/v1/jobs?state=owed&limit=1").await.json();
    assert_eq!(owed["total"], BACKLOG, "{owed:#}");
    assert_eq!(owed["items"][0]["waiting_because"], "redis does not answer");

    redis.start_again().await;
    work_it_off(&daemon).await;
}

#[tokio::test]
async fn while_redis_stands_still_events_are_recorded_and_a_crisis_is_answered() {
    let (mut redis, daemon) = on_a_redis_of_its_own().await;
    redis.freeze();
    take_what_comes(&daemon).await;

    redis.thaw();
    work_it_off(&daemon).await;
}

#[tokio::test]
async fn without_redis_the_daemon_is_ready_and_says_what_is_missing() {
    let (mut redis, daemon) = on_a_redis_of_its_own().await;
    redis.kill();
    let public = daemon.public();
    let report = eventually("the daemon notices", async || {
        let report = public.get("/health").await;
        (report.status == StatusCode::SERVICE_UNAVAILABLE).then_some(report.json())
    })
    .await;
    assert_eq!((&report["status"], &report["dependencies"]["redis"]), (&"degraded".into(), &false.into()));
    assert_eq!(report["crisisSafety"]["crisisSystemHealthy"], true);
    assert_eq!(public.get("/health/ready").await.status, StatusCode::OK);

    let lanes = daemon.operator().get("/api/v1/lanes").await;
    assert_eq!(lanes.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(lanes.json()["code"], "lanes_unavailable");
}

#[tokio::test]
async fn a_daemon_that_starts_without_redis_takes_what_comes() {
    let (mut redis, mut daemon) = on_a_redis_of_its_own().await;
    daemon.stop().await;
    redis.kill();
    daemon.start_again().await;
    take_what_comes(&daemon).await;

    redis.start_again().await;
    work_it_off(&daemon).await;
}

#[tokio::test]
async fn while_the_way_to_redis_swallows_everything_events_are_recorded_and_a_crisis_is_answered() {
    let redis = Redis::start().await;
    let proxy = Proxy::before(redis.socket()).await;
    let url = format!("redis://{}", proxy.address());
    let daemon = Daemon::start_with(&[("KEEPWELL_REDIS__URL", &url)]).await;
    nothing_owed(&daemon).await;
    proxy.set(Mode::BlackHole);
    take_what_comes(&daemon).await;

    proxy.set(Mode::Forward);
    work_it_off(&daemon).await;
}

#[tokio::test]
async fn while_redis_may_not_be_written_events_are_recorded_and_the_log_says_why() {
    let (redis, daemon) = on_a_redis_of_its_own().await;
    redis.tell("REPLICAOF 127.0.0.1 1").await;
    take_what_comes(&daemon).await;
    eventually("the log says so", async || daemon.log().contains("this is a replica").then_some(())).await;

    redis.tell("REPLICAOF NO ONE").await;
    work_it_off(&daemon).await;
    let said = daemon.log().matches("this is a replica").count();
    assert!(said <= 2, "at each change, not at each attempt: {}", daemon.log());
}

#[tokio::test]
async fn while_redis_is_full_events_are_recorded_and_a_crisis_is_answered() {
    let (redis, daemon) = on_a_redis_of_its_own().await;
    redis.tell("CONFIG SET maxmemory 1").await;
    take_what_comes(&daemon).await;
    eventually("the log says so", async || daemon.log().contains("`maxmemory`").then_some(())).await;

    redis.tell("CONFIG SET maxmemory 0").await;
    work_it_off(&daemon).await;
    let said = daemon.log().matches("`maxmemory`").count();
    assert!(said <= 2, "at each change, not at each attempt: {}", daemon.log());
}

#[tokio::test]
async fn while_redis_forbids_what_is_needed_events_are_recorded_and_the_log_says_why() {
    let redis = Redis::start().await;
    redis.tell("ACL SETUSER limited on >word ~* &* +@all -evalsha").await;
    let url = format!("{}?user=limited&pass=word", redis.url());
    let daemon = Daemon::start_with(&[("KEEPWELL_REDIS__URL", &url)]).await;
    take_what_comes(&daemon).await;
    eventually("the log says so", async || daemon.log().contains("+@scripting").then_some(())).await;
    assert!(!daemon.log().contains("pass=word"));

    redis.tell("ACL SETUSER limited +evalsha").await;
    work_it_off(&daemon).await;
}

#[tokio::test]
async fn what_the_lanes_were_is_not_told_for_what_they_are_while_redis_is_away() {
    let (mut redis, mut daemon) = on_a_redis_of_its_own().await;
    let told = async |daemon: &Daemon, is_told: bool| {
        eventually("the figures are those of now", async || {
            let metrics = daemon.public().get("/metrics").await.text();
            let names = ["keepwell_nodes", "keepwell_lane_waiting", "keepwell_lane_oldest_waiting_seconds"];
            let is_there = |name: &&str| metrics.lines().any(|line| line.starts_with(*name));
            (names.iter().filter(|name| is_there(name)).count() == if is_told { names.len() } else { 0 })
                .then_some(())
        })
        .await;
    };
    told(&daemon, true).await;
    redis.kill();
    told(&daemon, false).await;
    daemon.kill();
    daemon.start_again().await;
    told(&daemon, false).await;
    redis.start_again().await;
    told(&daemon, true).await;
}
