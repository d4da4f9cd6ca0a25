//! What watches by itself: crises of nobody, how crises were answered, and whether all of that is looked at.

use http::StatusCode;
use serde_json::{Value, json};
use sqlx::{Connection as _, Executor as _, SqliteConnection};

use super::{access, app, nothing_owed, on_both, on_call::OnCall, signal, taken, watching::sample};
use crate::support::{daemon::Daemon, eventually};

const OFTEN: (&str, &str) = ("KEEPWELL_MONITORS__CANARY_EVERY_MS", "100");

async fn metrics(daemon: &Daemon) -> String {
    daemon.public().get("/metrics").await.text()
}

/// Canaries that ended like this.
async fn canaries(daemon: &Daemon, result: &str) -> f64 {
    sample(&metrics(daemon).await, &format!("keepwell_canary_runs_total{{result=\"{result}\"}}"))
}

async fn canary_jobs(daemon: &Daemon, state: &str) -> Value {
    daemon.operator().get(&format!("/api/v1/jobs?kind=care.crisis_canary&state={state}")).await.json()
}

/// Waits until the daemon says of its canaries that they fail, or that they do not; answers with the whole report.
async fn failing(daemon: &Daemon, failing: bool) -> Value {
    eventually("the canaries are seen to fare so", async || {
        let report = daemon.public().get("/health").await;
        let body = report.json();
        let is_so = body["monitors"]["canary"]["failing"] == failing
            && (report.status == StatusCode::OK) != failing
            && body["monitors"]["canary"]["lastResult"] != Value::Null;
        is_so.then_some(body)
    })
    .await
}

