//! The whole road: from what Stripe and the app send to what a person may use, through the daemon as it is shipped.

mod event;
mod figures;
mod on_call;
mod said;
mod stranger;
mod stream;
mod watchman;

mod addresses;
mod alerts;
mod alone;
mod aside;
mod backfill;
mod backlog;
mod backup;
mod backup_postgres;
mod bench;
mod cli_jobs;
mod cli_queue;
mod cli_schedule;
mod cli_settings;
mod cli_trigger;
mod confirmation;
mod crash;
mod crisis;
mod dashboard;
mod database_full;
mod database_locked;
mod database_postgres;
mod database_start;
mod duplicates;
mod emergency;
mod escalations;
mod events;
mod every_alert;
mod floor;
mod graces;
mod lanes;
mod monitors;
mod operators;
mod order;
mod outage;
mod overload;
mod private_redis;
mod prometheus;
mod redis_away;
mod reports;
mod secrets;
mod signed;
mod staging;
mod systemd;
mod telling;
mod thresholds;
mod trail;
mod trail_guards;
mod unanswered;
mod watching;

use http::StatusCode;
use serde_json::{Value, json};

use crate::support::{
    daemon::Daemon,
    eventually,
    http::{Answer, Client},
    postgres::{Postgres, Sync},
};

/// Has `check` look at a daemon on SQLite, then at one on PostgreSQL, each with these further settings.
async fn on_both(settings: &[(&str, &str)], check: impl AsyncFn(&Daemon)) {
    check(&Daemon::start_with(settings).await).await;

    let postgres = Postgres::start(Sync::Off).await;
    let url = postgres.database("keepwell").await;
    let settings = [settings, &[("KEEPWELL_DATABASE__URL", &url)]].concat();
    check(&Daemon::start_with(&settings).await).await;
}

/// The app's signal of type `signal_type` about `customer`, with `data` beside it.
pub(super) fn signal(signal_type: &str, customer: &str, data: Value) -> Value {
    let mut data = data;
    data["customer"] = customer.into();
    json!({ "type": signal_type, "data": data })
}

/// What became of a delivery that was taken. Fails the test if it was not.
#[track_caller]
fn taken(delivery: std::io::Result<Answer>) -> Value {
    let answer = delivery.expect("an answer");
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    let accepted = answer.json();
    assert_eq!(accepted["received"], true, "{accepted}");
    accepted
}

/// The job that an accepted delivery was recorded as, once it is finished.
async fn finished(daemon: &Daemon, accepted: &Value) -> Value {
    let path = format!("/api/v1/jobs/{}", accepted["job"].as_str().expect("the job's id"));
    eventually("the job is finished", async || {
        let job = daemon.operator().get(&path).await.json();
        (job["state"] != "owed").then_some(job)
    })
    .await
}

/// Delivers Stripe's `event` and waits until it has changed what it changes; answers with its job.
async fn stripe(daemon: &Daemon, event: &Value) -> Value {
    let job = finished(daemon, &taken(daemon.stripe(event).await)).await;
    assert_eq!(job["state"], "done", "{job:#}");
    job
}

/// Delivers the app's `signal` and waits until it has changed what it changes; answers with its job.
pub(super) async fn app(daemon: &Daemon, signal: &Value) -> Value {
    let id = format!("msg_{}", event::number());
    let job = finished(daemon, &taken(daemon.app(&id, signal).await)).await;
    assert_eq!(job["state"], "done", "{job:#}");
    job
}

/// Waits until nothing is owed any more, for as long as it grows less: how long a backlog takes depends on the machine.
async fn nothing_owed(daemon: &Daemon) {
    let mut before = u64::MAX;
    while before > 0 {
        before = eventually("less is owed, or nothing", async || {
            let page = daemon.operator().get("/api/v1/jobs?state=owed&limit=1").await.json();
            let owed = page["total"].as_u64()?;
            (owed == 0 || owed < before).then_some(owed)
        })
        .await;
    }
}

/// The answer to `path` that comes from the database: a busy machine may keep that waiting for longer than an app can
/// wait, and then it is the floor.
async fn from_database(reader: &Client, path: &str) -> Answer {
    eventually("the database answers in time", async || {
        let answer = reader.get(path).await;
        answer.header("keepwell-fallback").is_empty().then_some(answer)
    })
    .await
}

/// The access document of `customer` without the instant at which it was asked for.
async fn access(daemon: &Daemon, customer: &str) -> Value {
    let mut access = daemon.access(customer).await;
    assert!(access["as_of"].take().is_string());
    access
}

/// A connection to the daemon's private Redis, once it answers.
async fn private_redis(daemon: &Daemon) -> redis::aio::MultiplexedConnection {
    let socket = daemon.state_dir().join("redis/redis.sock");
    let client = redis::Client::open(format!("redis+unix://{}", socket.display())).expect("an address");
    eventually("the private Redis answers", async || client.get_multiplexed_async_connection().await.ok())
        .await
}

/// Fails the test unless `answer` says that nothing was recorded, and when to come again.
#[track_caller]
fn assert_not_recorded(answer: &Answer) {
    assert_problem(answer, StatusCode::SERVICE_UNAVAILABLE, "not_recorded");
    let seconds: u32 = answer.header("retry-after").parse().expect("a number of seconds");
    assert!((1..=10).contains(&seconds), "{seconds}");
}

/// Waits until the daemon says that it takes nothing, and why; answers with those words.
async fn trouble(daemon: &Daemon) -> String {
    let because = eventually("the daemon says what is wrong", async || {
        let report = daemon.public().get("/health").await;
        let because = report.json()["databaseTrouble"].as_str()?.to_owned();
        assert_eq!(
            (report.status, &report.json()["status"]),
            (StatusCode::SERVICE_UNAVAILABLE, &"degraded".into())
        );
        assert_eq!(report.json()["dependencies"]["database"], false);
        Some(because)
    })
    .await;
    assert_eq!(daemon.public().get("/health/ready").await.status, StatusCode::SERVICE_UNAVAILABLE);
    because
}

/// Waits until the daemon says that it takes events.
async fn ready(daemon: &Daemon) {
    eventually("the daemon says that all is well again", async || {
        (daemon.public().get("/health/ready").await.status == StatusCode::OK).then_some(())
    })
    .await;
    assert_eq!(daemon.public().get("/health").await.json()["databaseTrouble"], Value::Null);
}

/// Fails the test unless `answer` is a problem of this kind, in words for people too.
#[track_caller]
fn assert_problem(answer: &Answer, status: StatusCode, code: &str) {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert_eq!(answer.header("content-type"), "application/problem+json");
    let problem = answer.json();
    assert_eq!((&problem["status"], &problem["code"]), (&status.as_u16().into(), &code.into()), "{problem}");
    assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{problem}");
}
