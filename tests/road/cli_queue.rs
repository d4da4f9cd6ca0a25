//! The command line on lanes and on many jobs at once: pausing, clearing, rebuilding, cancelling, retrying.

use std::sync::Arc;

use http::StatusCode;
use serde_json::{Value, json};
use sqlx::{Connection as _, SqliteConnection};
use tokio::{io::AsyncWriteExt as _, net::UnixStream, task::spawn_blocking};

use super::{
    event::{Event, SHAPES},
    nothing_owed, private_redis, signal, taken,
};
use crate::support::{daemon::Daemon, eventually, redis::Redis};

/// Enough for thirty steps.
const MANY: u32 = 30_000;

/// Where Redis keeps what waits in the standard lane.
const STANDARD: &str = "{keepwell:0}:lane:standard";

async fn lane(daemon: &Daemon, name: &str) -> Value {
    let answer = daemon.operator().get("/api/v1/lanes").await.json();
    let lanes = answer["lanes"].as_array().expect("a list");
    lanes.iter().find(|lane| lane["name"] == name).expect("it is there").clone()
}

/// Waits until both pools have entered and the lanes have been compared with the ledger for it, so that nothing is
/// placed twice.
async fn settled(daemon: &Daemon) {
    eventually("the lanes have been compared", async || {
        let log = daemon.log();
        let entered: Vec<usize> = log.match_indices("entered the lanes").map(|(at, _)| at).collect();
        (entered.len() == 2 && log.rfind("compared the lanes")? > entered[1]).then_some(())
    })
    .await;
}

/// Pauses the standard lane and lets this many jobs wait there, about `cus_one`, `cus_two` …
async fn waiting(daemon: &Daemon, people: &[&str]) {
    settled(daemon).await;
    daemon.says(&["queue", "pause", "standard", "--reason", "a test"]).done();
    for person in people {
        taken(daemon.stripe(&Event::of(SHAPES[0], "setup_intent.succeeded", person)).await);
    }
    eventually("they wait", async || {
        (lane(daemon, "standard").await["waiting"] == people.len()).then_some(())
    })
    .await;
}

/// What the audit log says of `action`, line by line.
fn audited(daemon: &Daemon, action: &str) -> Vec<Value> {
    let log = daemon.log();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["target"] == "keepwell::audit" && line["action"] == action).collect()
}

#[tokio::test]
async fn a_lane_is_paused_with_a_reason_and_let_go() {
    let daemon = Daemon::start().await;
    let said = daemon.says(&["queue", "pause", "standard", "--reason", "an upgrade"]).done();
    assert!(said.contains("standard is paused") && said.contains("keepwell queue resume standard"), "{said}");
    assert_eq!(lane(&daemon, "standard").await["paused_because"], "an upgrade");
    assert!(daemon.says(&["queue", "list"]).done().contains("an upgrade\n"));
    assert_eq!(daemon.says(&["queue", "resume", "standard"]).done(), "standard goes on\n");
    assert_eq!(lane(&daemon, "standard").await["paused"], false);
    let paused = daemon.says(&["queue", "pause", "background", "--json"]).json();
    assert_eq!(paused, json!({ "name": "background", "paused": true }));
    let resumed = daemon.says(&["queue", "resume", "background", "--json"]).json();
    assert_eq!(resumed, json!({ "name": "background", "paused": false }));
    daemon.says(&["queue", "pause", "express"]).refused(2, &["'express'", "crisis, therapeutic"]);
}

#[tokio::test]
async fn the_crisis_lane_is_paused_and_cleared_only_with_an_override_that_is_audited() {
    let daemon = Daemon::start_with(&[("KEEPWELL_LOG__LEVEL", "error")]).await;
    let words = ["error: People in crisis would wait.", "--override", "audit"];
    daemon.says(&["queue", "pause", "crisis", "--reason", "a drill"]).refused(1, &words);
    assert_eq!(lane(&daemon, "crisis").await["paused"], false);
    daemon.says(&["queue", "pause", "crisis", "--override"]).refused(2, &["--reason"]);
    daemon.says(&["queue", "pause", "crisis", "--override", "--reason", "a drill"]).done();
    assert_eq!(lane(&daemon, "crisis").await["paused_because"], "a drill");

    let crisis = signal("crisis.signal", "cus_1", json!({ "severity": "high" }));
    let job = taken(daemon.app("msg_1", &crisis).await)["job"].as_str().unwrap().to_owned();
    daemon.says(&["queue", "clear", "crisis", "--yes"]).refused(1, &words);
    daemon.says(&["job", "cancel", &job]).refused(1, &words);
    let all = ["job", "cancel", "--all-matching", "--since", "1h", "--yes"];
    let left = daemon.says(&all).done();
    assert_eq!(left, "cancelled 0 jobs; 1 left alone, crisis work (--override takes it too)\n");
    assert_eq!(daemon.says(&["queue", "clear", "crisis", "--yes", "--override"]).done(), "cancelled 1 job\n");
    assert_eq!(lane(&daemon, "crisis").await["waiting"], 0);

    let pauses = audited(&daemon, "lane.pause");
    let told: Vec<_> = pauses.iter().map(|line| (&line["lane"], &line["override"])).collect();
    assert_eq!(told, [(&"crisis".into(), &Value::Null), (&"crisis".into(), &true.into())], "{pauses:#?}");
    assert!(pauses[0]["message"].as_str().unwrap().starts_with("refused"), "{pauses:#?}");
    assert_eq!(pauses[1]["reason"], "a drill");
    let cancelled = audited(&daemon, "jobs.cancel");
    assert_eq!(
        (cancelled.len(), &cancelled[1]["jobs"], &cancelled[1]["override"]),
        (2, &1.into(), &true.into())
    );
}

