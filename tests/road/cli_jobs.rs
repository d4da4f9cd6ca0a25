//! The command line on lanes and jobs: for people as text, for programs as JSON.

use serde_json::{Value, json};
use sqlx::{Connection, SqliteConnection};

use super::{
    event::{Event, SHAPES},
    finished, nothing_owed,
    said::Said,
    stripe, taken,
};
use crate::support::daemon::Daemon;

impl Daemon {
    pub(super) fn says(&self, arguments: &[&str]) -> Said {
        Said::of(&self.keepwell(arguments))
    }
}

/// A job that was given up on: for a while, the wrong handler got it. Answers with its id.
async fn dead_job(daemon: &Daemon) -> String {
    let paused = daemon.operator().post("/api/v1/lanes/standard/pause", &json!({})).await;
    assert!(paused.status.is_success());
    let accepted = taken(daemon.stripe(&Event::of(SHAPES[0], "setup_intent.succeeded", "dead")).await);
    become_kind(daemon, "app.person_data_updated").await;
    daemon.operator().post("/api/v1/lanes/standard/resume", &Value::Null).await;
    let job = finished(daemon, &accepted).await;
    assert_eq!(job["state"], "dead");
    job["id"].as_str().unwrap().to_owned()
}

/// Makes the only job there is one of another kind.
async fn become_kind(daemon: &Daemon, kind: &str) {
    let url = format!("sqlite:{}", daemon.state_dir().join("keepwell.db").display());
    let mut connection = SqliteConnection::connect(&url).await.unwrap();
    let done = sqlx::query("UPDATE jobs SET kind = $1").bind(kind).execute(&mut connection).await.unwrap();
    assert_eq!(done.rows_affected(), 1);
}

#[tokio::test]
async fn the_lanes_are_listed() {
    let daemon = Daemon::start().await;
    let table = daemon.says(&["queue", "list"]).done();
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["LANE", "WAITING", "RUNNING", "LATER", "OLDEST", "PAUSED"]);
    assert_eq!(rows[1], ["crisis", "0", "0", "0", "-", "-"]);
    assert_eq!(rows.last().unwrap(), &["0", "owed,", "0", "dead"]);

    let answer = daemon.operator().get("/api/v1/lanes").await.json();
    assert_eq!(daemon.says(&["queue", "list", "--json"]).json(), answer);
}

#[tokio::test]
async fn jobs_are_listed_and_narrowed_down() {
    let daemon = Daemon::start().await;
    for person in ["one", "two", "three"] {
        stripe(&daemon, &Event::of(SHAPES[0], "invoice.payment_failed", person)).await;
    }
    stripe(&daemon, &Event::of(SHAPES[0], "setup_intent.succeeded", "one")).await;
    for (arguments, total) in [
        (&["--state", "done"][..], 4),
        (&["--state", "dead"], 0),
        (&["--lane", "therapeutic"], 3),
        (&["--kind", "stripe.payment_method_saved"], 1),
        (&["--subject", "cus_one"], 2),
        (&["--search", "cus_t"], 2),
        (&["-q", "payment_failed", "--since", "1h"], 3),
        (&["--until", "1h"], 0),
    ] {
        let page = daemon.says(&[&["job", "list", "--json"], arguments].concat()).json();
        assert_eq!(page["total"], total, "{arguments:?}: {page:#}");
    }

    let said = daemon.says(&["job", "list", "--limit", "3"]);
    assert_eq!(said.code, 0, "{said:?}");
    let lines: Vec<&str> = said.data.lines().collect();
    assert!(lines[0].starts_with("ID ") && lines[1].contains(" done "), "{said:?}");
    assert_eq!((lines.len(), lines.last()), (6, Some(&"3 of 4 jobs")), "{said:?}");
    let cursor = said.talk.trim().strip_prefix("more: --cursor ").expect("the way on");
    let rest = daemon.says(&["job", "list", "--limit", "3", "--cursor", cursor]).done();
    assert!(rest.ends_with("1 of 4 jobs\n"), "{rest}");
}

#[tokio::test]
async fn a_filter_that_is_none_is_a_matter_of_usage() {
    let daemon = Daemon::start().await;
    let refused = |arguments: &[&str], word: &str| {
        daemon.says(&[&["job", "list"], arguments].concat()).refused(2, &["error: ", word]);
    };
    refused(&["--state", "sleeping"], "owed, done, dead and cancelled");
    refused(&["--lane", "fast"], "crisis");
    refused(&["--since", "yesterday"], "15m");
    refused(&["--limit", "501"], "501");
    daemon.says(&["job", "show", "7"]).refused(2, &["UUID"]);
    daemon.says(&["job", "show", "01890000-0000-7000-8000-000000000000"]).refused(1, &["no job"]);
}

#[tokio::test]
async fn a_dead_job_is_shown_with_its_history_and_retried() {
    let daemon = Daemon::start().await;
    let id = dead_job(&daemon).await;

    let job = daemon.says(&["job", "show", &id, "--json"]).json();
    assert_eq!((&job["state"], &job["attempts"]), (&"dead".into(), &1.into()));
    let attempt = &job["attempts_history"][0];
    assert_eq!((&attempt["attempt"], &attempt["outcome"]), (&1.into(), &"dead".into()));
    assert_eq!((&attempt["error"], &attempt["finished_at"]), (&job["last_error"], &job["finished_at"]));
    let error = job["last_error"].as_str().expect("a reason");
    let text = daemon.says(&["job", "show", &id]).done();
    for line in
        ["kind             app.person_data_updated", "state            dead", "ATTEMPT  OUTCOME", error]
    {
        assert!(text.contains(line), "{line} in {text}");
    }
    assert!(daemon.says(&["queue", "list"]).done().ends_with("0 owed, 1 dead\n"));

    become_kind(&daemon, "stripe.payment_method_saved").await;
    assert_eq!(daemon.says(&["job", "retry", &id]).done(), format!("{id} is owed again\n"));
    nothing_owed(&daemon).await;
    let job = daemon.says(&["job", "show", &id, "--json"]).json();
    assert_eq!((&job["state"], &job["attempts"]), (&"done".into(), &1.into()));
    assert_eq!(job["attempts_history"].as_array().map(Vec::len), Some(1), "its history is kept");
    daemon.says(&["job", "retry", &id]).refused(1, &["only dead and cancelled"]);
}

#[tokio::test]
async fn without_a_daemon_every_question_ends_in_the_way_to_start_one() {
    let mut daemon = Daemon::start().await;
    daemon.stop().await;
    let id = "01890000-0000-7000-8000-000000000000";
    let questions: [&[&str]; 10] = [
        &["queue", "list"],
        &["queue", "pause", "standard"],
        &["queue", "resume", "standard"],
        &["queue", "clear", "standard", "--yes"],
        &["queue", "rebuild"],
        &["job", "cancel", id],
        &["job", "list", "--json"],
        &["job", "show", id],
        &["job", "retry", id],
        &["trigger", "crisis.signal"],
    ];
    for question in questions {
        daemon.says(question).refused(1, &["error: no daemon listens on ", "keepwell serve"]);
    }
}
