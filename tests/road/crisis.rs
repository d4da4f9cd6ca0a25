//! Somebody is in a crisis: what they may use opens at once, and what concerns them goes first.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{
    access, app,
    event::{Event, SHAPES},
    on_both, signal, stripe,
};
use crate::support::daemon::Daemon;

/// What nobody ever loses.
const FLOOR: [&str; 8] = [
    "crisis_button",
    "hotline_988",
    "emergency_contacts",
    "safety_plan",
    "breathing_exercises",
    "phq9_assessment",
    "gad7_assessment",
    "basic_check_in",
];

fn enabled(access: &Value) -> BTreeSet<&str> {
    let features = access["features"]["enabled"].as_array().expect("a list");
    features.iter().map(|name| name.as_str().expect("a name")).collect()
}

fn pressed(customer: &str, severity: &str) -> Value {
    signal("crisis.signal", customer, json!({ "source": "button", "severity": severity, "device": "dev_1" }))
}

fn assessed(customer: &str, result: Value) -> Value {
    let mut data = result;
    data["completed_at"] = "2026-01-01T00:00:00Z".into();
    signal("assessment.completed", customer, data)
}

/// One that was finished just now.
fn assessed_now(customer: &str, result: Value) -> Value {
    signal("assessment.completed", customer, result)
}

/// The ids of the jobs about `customer` in the crisis lane, as the command line lists them.
fn crisis_jobs(daemon: &Daemon, customer: &str) -> Vec<String> {
    let output = daemon.keepwell(&["job", "list", "--lane", "crisis", "--subject", customer, "--json"]);
    assert!(output.status.success(), "{output:?}");
    let page: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let jobs = page["items"].as_array().expect("a list");
    jobs.iter().map(|job| job["id"].as_str().expect("an id").to_owned()).collect()
}

#[tokio::test]
async fn a_crisis_opens_what_its_severity_calls_for() {
    on_both(&[], async |daemon| {
        for (severity, level, feature) in [
            ("moderate", "crisis_only", "crisis_assessment"),
            ("high", "essential", "mood_tracking"),
            ("critical", "full", "advanced_crisis_features"),
        ] {
            let customer = format!("cus_{severity}");
            let job = app(daemon, &pressed(&customer, severity)).await;
            assert_eq!((&job["kind"], &job["lane"]), (&"app.crisis_signalled".into(), &"crisis".into()));
            assert_eq!(crisis_jobs(daemon, &customer), [job["id"].as_str().unwrap()]);

            let access = access(daemon, &customer).await;
            assert_eq!(
                (&access["crisis"]["active"], &access["crisis"]["severity"]),
                (&true.into(), &severity.into())
            );
            assert_eq!(
                (&access["emergency"]["active"], &access["emergency"]["level"]),
                (&true.into(), &level.into())
            );
            assert_eq!(access["emergency"]["since"], access["crisis"]["since"]);
            assert_eq!(access["sync"]["frequency"], "realtime");
            assert!(
                enabled(&access).contains(feature) && enabled(&access).is_superset(&FLOOR.into()),
                "{access:#}"
            );
            assert!(access["message"]["body"].as_str().expect("words").contains("988"));
        }
    })
    .await;
}

#[tokio::test]
async fn a_crisis_that_is_over_leaves_its_grace_behind() {
    on_both(&[], async |daemon| {
        app(daemon, &pressed("cus_over", "critical")).await;
        let job = app(daemon, &signal("crisis.resolved", "cus_over", json!({ "by": "clinician" }))).await;
        assert_eq!((&job["kind"], &job["lane"]), (&"app.crisis_resolved".into(), &"crisis".into()));

        let access = access(daemon, "cus_over").await;
        assert_eq!(
            (&access["crisis"]["active"], &access["emergency"]["active"]),
            (&false.into(), &false.into())
        );
        let grace = &access["grace"];
        assert_eq!((&grace["reason"], &grace["remaining_days"]), (&"crisis_detected".into(), &30.into()));
        assert_eq!(access["tier"], "grace_period");
    })
    .await;
}

