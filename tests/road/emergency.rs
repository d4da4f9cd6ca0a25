//! Emergencies of ours: what operators switch on, and what a person has whose crisis is not answered in time.

use http::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::{Connection, Executor, PgConnection, SqliteConnection};

use super::{
    access, app, assert_problem,
    event::{Event, SHAPES},
    from_database, nothing_owed, on_both, signal, stripe, taken,
    trail::entries,
};
use crate::support::{
    daemon::{ACCESS_TOKEN, Daemon, EMERGENCY_TOKEN},
    eventually,
    http::{Answer, Client},
    postgres::{Postgres, Sync},
};

const ENDPOINTS: [&str; 5] = [
    "/api/emergency/activate-bypass",
    "/api/emergency/deactivate-bypass",
    "/api/emergency/global-bypass",
    "/api/maintenance/enable",
    "/api/maintenance/disable",
];

/// As `curl -d` sends it.
async fn curl(client: &Client, path: &str, body: &str) -> Answer {
    let form = [("content-type", "application/x-www-form-urlencoded".to_owned())];
    client.post_bytes(path, &form, body.to_owned()).await
}

async fn switched(daemon: &Daemon, path: &str, body: &str) -> Value {
    let answer = curl(&daemon.public().with_token(EMERGENCY_TOKEN), path, body).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    answer.json()
}

async fn health(daemon: &Daemon) -> Value {
    daemon.public().get("/health").await.json()
}

async fn metric(daemon: &Daemon, line: &str) -> bool {
    daemon.public().get("/metrics").await.text().lines().any(|found| found == line)
}

#[tokio::test]
async fn a_rollback_is_covered_by_a_bypass_that_outlives_a_restart() {
    let mut daemon = Daemon::start().await;
    let mut late = Event::of(SHAPES[1], "customer.subscription.updated", "late");
    late = late.with("/data/object/status", "past_due");
    stripe(&daemon, &late).await;
    assert_eq!(access(&daemon, "cus_late").await["tier"], "grace_period");

    // A script that quotes its variables sends the number as text.
    let body = r#"{"reason": "deployment_rollback", "duration": "3600"}"#;
    let answer = switched(&daemon, ENDPOINTS[0], body).await;
    assert_eq!((&answer["active"], &answer["recorded"]), (&true.into(), &true.into()));
    assert_eq!(answer["switches"]["bypass"]["reason"], "deployment_rollback");
    daemon.stop().await;
    daemon.start_again().await;
    let line = "keepwell_emergency_switch_on{switch=\"bypass\"} 1";
    assert!(metric(&daemon, line).await, "also before anybody asks what they may use");

    let during = access(&daemon, "cus_late").await;
    assert_eq!((&during["tier"], &during["emergency"]["level"]), (&"premium".into(), &"essential".into()));
    let report = health(&daemon).await;
    assert_eq!(report["emergency"]["bypass"]["active"], true);
    assert_eq!(report["crisisSafety"]["emergencyAccessActive"], true);
    assert!(daemon.log().contains("an emergency procedure was used"));
    assert!(daemon.log().contains("emergency.switched_on"), "it is audited");

    let answer = switched(&daemon, ENDPOINTS[1], "").await;
    assert_eq!(answer["active"], false);
    assert_eq!(access(&daemon, "cus_late").await["tier"], "grace_period");
    let report = health(&daemon).await;
    assert_eq!(report["emergency"]["bypass"]["active"], false);
    assert_eq!(report["crisisSafety"]["emergencyAccessActive"], false);
}

#[tokio::test]
async fn a_bypass_that_ends_by_itself_is_in_the_trail_with_when_it_did() {
    on_both(&[], async |daemon| {
        let body = r#"{"reason": "a rollback", "duration": 1}"#;
        let on = switched(daemon, ENDPOINTS[0], body).await;
        let ended = eventually("the trail says that it has ended", async || {
            let found = entries(daemon, "emergency.ended").await;
            (!found.is_empty()).then_some(found)
        })
        .await;
        assert_eq!((ended.len(), &ended[0]["subject"]), (1, &"bypass".into()), "{on}");
        assert_eq!(ended[0]["actor"]["kind"], "system");
        assert_eq!((&ended[0]["before"]["on"], &ended[0]["after"]["on"]), (&true.into(), &false.into()));
    })
    .await;
}