#[tokio::test]
async fn a_lane_is_cleared_of_what_matches_and_all_of_it_can_be_brought_back() {
    let daemon = Daemon::start().await;
    waiting(&daemon, &["one", "one", "two", "three"]).await;
    let counted = daemon.says(&["queue", "clear", "standard", "--dry-run"]).done();
    assert_eq!(counted, "4 jobs would be cancelled\n");
    // Standard input is no terminal here.
    let question = "cancel 4 jobs of the lane standard?";
    daemon.says(&["queue", "clear", "standard"]).refused(2, &["nothing was cancelled", question, "--yes"]);
    for (narrowed, done) in [
        (&["--subject", "cus_two"][..], "cancelled 1 job\n"),
        (&["--kind", "app.person_data_updated"], "cancelled 0 jobs\n"),
        (&["--before", "1h"], "cancelled 0 jobs\n"),
    ] {
        assert_eq!(daemon.says(&[&["queue", "clear", "standard", "--yes"], narrowed].concat()).done(), done);
    }
    assert_eq!(lane(&daemon, "standard").await["waiting"], 3, "it is gone from the lane too");
    let cleared = daemon.says(&["queue", "clear", "standard", "--yes", "--json"]).json();
    let expected =
        json!({ "dry_run": false, "matching": 3, "changed": 3, "running": 0, "crisis_left_alone": 0 });
    assert_eq!(cleared, expected);
    assert_eq!(lane(&daemon, "standard").await["waiting"], 0);
    assert!(daemon.says(&["queue", "list"]).done().ends_with("0 owed, 0 dead\n"));

    let bring_back =
        ["job", "retry", "--all-matching", "--state", "cancelled", "--subject", "cus_one", "--yes"];
    assert_eq!(daemon.says(&bring_back).done(), "retried 2 jobs\n");
    daemon.says(&["queue", "resume", "standard"]).done();
    nothing_owed(&daemon).await;
    for (state, total) in [("done", 2), ("cancelled", 2)] {
        assert_eq!(
            daemon.says(&["job", "list", "--state", state, "--json"]).json()["total"],
            total,
            "{state}"
        );
    }
}