/// Waits until the daemon says of its canaries that they fail, and gives one of `reasons`. On a busy machine some were
/// late before, and those have none.
async fn failing_because(daemon: &Daemon, reasons: &[&str]) {
    eventually("it is said why canaries fail", async || {
        let report = failing(daemon, true).await;
        let because = report["monitors"]["canary"]["because"].as_str()?;
        reasons.iter().any(|reason| because.contains(reason)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn canaries_go_the_real_road_again_and_again_and_count_in_nobodys_figures() {
    on_both(&[OFTEN], async |daemon| {
        eventually("canaries were answered", async || (canaries(daemon, "ok").await >= 3.0).then_some(()))
            .await;
        let report = failing(daemon, false).await;
        let canary = &report["monitors"]["canary"];
        assert_eq!((&canary["lastResult"], &canary["because"]), (&"ok".into(), &Value::Null));
        assert!(canary["lastDuration"].as_f64().is_some_and(|ms| ms > 0.0), "{canary}");
        let done = canary_jobs(daemon, "done").await;
        assert!(done["total"].as_u64() >= Some(3), "{done:#}");
        assert!(done["items"].as_array().unwrap().iter().all(|job| job["lane"] == "crisis"), "{done:#}");

        let listed = daemon.operator().get("/api/v1/jobs?state=done").await.json();
        assert_eq!(
            (&listed["total"], &listed["items"]),
            (&json!(0), &json!([])),
            "nobody has to leaf through them"
        );

        // Nobody was in a crisis.
        let text = metrics(daemon).await;
        for name in [
            "keepwell_crisis_response_seconds_count",
            "keepwell_emergency_access_activations_total",
            "keepwell_crisis_response_recent_crises{window=\"1h\",result=\"in_time\"}",
        ] {
            assert!(sample(&text, name).abs() < f64::EPSILON, "{name} in {text}");
        }
        assert!(!text.contains("keepwell_job_wait_seconds_count{lane=\"crisis\"}"), "{text}");
        assert!(sample(&text, "keepwell_canary_duration_seconds_count") >= 3.0);
        assert_eq!(report["crisisSafety"]["lastCrisisResponse"], Value::Null);
        assert_eq!(report["webhookProcessing"]["lastProcessedAt"], Value::Null);
        let audit = daemon.operator().get("/api/v1/audit").await.json();
        let told = audit["items"].as_array().unwrap().iter().map(|entry| &entry["action"]);
        // This reading itself, and that the tests' daemons are given more time for a crisis.
        assert_eq!(told.collect::<Vec<_>>(), ["audit.read", "configuration.changed"], "{audit:#}");
        let made = daemon.keepwell(&["report", "crisis", "--from", "1h"]);
        let made: Value = serde_json::from_slice(&made.stdout).expect("a report");
        let made = &made["report"];
        assert_eq!(made["safetyMetrics"]["crisisEventsHandled"], 0, "{made:#}");
        assert_eq!(made["responseTimeCompliance"]["share"]["of"], 0, "{made:#}");
    })
    .await;
}

#[tokio::test]
async fn canaries_that_nobody_answers_make_the_daemon_degraded_and_do_not_pile_up() {
    let daemon = Daemon::start_with(&[OFTEN]).await;
    failing(&daemon, false).await;
    let pause = json!({ "override": true, "reason": "a drill" });
    let paused = daemon.operator().post("/api/v1/lanes/crisis/pause", &pause).await;
    assert_eq!(paused.status, StatusCode::OK, "{}", paused.text());
    failing_because(&daemon, &["the crisis lane held up"]).await;
    // Many more have been due since then.
    let failed = canaries(&daemon, "failed").await;
    eventually("further ones fail", async || {
        (canaries(&daemon, "failed").await > failed + 5.0).then_some(())
    })
    .await;
    assert_eq!(canary_jobs(&daemon, "owed").await["total"], 1);
    let listed = daemon.operator().get("/api/v1/jobs").await.json();
    assert_eq!(
        listed["items"][0]["kind"], "care.crisis_canary",
        "what does not go well is not left out: {listed:#}"
    );
    assert_eq!(daemon.public().get("/health/ready").await.status, StatusCode::OK, "crises are still taken");
    assert!(daemon.log().contains("crisis_canary"), "{}", daemon.log());

    daemon.operator().post("/api/v1/lanes/crisis/resume", &Value::Null).await;
    failing(&daemon, false).await;
    app(&daemon, &signal("crisis.signal", "cus_1", json!({ "severity": "high" }))).await;
}

#[tokio::test]
async fn canaries_fail_with_a_reason_while_the_database_takes_nothing_and_not_because_redis_is_away() {
    let mut daemon = Daemon::start_with(&[OFTEN]).await;
    failing(&daemon, false).await;
    let file = daemon.state_dir().join("keepwell.db");
    let mut stranger = SqliteConnection::connect(&format!("sqlite:{}", file.display())).await.unwrap();
    stranger.execute("BEGIN IMMEDIATE").await.unwrap();
    // One that was recorded a moment before is only seen not to end.
    failing_because(&daemon, &["database", "recorded", "nobody has run it"]).await;
    stranger.execute("ROLLBACK").await.unwrap();
    failing(&daemon, false).await;

    // As a real crisis would, a canary runs from the ledger.
    let redis = daemon.private_redis().expect("a private Redis");
    rustix::process::kill_process(redis, rustix::process::Signal::STOP).unwrap();
    let before = canaries(&daemon, "ok").await;
    eventually("canaries are answered all the same", async || {
        (canaries(&daemon, "ok").await > before + 2.0).then_some(())
    })
    .await;
    rustix::process::kill_process(redis, rustix::process::Signal::CONT).unwrap();
    daemon.stop().await;
}

#[tokio::test]
async fn how_crises_were_answered_of_late_is_told_and_so_is_whether_anybody_looks() {
    on_both(&[OFTEN], async |daemon| {
        app(daemon, &signal("crisis.signal", "cus_1", json!({ "severity": "high" }))).await;
        let text = eventually("the figures of the last hour are made", async || {
            let text = metrics(daemon).await;
            // A busy machine may have taken longer than the protocols allow, and reports are held to these.
            let told =
                |share: &str| format!("keepwell_compliance_ratio{{figure=\"response_time\"}} {share}\n");
            (text.contains(&told("1.0")) || text.contains(&told("0.0"))).then_some(text)
        })
        .await;
        for window in ["1m", "5m", "1h"] {
            let recent = |name: &str, label: &str| {
                sample(
                    &text,
                    &format!("keepwell_crisis_response_recent_{name}{{window=\"{window}\"{label}}}"),
                )
            };
            assert!((recent("crises", ",result=\"in_time\"") - 1.0).abs() < f64::EPSILON, "{text}");
            assert!((recent("in_time_ratio", "") - 1.0).abs() < f64::EPSILON, "{text}");
            assert!(
                recent("seconds", ",quantile=\"0.99\"") <= recent("seconds", ",quantile=\"1\""),
                "{text}"
            );
        }
        let windows = daemon.public().get("/health").await.json()["monitors"]["responses"].clone();
        assert_eq!(
            (&windows[0]["window"], &windows[0]["answered"]),
            (&"1m".into(), &1.into()),
            "{windows:#}"
        );
        assert!(
            (sample(&text, "keepwell_compliance_target_ratio{figure=\"response_time\"}") - 0.95).abs() < 1e-9
        );
        for monitor in ["canary", "responses", "access", "health", "compliance", "graces"] {
            // On a busy machine it may have found that a crisis was answered late.
            let ran = ["ok", "wrong"].map(|result| {
                format!("keepwell_monitor_runs_total{{monitor=\"{monitor}\",result=\"{result}\"}}")
            });
            eventually(&format!("{monitor} has looked"), async || {
                let text = metrics(daemon).await;
                ran.iter().any(|ran| sample(&text, ran) >= 1.0).then_some(())
            })
            .await;
            let success = format!("keepwell_monitor_last_success_timestamp_seconds{{monitor=\"{monitor}\"}}");
            assert!(sample(&text, &success) > 1e9, "{text}");
        }
        assert!(sample(&metrics(daemon).await, "keepwell_access_checked_total") >= 1.0);
        nothing_owed(daemon).await;
    })
    .await;
}

#[tokio::test]
async fn who_lacks_something_in_a_crisis_has_it_again_and_the_trail_alone_says_who() {
    let daemon = Daemon::start().await;
    app(&daemon, &signal("crisis.signal", "cus_lacking", json!({ "severity": "moderate" }))).await;
    // Behind its back: what it remembers of the person opens less than what the database calls for by now.
    let file = daemon.state_dir().join("keepwell.db");
    let mut stranger = SqliteConnection::connect(&format!("sqlite:{}", file.display())).await.unwrap();
    stranger.execute("UPDATE crisis_signals SET severity = 'critical'").await.unwrap();

    let entry = eventually("it is in the trail", async || {
        let audit = daemon.operator().get("/api/v1/audit?action=access.missing").await.json();
        audit["items"].get(0).cloned()
    })
    .await;
    assert_eq!(entry["subject"], "cus_lacking", "{entry:#}");
    let is_empty = |of: &Value| of["missing"].as_array().unwrap().is_empty();
    assert!(!is_empty(&entry["before"]) && is_empty(&entry["after"]), "{entry:#}");
    assert_eq!(access(&daemon, "cus_lacking").await["emergency"]["level"], "full");

    let text = eventually("the monitor has said so", async || {
        let text = metrics(&daemon).await;
        let wrong = "keepwell_monitor_runs_total{monitor=\"access\",result=\"wrong\"}";
        (sample(&text, wrong) >= 1.0).then_some(text)
    })
    .await;
    for name in ["keepwell_access_missing_total", "keepwell_access_mended_total"] {
        assert!((sample(&text, name) - 1.0).abs() < f64::EPSILON, "{name} in {text}");
    }
    let log = daemon.log();
    assert!(log.contains("therapeutic_access") && !log.contains("cus_lacking"), "{log}");
}

#[tokio::test]
async fn a_look_for_grace_periods_that_end_which_fails_is_counted_like_that_of_any_monitor() {
    let mut daemon = Daemon::start().await;
    let ran = |result| format!("keepwell_monitor_runs_total{{monitor=\"graces\",result=\"{result}\"}}");
    let has_looked = async |daemon: &Daemon, result| {
        eventually(&format!("its first look is {result}"), async || {
            (sample(&metrics(daemon).await, &ran(result)) >= 1.0).then_some(())
        })
        .await;
    };
    has_looked(&daemon, "ok").await;
    daemon.stop().await;
    let file = daemon.state_dir().join("keepwell.db");
    let mut stranger = SqliteConnection::connect(&format!("sqlite:{}", file.display())).await.unwrap();
    stranger.execute("ALTER TABLE grace_periods RENAME TO graces_away").await.unwrap();
    daemon.start_again().await;
    has_looked(&daemon, "failed").await;
    // What is told of is its silence, which grows from here on, and that it fails again and again.
    let text = metrics(&daemon).await;
    assert!(text.contains("keepwell_monitor_silence_intervals{monitor=\"graces\"}"), "{text}");
}

#[tokio::test]
async fn what_monitors_find_is_an_alert() {
    let on_call = OnCall::start().await;
    let mut daemon = on_call.daemon(&[]).await;
    let is_open = async |daemon: &Daemon, rule: &str| {
        eventually(&format!("{rule} is open"), async || {
            let alerts = daemon.operator().get("/api/v1/alerts").await.json();
            alerts["items"].as_array()?.iter().any(|alert| alert["rule"] == rule).then_some(())
        })
        .await;
    };
    let is_unhealthy = async |daemon: &Daemon, is_wrong: u8| {
        let line = format!("keepwell_monitor_wrong{{monitor=\"health\"}} {is_wrong}\n");
        eventually("it is seen whether a crisis would be answered", async || {
            metrics(daemon).await.contains(&line).then_some(())
        })
        .await;
    };
    daemon.says(&["queue", "pause", "crisis", "--override", "--reason", "a drill"]).done();
    let pressed = signal("crisis.signal", "cus_late", json!({ "severity": "critical" }));
    taken(daemon.app("msg_late", &pressed).await);
    is_open(&daemon, "CrisisAnsweredLate").await;
    // What looks every hour looks when it begins.
    daemon.kill();
    daemon.start_again().await;
    is_open(&daemon, "ComplianceViolation").await;
    is_unhealthy(&daemon, 1).await;
    daemon.says(&["queue", "resume", "crisis"]).done();
    is_unhealthy(&daemon, 0).await;
}
