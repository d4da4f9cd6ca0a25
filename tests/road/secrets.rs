//! What people entrust to the app lies nowhere in the clear: not in the log, not in Redis, not in the database.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use super::{
    event::{Event, SHAPES},
    nothing_owed, private_redis, signal, taken,
};
use crate::support::{
    daemon::{ACCESS_TOKEN, Daemon, EMERGENCY_TOKEN},
    door::{STRIPE_SECRET, app_secret},
    envelopes::{envelopes, filled},
    personal,
};

/// Words that only the payloads hold.
const PERSONAL: [&str; 8] = [
    "Wilhelmina Achterberg",
    "mina.achterberg@example.org",
    "4000056655665556",
    "+31-20-555-0142",
    "walk the dog along the canal",
    "ExponentPushToken[vvQ7x1secretpush]",
    "signed in from Ulaanbaatar",
    "sample_client_secret_8842",
];

/// Everything under `folder` as it lies on the disk, except what is allowed to hold secrets.
fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in folder.read_dir().expect("a readable folder") {
        let (path, kind) =
            entry.map(|entry| (entry.path(), entry.file_type().expect("its type"))).expect("an entry");
        if kind.is_dir() {
            found.extend(files(&path));
        } else if kind.is_file() && path.file_name().is_some_and(|name| name != "dev-secrets.toml") {
            found.push((path.clone(), fs::read(path).expect("a readable file")));
        }
    }
    found
}

fn holds(bytes: &[u8], word: &str) -> bool {
    bytes.windows(word.len()).any(|window| window == word.as_bytes())
}

/// Writes Redis down beside everything else, uncompressed, and looks through all of it.
async fn assert_nothing_in_the_clear(daemon: &Daemon) {
    let mut redis = private_redis(daemon).await;
    redis::cmd("CONFIG").arg("SET").arg("rdbcompression").arg("no").exec_async(&mut redis).await.unwrap();
    redis::cmd("SAVE").exec_async(&mut redis).await.unwrap();
    let files = files(daemon.state_dir());
    for expected in ["daemon.log", "dump.rdb", "keepwell.db", "keepwell.db-wal"] {
        assert!(
            files.iter().any(|(path, bytes)| path.ends_with(expected) && !bytes.is_empty()),
            "{expected}"
        );
    }
    let secret = app_secret();
    let secrets = [STRIPE_SECRET, &secret, ACCESS_TOKEN, EMERGENCY_TOKEN];
    for (path, bytes) in files {
        for word in PERSONAL.into_iter().chain(secrets).chain([personal::PERSONAL]) {
            assert!(!holds(&bytes, word), "`{word}` in {}", path.display());
        }
    }
}

/// Everything personal that the app and Stripe send, about one person.
fn told() -> (Vec<Event>, Vec<Value>) {
    let [name, email, card, phone, plan, push, threat, client_secret] = PERSONAL;
    let failed = Event::of(SHAPES[0], "invoice.payment_failed", "mina")
        .with("/data/object/customer_name", name)
        .with("/data/object/customer_email", email)
        .with("/data/object/metadata", json!({ "card": card }));
    let saved = Event::of(SHAPES[1], "setup_intent.succeeded", "mina")
        .with("/data/object/client_secret", client_secret);
    let refunded = Event::unhandled("mina").with("/data/object/billing_details/name", name);
    let signals = [
        ("contacts.updated", json!({ "contacts": [{ "name": name, "phone": phone }] })),
        ("safety_plan.updated", json!({ "safety_plan": { "coping": [plan] } })),
        ("consent.updated", json!({ "consent": { "signed_by": name } })),
        ("device.registered", json!({ "device": "dev_1", "push": { "kind": "expo", "token": push } })),
        ("security.threat", json!({ "detail": threat })),
        ("crisis.signal", json!({ "source": "keyword", "severity": "high", "words": plan })),
        ("diary.written", json!({ "text": plan, "to": email })),
    ];
    let signals = signals.map(|(signal_type, data)| signal(signal_type, "cus_mina", data));
    (vec![failed, saved, refunded], signals.to_vec())
}