#[tokio::test]
async fn one_job_is_cancelled_once() {
    let daemon = Daemon::start().await;
    waiting(&daemon, &["one"]).await;
    let id = daemon.says(&["job", "list", "--json"]).json()["items"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(daemon.says(&["job", "cancel", &id]).done(), format!("{id} is cancelled\n"));
    let job = daemon.says(&["job", "show", &id, "--json"]).json();
    assert_eq!(
        (&job["state"], &job["last_error"]),
        (&"cancelled".into(), &"cancelled by an operator".into())
    );
    daemon
        .says(&["job", "cancel", &id])
        .refused(1, &["The job is cancelled; only owed jobs can be cancelled."]);
    daemon.says(&["queue", "resume", "standard"]).done();
    eventually("the lane drops it", async || (lane(&daemon, "standard").await["waiting"] == 0).then_some(()))
        .await;
    let job = daemon.says(&["job", "show", &id, "--json"]).json();
    assert_eq!((&job["state"], &job["attempts"]), (&"cancelled".into(), &0.into()));

    daemon.says(&["job", "cancel"]).refused(2, &["which job?", "--all-matching"]);
    daemon.says(&["job", "cancel", &id, "--lane", "standard"]).refused(2, &["cannot be used with"]);
    daemon.says(&["job", "cancel", "--all-matching", "--yes"]).refused(2, &["narrow it down"]);
    daemon
        .says(&["job", "retry", "--all-matching", "--state", "done", "--yes"])
        .refused(2, &["dead and cancelled"]);
}

#[tokio::test]
async fn tens_of_thousands_of_jobs_are_cancelled_while_others_are_served() {
    let daemon = Arc::new(Daemon::start().await);
    daemon.says(&["queue", "pause", "background"]).done();
    let url = format!("sqlite:{}", daemon.state_dir().join("keepwell.db").display());
    let mut connection = SqliteConnection::connect(&url).await.unwrap();
    // Rows as the ledger writes them, with ids from a year before now.
    let sql = "WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < $1) \
        INSERT INTO jobs (id, kind, lane, state, run_at_ms, created_at_ms) \
        SELECT unhex(printf('%012x70008000%012x', 1700000000000 + x, x)), 'bulk', 'background', 'owed', 0, 1700000000000 + x FROM n";
    sqlx::query(sql).bind(MANY).execute(&mut connection).await.unwrap();

    let served = async {
        let mut served = 0;
        loop {
            let event = Event::of(SHAPES[0], "invoice.payment_failed", &format!("served_{served}"));
            taken(daemon.stripe(&event).await);
            served += 1;
            let left =
                daemon.operator().get("/api/v1/jobs?kind=bulk&state=owed&limit=1").await.json()["total"]
                    .as_u64();
            if left == Some(0) {
                return served;
            }
        }
    };
    let beside = Arc::clone(&daemon);
    let cancelled = spawn_blocking(move || {
        beside.keepwell(&["job", "cancel", "--all-matching", "--kind", "bulk", "--yes", "--json"])
    });
    let (cancelled, served) = tokio::join!(cancelled, served);
    let cancelled: Value = serde_json::from_slice(&cancelled.unwrap().stdout).unwrap();
    assert_eq!((&cancelled["matching"], &cancelled["changed"]), (&MANY.into(), &MANY.into()));
    assert!(served > 1, "{served}");
    assert_eq!(audited(&daemon, "jobs.cancel").len(), 30, "a thousand at a time");
}

#[tokio::test]
async fn a_rebuild_puts_back_what_a_lane_has_lost() {
    let daemon = Daemon::start().await;
    waiting(&daemon, &["one", "two", "three"]).await;
    let mut redis = private_redis(&daemon).await;
    let lost = async |redis: &mut redis::aio::MultiplexedConnection| {
        let gone: u32 = redis::cmd("DEL").arg(STANDARD).query_async(redis).await.unwrap();
        assert_eq!(gone, 1);
    };
    lost(&mut redis).await;
    let said = daemon.says(&["queue", "rebuild"]).done();
    assert_eq!(said, "compared 3 jobs with the lanes: 3 were missing and are back in their lanes\n");
    assert_eq!(lane(&daemon, "standard").await["waiting"], 3);
    let again = daemon.says(&["queue", "rebuild", "--json"]).json();
    assert_eq!((&again["owed"], &again["placed"], &again["running"]), (&3.into(), &0.into(), &false.into()));
    daemon.says(&["queue", "resume", "standard"]).done();
    nothing_owed(&daemon).await;
}

#[tokio::test]
async fn a_rebuild_goes_on_when_whoever_asked_for_it_has_gone() {
    let mut redis = Redis::start().await;
    let daemon = Daemon::start_with(&[("KEEPWELL_REDIS__URL", &redis.url())]).await;
    waiting(&daemon, &["one", "two"]).await;
    let mut connection = redis.connection().await;
    redis::cmd("DEL").arg(STANDARD).exec_async(&mut connection).await.unwrap();
    // Held up in the middle of it.
    redis.freeze();
    let mut asked = UnixStream::connect(daemon.state_dir().join("operators.sock")).await.unwrap();
    let request = b"POST /api/v1/lanes/rebuild HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n";
    asked.write_all(request).await.unwrap();
    eventually("it has begun", async || (audited(&daemon, "lanes.rebuild").len() == 1).then_some(())).await;
    drop(asked);
    assert_eq!(daemon.operator().get("/health/live").await.status, StatusCode::OK);
    redis.thaw();
    eventually("they are back", async || (lane(&daemon, "standard").await["waiting"] == 2).then_some(()))
        .await;
}

#[tokio::test]
async fn a_rebuild_without_redis_fails_and_says_so() {
    let mut redis = Redis::start().await;
    let daemon = Daemon::start_with(&[("KEEPWELL_REDIS__URL", &redis.url())]).await;
    redis.kill();
    daemon.says(&["queue", "rebuild"]).refused(1, &["could not be compared", "Redis does not answer"]);
    let answer = daemon.operator().get("/api/v1/lanes/rebuild").await;
    assert_eq!((answer.status, &answer.json()["running"]), (StatusCode::OK, &false.into()));
}