#[tokio::test]
async fn an_assessment_is_a_crisis_when_the_thresholds_say_so() {
    on_both(&[], async |daemon| {
        for (customer, result, severity) in [
            ("cus_phq_20", json!({ "instrument": "phq9", "score": 20 }), Some("high")),
            ("cus_phq_19", json!({ "instrument": "phq9", "score": 19 }), None),
            ("cus_gad_15", json!({ "instrument": "gad7", "score": 15 }), Some("high")),
            ("cus_gad_14", json!({ "instrument": "gad7", "score": 14 }), None),
            (
                "cus_thoughts",
                json!({ "instrument": "phq9", "score": 3, "suicidal_ideation": true }),
                Some("critical"),
            ),
            (
                "cus_emergency",
                json!({ "instrument": "gad7", "score": 0, "emergency": true }),
                Some("critical"),
            ),
            ("cus_phq_9", json!({ "instrument": "phq9", "score": 9 }), None),
            ("cus_unheard_of", json!({ "instrument": "who5", "score": 99 }), None),
        ] {
            let job = app(daemon, &assessed(customer, result)).await;
            // Scores that may have risen to where they are go first too.
            let first = severity.is_some() || ["cus_phq_19", "cus_gad_14"].contains(&customer);
            assert_eq!(job["lane"], if first { "crisis" } else { "therapeutic" }, "{customer}");
            let crisis = &access(daemon, customer).await["crisis"];
            assert_eq!(
                (&crisis["active"], &crisis["severity"]),
                (&severity.is_some().into(), &json!(severity))
            );
        }
    })
    .await;
}

#[tokio::test]
async fn whatever_concerns_somebody_in_a_crisis_goes_through_its_lane() {
    on_both(&[], async |daemon| {
        let failed = |person: &str| Event::of(SHAPES[0], "invoice.payment_failed", person);
        assert_eq!(stripe(daemon, &failed("calm")).await["lane"], "therapeutic");
        assert_eq!(app(daemon, &signal("tool.failed", "cus_calm", json!({}))).await["lane"], "standard");

        app(daemon, &pressed("cus_marked", "high")).await;
        assert_eq!(stripe(daemon, &failed("marked")).await["lane"], "crisis");
        assert_eq!(app(daemon, &signal("tool.failed", "cus_marked", json!({}))).await["lane"], "crisis");
        assert_eq!(
            app(daemon, &assessed("cus_marked", json!({ "instrument": "phq9", "score": 1 }))).await["lane"],
            "crisis"
        );
        // A payment that fails during a crisis is covered for as long as the crisis calls for.
        let grace = access(daemon, "cus_marked").await["grace"].clone();
        assert_eq!((&grace["active"], &grace["remaining_days"]), (&true.into(), &21.into()));

        let said_by_stripe =
            failed("metadata").with("/data/object/metadata", json!({ "crisisMode": "true" }));
        assert_eq!(stripe(daemon, &said_by_stripe).await["lane"], "crisis");
        assert_eq!(access(daemon, "cus_metadata").await["crisis"]["severity"], "high");
    })
    .await;
}

#[tokio::test]
async fn who_is_marked_stays_marked_when_the_daemon_starts_again() {
    let mut daemon = Daemon::start().await;
    app(&daemon, &pressed("cus_marked", "high")).await;
    daemon.stop().await;
    daemon.start_again().await;
    let job = stripe(&daemon, &Event::of(SHAPES[1], "invoice.payment_failed", "marked")).await;
    assert_eq!(job["lane"], "crisis");
}

#[tokio::test]
async fn in_a_high_risk_period_payments_that_fail_go_first_also_after_a_restart() {
    let mut daemon = Daemon::start().await;
    app(&daemon, &assessed_now("cus_risk", json!({ "instrument": "phq9", "score": 15 }))).await;
    assert_eq!(access(&daemon, "cus_risk").await["crisis"]["active"], false);
    let saved = Event::of(SHAPES[0], "setup_intent.succeeded", "risk");
    assert_eq!(stripe(&daemon, &saved).await["lane"], "standard", "that is no crisis");
    daemon.stop().await;
    daemon.start_again().await;
    let failed = Event::of(SHAPES[1], "invoice.payment_failed", "risk");
    assert_eq!(stripe(&daemon, &failed).await["lane"], "crisis");
    let crisis = access(&daemon, "cus_risk").await["crisis"].clone();
    assert_eq!((&crisis["active"], &crisis["type"]), (&true.into(), &"payment".into()));
}
