//! The lanes as operators see them, hold them up and let them go.

use http::StatusCode;
use serde_json::{Value, json};

use super::{
    assert_problem, backup,
    event::{Event, SHAPES},
    nothing_owed, stripe, taken,
    trail::entries,
};
use crate::support::{
    daemon::Daemon,
    eventually,
    http::Answer,
    redis::{Memory, Redis},
};

async fn pause(daemon: &Daemon, lane: &str, body: Value) -> Answer {
    daemon.operator().post(&format!("/api/v1/lanes/{lane}/pause"), &body).await
}

async fn resume(daemon: &Daemon, lane: &str) -> Answer {
    daemon.operator().post(&format!("/api/v1/lanes/{lane}/resume"), &Value::Null).await
}

async fn lane(daemon: &Daemon, name: &str) -> Value {
    let answer = daemon.operator().get("/api/v1/lanes").await.json();
    let lanes = answer["lanes"].as_array().expect("a list");
    lanes.iter().find(|lane| lane["name"] == name).expect("it is there").clone()
}

#[tokio::test]
async fn the_lanes_have_the_shape_that_clients_rely_on() {
    let daemon = Daemon::start().await;
    let idle = |name: &str| {
        json!({
            "name": name, "paused": false, "paused_because": null, "waiting": 0, "running": 0, "later": 0,
            "oldest_waiting_ms": null,
        })
    };
    let names = ["crisis", "therapeutic", "realtime", "standard", "background"];
    let expected = json!({ "lanes": names.map(idle), "owed": 0, "dead": 0 });
    assert_eq!(daemon.operator().get("/api/v1/lanes").await.json(), expected);
}

#[tokio::test]
async fn a_lane_that_is_held_up_waits_until_it_is_let_go() {
    let daemon = Daemon::start().await;
    let answer = pause(&daemon, "standard", json!({ "reason": "an upgrade" })).await;
    assert_eq!(
        (answer.status, answer.json()),
        (StatusCode::OK, json!({ "name": "standard", "paused": true }))
    );

    let held = taken(daemon.stripe(&Event::of(SHAPES[0], "setup_intent.succeeded", "held")).await);
    stripe(&daemon, &Event::of(SHAPES[0], "invoice.payment_failed", "free")).await;
    let standard = eventually("it waits", async || {
        let standard = lane(&daemon, "standard").await;
        (standard["waiting"].as_u64() >= Some(1)).then_some(standard)
    })
    .await;
    assert_eq!((&standard["paused"], &standard["paused_because"]), (&true.into(), &"an upgrade".into()));
    assert!(standard["oldest_waiting_ms"].is_u64(), "{standard}");
    let job = daemon.operator().get(&format!("/api/v1/jobs/{}", held["job"].as_str().unwrap())).await.json();
    assert_eq!((&job["state"], &job["waiting_because"]), (&"owed".into(), &"lane paused".into()));

    assert_eq!(resume(&daemon, "standard").await.json(), json!({ "name": "standard", "paused": false }));
    nothing_owed(&daemon).await;
}

/// Waits until the lanes say that the standard one is held up because of this.
async fn is_paused(daemon: &Daemon, because: &str) {
    eventually("the lane is held up", async || {
        let answer = daemon.operator().get("/api/v1/lanes").await;
        let lanes = answer.json()["lanes"].as_array()?.clone();
        lanes.iter().any(|lane| lane["name"] == "standard" && lane["paused_because"] == because).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_pause_outlives_the_daemon_and_its_redis_and_is_in_a_backup() {
    let mut daemon = Daemon::start().await;
    let answer = pause(&daemon, "standard", json!({ "reason": "a bad release" })).await;
    assert_eq!(answer.status, StatusCode::OK);
    let file = daemon.state_dir().join("backup.db");
    let file = file.to_str().expect("a path of ours").to_owned();
    assert_eq!(backup::says(&daemon, &["backup", &file]).code, 0);
    daemon.stop().await;
    daemon.start_again().await;
    is_paused(&daemon, "a bad release").await;

    assert_eq!(resume(&daemon, "standard").await.status, StatusCode::OK);
    daemon.stop().await;
    assert_eq!(backup::says(&daemon, &["restore", &file]).code, 0);
    daemon.start_again().await;
    is_paused(&daemon, "a bad release").await;
}

#[tokio::test]
async fn whoever_lets_a_lane_go_while_redis_is_away_is_in_the_trail_and_is_obeyed_when_it_returns() {
    let mut redis = Redis::start_with(Memory::Disk).await;
    let daemon = Daemon::start_with(&[("KEEPWELL_REDIS__URL", &redis.url())]).await;
    let reason = json!({ "reason": "an upgrade" });
    assert_eq!(pause(&daemon, "standard", reason).await.status, StatusCode::OK);
    redis.end().await;
    let answer = resume(&daemon, "standard").await;
    let expected = json!({ "name": "standard", "paused": false, "waits_for": "redis" });
    assert_eq!((answer.status, answer.json()), (StatusCode::ACCEPTED, expected));
    let resumed = entries(&daemon, "lane.resumed").await;
    let said: Vec<_> =
        resumed.iter().map(|entry| (&entry["subject"], &entry["before"], &entry["after"])).collect();
    let before = json!({ "paused": true, "because": "an upgrade" });
    assert_eq!(said, [(&json!("standard"), &before, &json!({ "paused": false }))]);
    let metrics = daemon.public().get("/metrics").await.text();
    assert!(metrics.contains("keepwell_lane_paused{lane=\"standard\"} 0"), "{metrics}");
    // It is so, though this Redis remembers the pause.
    redis.start_again().await;
    taken(daemon.stripe(&Event::of(SHAPES[0], "setup_intent.succeeded", "free")).await);
    nothing_owed(&daemon).await;
}

#[tokio::test]
async fn the_crisis_lane_is_held_up_only_with_an_override() {
    let daemon = Daemon::start().await;
    for body in [json!({}), json!({ "reason": "an upgrade" }), json!({ "override": false })] {
        assert_problem(&pause(&daemon, "crisis", body).await, StatusCode::CONFLICT, "crisis_needs_override");
        assert_eq!(lane(&daemon, "crisis").await["paused"], false);
    }
    assert_problem(
        &pause(&daemon, "crisis", json!({ "overide": true })).await,
        StatusCode::BAD_REQUEST,
        "bad_body",
    );
    assert_problem(&pause(&daemon, "express", json!({})).await, StatusCode::BAD_REQUEST, "bad_lane");

    let body = json!({ "override": true, "reason": "a drill" });
    assert_eq!(pause(&daemon, "crisis", body).await.status, StatusCode::OK);
    assert_eq!(lane(&daemon, "crisis").await["paused_because"], "a drill");
    assert_eq!(resume(&daemon, "crisis").await.status, StatusCode::OK);
}