#[tokio::test]
async fn nothing_personal_and_no_secret_is_kept_in_the_clear() {
    let daemon = Daemon::start_with(&[("KEEPWELL_LOG__LEVEL", "debug")]).await;
    let lanes = ["crisis", "therapeutic", "realtime", "standard", "background"];
    for lane in lanes {
        let body = json!({ "override": true, "reason": "to look at what waits" });
        assert!(
            daemon.operator().post(&format!("/api/v1/lanes/{lane}/pause"), &body).await.status.is_success()
        );
    }
    let (events, signals) = told();
    for event in &events {
        taken(daemon.stripe(event).await);
    }
    for (number, signal) in signals.iter().enumerate() {
        taken(daemon.app(&format!("msg_{number}"), signal).await);
    }
    assert_nothing_in_the_clear(&daemon).await;

    for lane in lanes {
        daemon.operator().post(&format!("/api/v1/lanes/{lane}/resume"), &Value::Null).await;
    }
    nothing_owed(&daemon).await;
    daemon.access("cus_mina").await;
    let done = daemon.operator().get("/api/v1/jobs?state=done").await.json();
    // Beside what followed from it.
    let told = |job: &&Value| !job["kind"].as_str().expect("a kind").starts_with("care.");
    let told = done["items"].as_array().expect("jobs").iter().filter(told).count();
    assert_eq!(told, events.len() + signals.len(), "{done:#}");
    assert_nothing_in_the_clear(&daemon).await;
    assert!(!daemon.log().contains("cus_mina"), "not even the id of anybody: {}", daemon.log());
}

#[tokio::test]
async fn nothing_personal_of_any_kind_of_event_is_in_database_redis_log_or_answers() {
    let daemon = Daemon::start_with(&[("KEEPWELL_LOG__LEVEL", "debug")]).await;
    let envelopes = envelopes().into_iter().map(|event| filled(event).0);
    let events: Vec<Event> = personal::events().into_iter().chain(envelopes).map(Event::from).collect();
    for event in &events {
        taken(daemon.stripe(event).await);
    }
    nothing_owed(&daemon).await;
    let dead = daemon.operator().get("/api/v1/jobs?state=dead").await.json();
    assert_eq!(dead["total"], 0, "whatever Stripe has sent can be handled: {dead:#}");
    let mut asked = 0;
    for customer in events.iter().filter_map(|event| event["data"]["object"]["customer"].as_str()) {
        let answer = daemon.access(customer).await.to_string();
        assert!(!answer.contains(personal::PERSONAL), "{answer}");
        asked += 1;
    }
    assert!(asked > 130, "{asked}");
    assert_nothing_in_the_clear(&daemon).await;
    let log = daemon.log();
    assert!(
        !log.contains("cus_personal") && !log.contains("cus_envelope"),
        "not even the id of anybody: {log}"
    );
}

#[tokio::test]
async fn a_refused_webhook_leaves_nothing_of_it_in_the_log() {
    let daemon = Daemon::start_with(&[("KEEPWELL_LOG__LEVEL", "debug")]).await;
    let (events, _) = told();
    let headers =
        [("content-type", "application/json".to_owned()), ("stripe-signature", "t=1,v1=0bad5eed".to_owned())];
    let refused = daemon.public().post_bytes("/api/webhooks/stripe", &headers, events[0].to_string()).await;
    assert_eq!(refused.status, http::StatusCode::BAD_REQUEST);
    let body = refused.text();
    let log = daemon.log();
    for word in PERSONAL.into_iter().chain(["0bad5eed", STRIPE_SECRET]) {
        assert!(!log.contains(word) && !body.contains(word), "{word}");
    }
}
