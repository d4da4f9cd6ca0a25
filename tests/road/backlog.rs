//! Twenty thousand jobs that wait. Nothing that is asked meanwhile takes long or much, and a crisis does not notice.

use std::sync::Arc;

use http::StatusCode;
use keepwell_workers::{
    clock::SystemClock,
    database::{Database, DatabaseOptions},
    engine::{Engine, EngineOptions, EngineParts},
    handler::Registry,
    job::NewJob,
    lane::Lane,
    observer::Unobserved,
    seal::{KeyRing, SealingKey},
};
use serde_json::{Value, json};

use super::{access, app, signal};
use crate::support::{daemon::Daemon, eventually, redis::Redis};

const BACKLOG: usize = 20_000;

/// What a daemon may need more with the backlog than without, in bytes.
const GROWTH_MAX: u64 = 96 << 20;

async fn memory_used(daemon: &Daemon) -> u64 {
    daemon.public().get("/health").await.json()["memory"]["used"].as_u64().expect("a number")
}

/// Records the backlog as another process of the same installation does.
async fn record(daemon: &Daemon, redis: &Redis) {
    let url = format!("sqlite:{}", daemon.state_dir().join("keepwell.db").display());
    let database = Database::connect(&url, &DatabaseOptions::default()).await.unwrap();
    let parts = EngineParts {
        database: database.clone(),
        keys: KeyRing::new(SealingKey::new("another", &zeroize::Zeroizing::new([7; 32])), []),
        clock: Arc::new(SystemClock),
        registry: Registry::default(),
        redis_url: redis.url(),
        observer: Arc::new(Unobserved),
    };
    let options = EngineOptions { runs_jobs: false, ..EngineOptions::default() };
    let recorder = Engine::start(parts, &options).unwrap();
    for first in (0..BACKLOG).step_by(1_000) {
        let job = |number: usize| {
            NewJob::new("stripe.event_recorded", Lane::Standard, "{}").subject(format!("cus_{number}"))
        };
        recorder.enqueue_all((first..first + 1_000).map(job).collect()).await.unwrap();
    }
    recorder.shutdown().await;
    database.close().await;
}

fn waiting(daemon: &Daemon) -> usize {
    let output = daemon.keepwell(&["queue", "list", "--json"]);
    assert!(output.status.success(), "{output:?}");
    let lanes: Value = serde_json::from_slice(&output.stdout).unwrap();
    let waiting = lanes["lanes"].as_array().unwrap().iter().map(|lane| lane["waiting"].as_u64().unwrap());
    usize::try_from(waiting.sum::<u64>()).unwrap()
}

async fn a_crisis_is_answered(daemon: &Daemon, customer: &str) {
    let pressed = signal("crisis.signal", customer, json!({ "source": "button", "severity": "critical" }));
    assert_eq!(app(daemon, &pressed).await["lane"], "crisis");
    assert_eq!(access(daemon, customer).await["crisis"]["severity"], "critical");
}

#[tokio::test]
async fn every_promise_holds_with_twenty_thousand_jobs_waiting() {
    let redis = Redis::start().await;
    let mut daemon = Daemon::start_with(&[("KEEPWELL_REDIS__URL", &redis.url())]).await;
    let pause = daemon.operator().post("/api/v1/lanes/standard/pause", &json!({ "reason": "a test" })).await;
    assert_eq!(pause.status, StatusCode::OK);
    let memory_before = memory_used(&daemon).await;
    record(&daemon, &redis).await;
    eventually("all of them wait", async || (waiting(&daemon) >= BACKLOG).then_some(())).await;
    a_crisis_is_answered(&daemon, "cus_one").await;

    let operator = daemon.operator();
    let page = operator.get("/api/v1/jobs?state=owed&limit=500").await;
    assert_eq!(page.json()["items"].as_array().unwrap().len(), 500);
    assert!(page.body.len() < 500 << 10, "{} bytes", page.body.len());
    assert_eq!(page.json()["total"], BACKLOG);
    assert_eq!(operator.get("/api/v1/jobs?limit=501").await.status, StatusCode::BAD_REQUEST);
    let one = operator.get("/api/v1/jobs?subject=cus_12345").await.json();
    assert_eq!((&one["total"], &one["items"][0]["waiting_because"]), (&1.into(), &"lane paused".into()));
    let found = operator.get("/api/v1/jobs?q=US_1234&limit=3").await.json();
    assert_eq!((&found["total"], found["items"].as_array().unwrap().len()), (&11.into(), 3));
    assert_eq!(daemon.public().get("/health/ready").await.status, StatusCode::OK);
    let memory = memory_used(&daemon).await;
    assert!(memory < memory_before + GROWTH_MAX, "{memory_before} bytes before, {memory} now");

    // Not even a start on an empty Redis has to wait for them.
    daemon.stop().await;
    redis.flush_all().await;
    daemon.start_again().await;
    a_crisis_is_answered(&daemon, "cus_two").await;
    let owed = daemon.operator().get("/api/v1/jobs?state=owed&limit=1").await.json();
    assert!(owed["total"].as_u64().unwrap() <= BACKLOG as u64);
}
