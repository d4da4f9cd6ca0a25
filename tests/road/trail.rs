//! The audit trail and the keys, as operators and compliance officers meet them.

use std::os::unix::fs::PermissionsExt as _;

use http::StatusCode;
use keepwell_config::values::EncryptionKey;
use keepwell_workers::seal::{KeyRing, SealingKey};
use serde_json::{Value, json};
use sqlx::{Connection, SqliteConnection};

use super::{
    app, assert_problem,
    event::{Event, SHAPES},
    nothing_owed, on_both,
    said::Said,
    signal, stripe, taken,
};
use crate::support::{daemon::Daemon, eventually};

/// Keys as the environment names them.
const OLD_KEY: &str = r#"{id="old",key="the first pass phrase of this test"}"#;
const NEW_KEY: &str = r#"{id="new",key="the second pass phrase of this test"}"#;

pub(super) fn says(daemon: &Daemon, arguments: &[&str]) -> Said {
    Said::of(&daemon.keepwell(arguments))
}

/// Opens everything that jobs were asked to do.
async fn payloads(daemon: &Daemon) -> Vec<String> {
    let key = json!({ "id": "old", "key": "the first pass phrase of this test" });
    let key: EncryptionKey = serde_json::from_value(key).unwrap();
    let ring = KeyRing::new(SealingKey::new(key.id.as_str(), key.bytes()), []);
    let url = format!("sqlite:{}", daemon.state_dir().join("keepwell.db").display());
    let mut database = SqliteConnection::connect(&url).await.unwrap();
    let rows: Vec<(Vec<u8>, String, Vec<u8>)> =
        sqlx::query_as("SELECT job_id, key_id, sealed FROM job_payloads")
            .fetch_all(&mut database)
            .await
            .unwrap();
    let open = |(job, key_id, sealed): (Vec<u8>, String, Vec<u8>)| ring.open(&job, &key_id, &sealed).unwrap();
    rows.into_iter().map(open).map(|payload| String::from_utf8(payload).unwrap()).collect()
}

#[tokio::test]
async fn what_is_kept_of_an_event_holds_nothing_of_cards_and_addresses() {
    let daemon = Daemon::start_with(&[("KEEPWELL_ENCRYPTION__KEYS", &format!("[{OLD_KEY}]"))]).await;
    let card = json!({ "card": { "last4": "4242", "brand": "visa" }, "type": "card" });
    let failed = Event::of(SHAPES[0], "invoice.payment_failed", "card")
        .with("/data/object/customer_email", "mina@example.org")
        .with("/data/object/metadata", json!({ "payment_method_details": card, "plan": "kept" }));
    let refunded = Event::unhandled("card").with("/data/object/billing_details/name", "Mina Achterberg");
    let personal = json!({ "source": "button", "severity": "high", "email": "mina@example.org" });
    app(&daemon, &signal("crisis.signal", "cus_card", personal)).await;
    for event in [&failed, &refunded] {
        taken(daemon.stripe(event).await);
        // Seen again in other words it is still the same event.
        assert_eq!(taken(daemon.stripe(event).await)["duplicate"], true);
    }
    nothing_owed(&daemon).await;
    let payloads = payloads(&daemon).await;
    assert_eq!(payloads.len(), 3);
    assert!(payloads.iter().any(|payload| payload.contains("button")));
    assert!(payloads.iter().any(|payload| payload.contains("kept")));
    for word in ["4242", "visa", "mina@example.org", "Achterberg", "billing_details"] {
        assert!(!payloads.iter().any(|payload| payload.contains(word)), "{word}");
    }
}

/// The entries of the daemon's trail about `action`, newest first.
pub(super) async fn entries(daemon: &Daemon, action: &str) -> Vec<Value> {
    let page = daemon.operator().get(&format!("/api/v1/audit?action={action}")).await.json();
    page["items"].as_array().expect("a list").clone()
}