#[tokio::test]
async fn a_system_failure_opens_the_essential_set_for_everybody_and_maintenance_keeps_care() {
    on_both(&[], async |daemon| {
        let body = r#"{"reason": "system_failure", "duration": 7200}"#;
        let answer = switched(daemon, ENDPOINTS[2], body).await;
        assert_eq!(answer["switches"]["global_bypass"]["active"], true);
        let body = r#"{"preserveCrisisAccess": true, "preserveTherapeuticAccess": true}"#;
        switched(daemon, ENDPOINTS[3], body).await;

        let nobody = access(daemon, "cus_nobody").await;
        assert_eq!((&nobody["tier"], &nobody["emergency"]["level"]), (&"floor".into(), &"essential".into()));
        let report = health(daemon).await;
        let maintenance = &report["maintenance"];
        assert_eq!(maintenance["active"], true);
        assert_eq!(maintenance["preserveCrisisAccess"], true);
        assert_eq!(maintenance["preserveTherapeuticAccess"], true);
        assert!(maintenance["until"].is_string());
        app(daemon, &signal("crisis.signal", "cus_1", json!({ "severity": "critical" }))).await;
        assert_eq!(access(daemon, "cus_1").await["emergency"]["level"], "full");

        for path in [ENDPOINTS[1], ENDPOINTS[4]] {
            assert_eq!(switched(daemon, path, "").await["active"], false);
        }
        assert_eq!(access(daemon, "cus_nobody").await["emergency"]["active"], false);
        assert_eq!(health(daemon).await["maintenance"]["active"], false);
        assert_eq!(
            health(daemon).await["crisisSafety"]["emergencyAccessActive"],
            true,
            "somebody is in a crisis"
        );
    })
    .await;
}