/// Waits until every entry is in a block.
pub(super) async fn sealed(daemon: &Daemon) {
    eventually("every entry is in a block", async || {
        let report = daemon.operator().get("/api/v1/audit/verify").await.json();
        assert_eq!(report["finding"], Value::Null);
        (report["unsealed"] == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_happens_to_people_and_what_operators_do_is_in_the_trail() {
    on_both(&[], async |daemon| {
        stripe(daemon, &Event::of(SHAPES[0], "invoice.payment_failed", "trail")).await;
        let pressed = signal("crisis.signal", "cus_trail", json!({ "source": "button", "severity": "high" }));
        app(daemon, &pressed).await;
        let operator = daemon.operator();
        let reason = json!({ "reason": "an upgrade", "override": true });
        assert!(operator.post("/api/v1/lanes/crisis/pause", &reason).await.status.is_success());
        assert!(operator.post("/api/v1/lanes/crisis/resume", &Value::Null).await.status.is_success());
        assert!(!operator.post("/api/v1/lanes/crisis/pause", &json!({})).await.status.is_success());

        let paused = entries(daemon, "lane.paused").await;
        assert_eq!(paused.len(), 1, "a refused pause is none");
        let who = &paused[0]["actor"];
        assert_eq!((&who["kind"], &paused[0]["subject"]), (&"operator".into(), &"crisis".into()));
        assert!(who["name"].as_str().unwrap().starts_with("uid "), "{who}");
        assert_eq!(
            (&paused[0]["reason"], &paused[0]["after"]),
            (&"an upgrade".into(), &json!({ "override": true }))
        );
        let resumed = entries(daemon, "lane.resumed").await;
        assert_eq!(resumed.len(), 1);
        assert_eq!(paused[0]["before"]["paused"], false);
        assert_eq!(resumed[0]["before"], json!({ "paused": true, "because": "an upgrade" }));
        assert_eq!(entries(daemon, "grace").await.len(), 2);
        let crisis = &entries(daemon, "crisis.signalled").await[0];
        assert_eq!(crisis["after"]["severity"], "high");
        assert!(crisis["actor"]["name"].as_str().unwrap().starts_with("app.crisis_signalled "));
        let access = operator.get("/api/v1/audit?action=access&subject=cus_trail&limit=1").await.json();
        assert_eq!((&access["total"], access["items"].as_array().unwrap().len()), (&2.into(), 1));
        assert!(access["next"].is_string());
        for query in ["since=yesterday", "colour=red", "from=0"] {
            let answer = operator.get(&format!("/api/v1/audit?{query}")).await;
            assert_problem(&answer, StatusCode::BAD_REQUEST, "bad_filter");
        }
        sealed(daemon).await;
    })
    .await;
}

#[tokio::test]
async fn what_operators_do_to_jobs_is_in_the_trail_with_how_many_they_were() {
    on_both(&[], async |daemon| {
        let operator = daemon.operator();
        let body = json!({});
        assert!(operator.post("/api/v1/lanes/standard/pause", &body).await.status.is_success());
        let mut last = String::new();
        for person in ["one", "two"] {
            let event = Event::of(SHAPES[0], "setup_intent.succeeded", person);
            taken(daemon.stripe(&event).await)["job"].as_str().unwrap().clone_into(&mut last);
        }
        for (path, changed) in [
            ("/api/v1/lanes/standard/clear?subject=cus_one", 1),
            ("/api/v1/lanes/standard/clear", 1),
            // What changes nothing is nothing to tell of.
            ("/api/v1/lanes/standard/clear", 0),
            ("/api/v1/jobs/retry?state=cancelled", 2),
        ] {
            let step = operator.post(path, &body).await.json();
            assert_eq!(step["changed"], changed, "{path}: {step}");
        }
        for path in [&format!("/api/v1/jobs/{last}/cancel"), &format!("/api/v1/jobs/{last}/retry")] {
            let answer = operator.post(path, &json!({ "reason": "a test" })).await;
            assert!(answer.status.is_success(), "{path}: {}", answer.text());
        }
        assert_eq!(
            operator.post("/api/v1/jobs/cancel?lane=crisis", &body).await.status,
            StatusCode::CONFLICT
        );
        assert_eq!(operator.post("/api/v1/lanes/rebuild", &body).await.status, StatusCode::ACCEPTED);

        let cancelled = entries(daemon, "jobs.cancelled").await;
        let mut told: Vec<_> = cancelled
            .iter()
            .map(|entry| (entry["subject"].to_string(), entry["after"]["jobs"].as_u64()))
            .collect();
        told.sort();
        assert_eq!(told, [("\"cus_one\"".to_owned(), Some(1)), ("null".to_owned(), Some(1))]);
        assert!(cancelled.iter().all(|entry| entry["after"]["lane"] == "standard"), "{cancelled:#?}");
        let retried = entries(daemon, "jobs.retried").await;
        assert_eq!((retried.len(), &retried[0]["after"]["jobs"]), (1, &2.into()), "{retried:#?}");
        for (action, subject) in [
            ("job.cancelled", last.as_str().into()),
            ("job.retried", last.as_str().into()),
            ("jobs.cancel_refused", Value::Null),
            ("lanes.rebuild_asked", Value::Null),
        ] {
            let told = entries(daemon, action).await;
            assert_eq!((told.len(), &told[0]["subject"]), (1, &subject), "{action}");
            assert_eq!(told[0]["actor"]["kind"], "operator", "{action}");
            if action.starts_with("job.") {
                let before = if action == "job.retried" { "cancelled" } else { "owed" };
                assert_eq!(
                    (&told[0]["before"]["state"], &told[0]["reason"]),
                    (&before.into(), &"a test".into())
                );
            }
        }
        sealed(daemon).await;
    })
    .await;
}

#[tokio::test]
async fn the_trail_is_verified_listed_and_exported_on_the_command_line() {
    let daemon = Daemon::start().await;
    for person in ["one", "two"] {
        stripe(&daemon, &Event::of(SHAPES[0], "invoice.payment_failed", person)).await;
    }
    sealed(&daemon).await;
    let verified = says(&daemon, &["audit", "verify", "--json"]).json();
    assert_eq!((&verified["whole"], &verified["unsealed"]), (&true.into(), &0.into()), "{verified}");
    let listed = says(&daemon, &["audit", "list", "--subject", "cus_one", "--action", "grace"]).done();
    assert!(listed.contains("grace.started") && !listed.contains("cus_two"), "{listed}");

    let file = daemon.state_dir().join("trail.jsonl");
    let path = file.to_str().unwrap();
    says(&daemon, &["audit", "export", "--output", path]).done();
    let report = says(&daemon, &["audit", "verify", "--file", path, "--json"]).json();
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "it tells what the database keeps sealed");
    assert_eq!((&report["whole"], &report["authenticated"]), (&true.into(), &true.into()), "{report}");
    // The readings of this test may be in it by now.
    assert!(report["entries"].as_u64() >= verified["entries"].as_u64(), "{report}");
    assert_eq!(entries(&daemon, "audit.exported").await.len(), 1);
    let altered = std::fs::read_to_string(&file).unwrap().replacen("cus_one", "cus_two", 1);
    std::fs::write(&file, altered).unwrap();
    let output = daemon.keepwell(&["audit", "verify", "--file", path]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("entry_altered"), "{output:?}");

    // Somebody who has the database: first without the triggers' leave, then with the triggers gone.
    let url = format!("sqlite:{}", daemon.state_dir().join("keepwell.db").display());
    let mut database = SqliteConnection::connect(&url).await.unwrap();
    let forge = "UPDATE audit_entries SET subject = 'cus_two' WHERE position = 1";
    let refused = sqlx::query(forge).execute(&mut database).await.unwrap_err().to_string();
    assert!(refused.contains("never changed"), "{refused}");
    sqlx::query("DROP TRIGGER audit_entries_unchanged").execute(&mut database).await.unwrap();
    sqlx::query(forge).execute(&mut database).await.unwrap();
    let output = daemon.keepwell(&["audit", "verify", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&told["finding"]["problem"], &told["finding"]["position"]),
        (&"entry_altered".into(), &1.into())
    );
}

#[tokio::test]
async fn a_tail_that_was_cut_off_is_missed_because_the_daemon_noted_it_elsewhere() {
    let mut daemon = Daemon::start().await;
    stripe(&daemon, &Event::of(SHAPES[0], "invoice.payment_failed", "one")).await;
    sealed(&daemon).await;
    daemon.stop().await;
    let file = daemon.state_dir().join("keepwell.db");
    let earlier = std::fs::read(&file).unwrap();
    daemon.start_again().await;
    stripe(&daemon, &Event::of(SHAPES[0], "invoice.payment_failed", "two")).await;
    sealed(&daemon).await;
    daemon.stop().await;
    std::fs::write(&file, earlier).unwrap();
    daemon.start_again().await;
    let output = daemon.keepwell(&["audit", "verify"]);
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("truncated"), "{told}");
    // What happens from now on does not make up for it: the chain is not gone on with.
    stripe(&daemon, &Event::of(SHAPES[0], "invoice.payment_failed", "three")).await;
    eventually("the metrics say that the trail is broken", async || {
        let metrics = daemon.public().get("/metrics").await.text();
        metrics.contains("keepwell_audit_broken 1\n").then_some(())
    })
    .await;
    let told = says(&daemon, &["audit", "verify", "--json"]).data;
    assert!(told.contains("truncated"), "{told}");
}

#[tokio::test]
async fn a_flood_of_forged_webhooks_is_one_entry() {
    let mut daemon = Daemon::start().await;
    let headers =
        [("content-type", "application/json".to_owned()), ("stripe-signature", "t=1,v1=00".to_owned())];
    for _ in 0..130 {
        daemon.public().post_bytes("/api/webhooks/stripe", &headers, "{}").await;
    }
    let metrics = daemon.public().get("/metrics").await.text();
    assert!(metrics.contains("keepwell_security_violations_total 130\n"), "{metrics}");
    // They are written once a minute, and when the daemon stops.
    daemon.stop().await;
    daemon.start_again().await;
    let blocked = entries(&daemon, "security.blocked").await;
    let counted: u64 = blocked
        .iter()
        .flat_map(|entry| entry["after"]["refused"].as_object().unwrap().values())
        .filter_map(Value::as_u64)
        .sum();
    assert!(blocked.len() <= 3 && counted == 130, "{blocked:#?}");
    assert_eq!(blocked[0]["actor"], json!({ "kind": "source", "name": "stripe" }));
    assert!(blocked[0]["after"]["addresses"]["127.0.0.1"].is_u64());
}

#[tokio::test]
async fn a_start_with_other_rules_of_care_is_in_the_trail_with_what_they_were() {
    // What the tests' daemons are given beside: crises may take longer.
    let changed = async |daemon: &Daemon, count: usize| {
        eventually("the trail knows how the settings stand", async || {
            let found = entries(daemon, "configuration.changed").await;
            (found.len() >= count).then_some(found)
        })
        .await
    };
    let mut daemon = Daemon::start().await;
    let first = changed(&daemon, 1).await;
    assert_eq!(
        (&first[0]["before"], &first[0]["after"]),
        (&json!({ "care.crisis_response_ms": 200 }), &json!({ "care.crisis_response_ms": 60_000 }))
    );
    daemon.stop().await;
    daemon.start_again().await;
    daemon.stop().await;
    let tiers = daemon.state_dir().join("tiers.toml");
    std::fs::write(&tiers, format!("{}\n# ours\n", keepwell_config::TIERS_TOML)).unwrap();
    daemon.set("KEEPWELL_CARE__TIERS_FILE", tiers.to_str().unwrap());
    daemon.set("KEEPWELL_ALERTS__DISABLED", r#"["MemoryHigh"]"#);
    daemon.start_again().await;
    let found = changed(&daemon, 2).await;
    assert_eq!(found.len(), 2, "a start that changes nothing leaves none: {found:#?}");
    let (before, after) = (&found[0]["before"], &found[0]["after"]);
    assert_eq!((&before["alerts.disabled"], &after["alerts.disabled"]), (&json!([]), &json!(["MemoryHigh"])));
    assert_eq!(before["care.tiers_file"], Value::Null);
    assert_ne!(before["tiers_sha256"], after["tiers_sha256"], "{found:#?}");
    assert_eq!(after.as_object().unwrap().len(), 3, "{after:#}");
    assert!(found[0]["actor"]["name"].as_str().unwrap().starts_with("start on "), "{found:#?}");
    sealed(&daemon).await;
}

#[tokio::test]
async fn who_asks_without_the_right_token_is_in_the_trail() {
    let mut daemon = Daemon::start().await;
    let stranger = daemon.public().with_token("guessed");
    for _ in 0..3 {
        assert_eq!(stranger.get("/v1/customers/cus_1/access").await.status, 401);
    }
    assert_eq!(stranger.post("/api/emergency/activate-bypass", &json!({})).await.status, 401);
    let metrics = daemon.public().get("/metrics").await.text();
    for line in [
        "keepwell_webhook_blocked_total{reason=\"token_invalid\"} 4\n",
        "keepwell_security_violations_total 4\n",
    ] {
        assert!(metrics.contains(line), "{metrics}");
    }
    daemon.stop().await;
    daemon.start_again().await;
    let blocked = entries(&daemon, "security.blocked").await;
    let refused = |source: &str| {
        let actor = json!({ "kind": "source", "name": source });
        blocked.iter().find(|entry| entry["actor"] == actor).map(|entry| entry["after"]["refused"].clone())
    };
    assert_eq!(refused("access"), Some(json!({ "token_invalid": 3 })), "{blocked:#?}");
    assert_eq!(refused("emergency"), Some(json!({ "token_invalid": 1 })), "{blocked:#?}");
}

#[tokio::test]
async fn keys_are_rotated_under_load_through_a_kill_and_the_old_one_is_let_go() {
    let mut daemon = Daemon::start_with(&[("KEEPWELL_ENCRYPTION__KEYS", &format!("[{OLD_KEY}]"))]).await;
    for number in 0..120 {
        let event = Event::of(SHAPES[0], "invoice.payment_failed", &format!("{number}"));
        taken(daemon.stripe(&event).await);
    }
    let push = json!({ "device": "d", "push": { "kind": "expo", "token": "t" } });
    app(&daemon, &signal("device.registered", "cus_1", push)).await;
    nothing_owed(&daemon).await;
    daemon.stop().await;
    daemon.set("KEEPWELL_ENCRYPTION__KEYS", &format!("[{NEW_KEY}, {OLD_KEY}]"));
    daemon.start_again().await;
    let keys = says(&daemon, &["key", "list", "--json"]).json();
    assert_eq!(
        (&keys["keys"][0]["role"], &keys["keys"][1]["needed"]),
        (&"seals".into(), &true.into()),
        "{keys}"
    );
    says(&daemon, &["key", "rotate", "--no-wait"]).done();
    for number in 0..20 {
        let event = Event::of(SHAPES[1], "invoice.payment_failed", &format!("during_{number}"));
        taken(daemon.stripe(&event).await);
        if number == 5 {
            daemon.kill();
            daemon.start_again().await;
        }
    }
    let rotated = says(&daemon, &["key", "rotate"]);
    let told = &rotated.data;
    assert_eq!(rotated.code, 0, "{rotated:?}");
    assert!(told.contains("key old is no longer needed"), "{told}");
    nothing_owed(&daemon).await;
    daemon.stop().await;
    daemon.set("KEEPWELL_ENCRYPTION__KEYS", &format!("[{NEW_KEY}]"));
    daemon.start_again().await;
    let verified = says(&daemon, &["audit", "verify", "--json"]).json();
    assert_eq!(verified["whole"], true, "{verified}");
    let failed = daemon.operator().get("/api/v1/jobs?state=dead").await.json();
    assert_eq!(failed["total"], 0, "{failed}");
    let finished = &entries(&daemon, "key.rotation_finished").await[0];
    assert_eq!(
        (&finished["readable"], &finished["after"]["unreadable"]),
        (&true.into(), &0.into()),
        "{finished}"
    );
}