#[tokio::test]
async fn whoever_has_not_the_token_switches_nothing_and_is_told_nothing() {
    let limits = [("KEEPWELL_LIMITS__UNVERIFIED_REQUESTS_MAX", "8")];
    let daemon = Daemon::start_with(&limits).await;
    let intruders = [
        daemon.public(),
        daemon.public().with_token(ACCESS_TOKEN),
        daemon.public().with_token("emergency-token-for-test"),
    ];
    let mut texts = Vec::new();
    for (path, intruder) in ENDPOINTS.iter().zip(intruders.iter().cycle()) {
        // What is sent is not even looked at.
        let answer = curl(intruder, path, "{").await;
        assert_problem(&answer, StatusCode::UNAUTHORIZED, "unauthorized");
        assert_eq!(answer.header("www-authenticate"), "Bearer");
        texts.push(answer.text());
    }
    texts.dedup();
    assert_eq!(texts.len(), 1, "the same whatever is wrong: {texts:?}");
    for _ in 0..3 {
        curl(&intruders[2], ENDPOINTS[2], "").await;
    }
    let answer = curl(&intruders[2], ENDPOINTS[2], "").await;
    assert_problem(&answer, StatusCode::TOO_MANY_REQUESTS, "rate_limited");
    assert!(answer.header("retry-after").parse::<u32>().is_ok());
    assert_eq!(access(&daemon, "cus_nobody").await["emergency"]["active"], false);

    // Who has it is let in all the same, and told what cannot be done.
    let operator = daemon.public().with_token(EMERGENCY_TOKEN);
    assert_problem(&curl(&operator, ENDPOINTS[2], "{").await, StatusCode::BAD_REQUEST, "invalid_json");
    let refused = curl(&operator, ENDPOINTS[3], r#"{"preserveCrisisAccess": false}"#).await;
    assert_problem(&refused, StatusCode::BAD_REQUEST, "access_is_preserved");
    let get = operator.call(Method::GET, ENDPOINTS[0], &[], Vec::new().into()).await;
    assert_problem(&get, StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed");
    assert_eq!(health(&daemon).await["maintenance"]["active"], false);
    // A bypass is for payments: whoever reads access documents still needs a token, and has used up the budget here.
    switched(&daemon, ENDPOINTS[2], "").await;
    let unread = daemon.public().get("/v1/customers/cus_nobody/access").await;
    assert_problem(&unread, StatusCode::TOO_MANY_REQUESTS, "rate_limited");
    assert!(!daemon.log().contains(EMERGENCY_TOKEN));
}

#[tokio::test]
async fn without_a_token_in_the_configuration_the_emergency_doors_stay_shut() {
    let daemon = Daemon::start_with(&[("KEEPWELL_EMERGENCY__TOKEN", "")]).await;
    for token in ["", EMERGENCY_TOKEN] {
        let answer = curl(&daemon.public().with_token(token), ENDPOINTS[2], "").await;
        assert_problem(&answer, StatusCode::UNAUTHORIZED, "unauthorized");
    }
}

#[tokio::test]
async fn a_crisis_that_is_not_answered_in_time_opens_the_basic_set_from_memory_until_it_is() {
    let postgres = Postgres::start(Sync::Off).await;
    let url = postgres.database("keepwell").await;
    let settings = [("KEEPWELL_DATABASE__URL", url.as_str()), ("KEEPWELL_CARE__CRISIS_RESPONSE_MS", "200")];
    let daemon = Daemon::start_with(&settings).await;
    let mut blocker = PgConnection::connect(&url).await.unwrap();
    // The handler waits for this person's row, and everybody else's goes on.
    let row = "BEGIN; INSERT INTO customers (id, version, payment_method_on_file, vulnerable, marked, touched_ms) \
               VALUES ('cus_slow', 0, false, false, false, 0)";
    blocker.execute(row).await.unwrap();
    taken(
        daemon.app("msg_slow", &signal("crisis.signal", "cus_slow", json!({ "severity": "moderate" }))).await,
    );
    app(&daemon, &signal("crisis.signal", "cus_quick", json!({ "severity": "critical" }))).await;
    assert_eq!(access(&daemon, "cus_quick").await["crisis"]["severity"], "critical");

    let granted = eventually("the basic set is granted", async || {
        let access = access(&daemon, "cus_slow").await;
        (access["emergency"]["active"] == true).then_some(access)
    })
    .await;
    assert_eq!(
        (&granted["emergency"]["level"], &granted["crisis"]["active"]),
        (&"crisis_only".into(), &false.into())
    );
    let enabled = granted["features"]["enabled"].as_array().unwrap();
    assert!(enabled.contains(&"crisis_assessment".into()) && enabled.contains(&"mood_tracking".into()));
    assert!(granted["message"]["body"].as_str().unwrap().contains("988"));
    assert_eq!(access(&daemon, "cus_nobody").await["emergency"]["active"], false);

    blocker.execute("ROLLBACK").await.unwrap();
    nothing_owed(&daemon).await;
    let answered = access(&daemon, "cus_slow").await;
    // That it was late is a part of the crisis, and made it worse.
    assert_eq!(
        (&answered["crisis"]["type"], &answered["emergency"]["level"]),
        (&"combined".into(), &"essential".into())
    );
    let (severity, limit_ms): (String, i64) =
        sqlx::query_as("SELECT severity, limit_ms FROM crisis_violations WHERE customer = 'cus_slow'")
            .fetch_one(&mut blocker)
            .await
            .unwrap();
    assert_eq!((&*severity, limit_ms), ("moderate", 300));
    let log = daemon.log();
    for said in [
        "crisis_response_time_violation",
        "activate_emergency_bypass",
        "notify_crisis_team",
        "crisis.answered_late",
    ] {
        assert!(log.contains(said), "{said}");
    }
    assert!(!log.contains("cus_slow"), "whose crisis it was stands in the trail, not in the log: {log}");
    assert!(!metric(&daemon, "keepwell_crisis_response_violations_total 0").await);
}

#[tokio::test]
async fn with_the_database_away_a_crisis_is_refused_honestly_and_operators_can_still_switch() {
    let mut postgres = Postgres::start(Sync::On).await;
    let url = postgres.database("keepwell").await;
    let daemon = Daemon::start_with(&[("KEEPWELL_DATABASE__URL", &url)]).await;
    app(&daemon, &signal("crisis.signal", "cus_known", json!({ "severity": "critical" }))).await;
    assert_eq!(access(&daemon, "cus_known").await["emergency"]["level"], "full");
    postgres.kill();
    // What a crisis has opened stays open.
    assert_eq!(daemon.access("cus_known").await["emergency"]["level"], "full");
    let pressed = signal("crisis.signal", "cus_1", json!({ "severity": "critical" }));
    let refused = daemon.app("msg_1", &pressed).await.unwrap();
    assert_problem(&refused, StatusCode::SERVICE_UNAVAILABLE, "not_recorded");
    assert!(refused.header("retry-after").parse::<u32>().is_ok());
    let document = daemon.access("cus_1").await;
    assert_eq!(
        (&document["tier"], &document["emergency"]["level"]),
        (&"floor".into(), &"crisis_only".into())
    );
    assert_eq!(daemon.access("cus_2").await["emergency"]["active"], false);

    let operator = daemon.public().with_token(EMERGENCY_TOKEN);
    let answer = curl(&operator, ENDPOINTS[2], r#"{"reason": "system_failure", "duration": 7200}"#).await;
    assert_eq!((answer.status, &answer.json()["recorded"]), (StatusCode::ACCEPTED, &false.into()));
    assert_eq!(daemon.access("cus_2").await["emergency"]["level"], "essential");

    postgres.start_again().await;
    eventually("what was switched is recorded", async || {
        let mut connection = PgConnection::connect(&url).await.ok()?;
        let sql = "SELECT reason FROM emergency_switches WHERE name = 'global_bypass' AND is_on";
        let (reason,): (String,) = sqlx::query_as(sql).fetch_optional(&mut connection).await.ok()??;
        (reason == "system_failure").then_some(())
    })
    .await;
    eventually("the trail says who was granted something meanwhile", async || {
        let mut connection = PgConnection::connect(&url).await.ok()?;
        let sql = "SELECT subject FROM audit_entries WHERE action = 'crisis.granted_from_memory'";
        let who: Vec<(String,)> = sqlx::query_as(sql).fetch_all(&mut connection).await.ok()?;
        (who == [("cus_1".to_owned(),)]).then_some(())
    })
    .await;
    eventually("the crisis is taken", async || {
        (daemon.app("msg_1", &pressed).await.ok()?.status == StatusCode::OK).then_some(())
    })
    .await;
    eventually("it is answered", async || {
        (access(&daemon, "cus_1").await["emergency"]["level"] == "full").then_some(())
    })
    .await;
    let emergency = access(&daemon, "cus_2").await["emergency"].clone();
    assert_eq!((&emergency["level"], &emergency["reason"]), (&"essential".into(), &"system_error".into()));
}

#[tokio::test]
async fn operators_switch_while_the_database_can_only_be_read() {
    let daemon = Daemon::start_with(&[("KEEPWELL_LIMITS__ANSWER_TIMEOUT_MS", "300")]).await;
    let file = format!("sqlite:{}", daemon.state_dir().join("keepwell.db").display());
    let mut stranger = SqliteConnection::connect(&file).await.unwrap();
    stranger.execute("BEGIN IMMEDIATE").await.unwrap();
    let operator = daemon.public().with_token(EMERGENCY_TOKEN);
    let answer = curl(&operator, ENDPOINTS[2], r#"{"reason": "system_failure"}"#).await;
    assert_eq!((answer.status, &answer.json()["recorded"]), (StatusCode::ACCEPTED, &false.into()));
    // It is read.
    let document = from_database(&daemon.reader(), "/v1/customers/cus_nobody/access").await.json();
    assert_eq!((&document["emergency"]["level"], &document["version"]), (&"essential".into(), &1.into()));

    stranger.execute("ROLLBACK").await.unwrap();
    eventually("what was switched is recorded", async || {
        let sql = "SELECT changes FROM emergency_switches WHERE name = 'global_bypass' AND is_on";
        let row: Option<(i64,)> = sqlx::query_as(sql).fetch_optional(&mut stranger).await.ok()?;
        row.filter(|row| *row == (1,))
    })
    .await;
    assert_eq!(access(&daemon, "cus_nobody").await["version"], 1);
}
