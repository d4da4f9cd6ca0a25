//! `keepwell trigger`: every sample is taken by the daemon, and has its effect.

use super::{access, nothing_owed, said::Said};
use crate::support::daemon::Daemon;

/// Every sample, the kind of job that records it, and its lane.
const SAMPLES: [(&str, &str, &str); 16] = [
    ("customer.subscription.created", "stripe.subscription_changed", "realtime"),
    ("customer.subscription.updated", "stripe.subscription_changed", "realtime"),
    ("customer.subscription.deleted", "stripe.subscription_ended", "therapeutic"),
    ("invoice.payment_succeeded", "stripe.invoice_paid", "realtime"),
    ("invoice.payment_failed", "stripe.invoice_payment_failed", "therapeutic"),
    ("setup_intent.succeeded", "stripe.payment_method_saved", "standard"),
    ("crisis.signal", "app.crisis_signalled", "crisis"),
    ("crisis.resolved", "app.crisis_resolved", "crisis"),
    ("assessment.completed", "app.assessment_completed", "therapeutic"),
    ("contacts.updated", "app.person_data_updated", "therapeutic"),
    ("safety_plan.updated", "app.person_data_updated", "therapeutic"),
    ("consent.updated", "app.person_data_updated", "therapeutic"),
    ("device.registered", "app.device_changed", "realtime"),
    ("device.removed", "app.device_changed", "realtime"),
    ("security.threat", "app.safety_event", "standard"),
    ("tool.failed", "app.safety_event", "standard"),
];

fn says(daemon: &Daemon, arguments: &[&str]) -> Said {
    Said::of(&daemon.keepwell(&[&["trigger"], arguments].concat()))
}

#[tokio::test]
async fn every_sample_is_recorded_as_what_it_is() {
    let daemon = Daemon::start().await;
    for (event, kind, lane) in SAMPLES {
        let sent = says(&daemon, &[event, "--json"]).json();
        assert_eq!((&sent[0]["type"], &sent[0]["status"]), (&event.into(), &200.into()), "{sent:#}");
        assert_eq!(sent[0]["answer"]["duplicate"], false);
        let customer = sent[0]["customer"].as_str().unwrap();
        let page = daemon.operator().get(&format!("/api/v1/jobs?subject={customer}")).await.json();
        let job = &page["items"][0];
        assert_eq!(
            (&page["total"], &job["kind"], &job["lane"]),
            (&1.into(), &kind.into(), &lane.into()),
            "{event}"
        );
    }
    nothing_owed(&daemon).await;
    assert_eq!(daemon.operator().get("/api/v1/jobs?state=done").await.json()["total"], SAMPLES.len());
}

#[tokio::test]
async fn a_sample_is_about_whom_and_what_is_asked_for() {
    let daemon = Daemon::start().await;
    let table = says(&daemon, &["customer.subscription.created", "--customer", "cus_sample"]).done();
    assert!(table.starts_with("ID ") && table.trim_end().ends_with("recorded"), "{table}");
    let crisis = ["invoice.payment_failed", "--customer", "cus_sample", "--crisis", "--count", "3", "--json"];
    assert_eq!(says(&daemon, &crisis).json().as_array().map(Vec::len), Some(3));
    says(&daemon, &["tool.failed", "--customer", "cus_sample", "--set", "detail=no sound"]).done();
    nothing_owed(&daemon).await;

    let access = access(&daemon, "cus_sample").await;
    assert_eq!((&access["tier"], &access["crisis"]["severity"]), (&"premium".into(), &"high".into()));
    let page = daemon.operator().get("/api/v1/jobs?lane=crisis&subject=cus_sample").await.json();
    assert_eq!(page["total"], 4, "{page:#}");
}

#[tokio::test]
async fn what_cannot_be_triggered_is_a_matter_of_usage() {
    let daemon = Daemon::start().await;
    says(&daemon, &["invoice.payment_faild"])
        .refused(2, &["'invoice.payment_faild'", "'invoice.payment_failed'"]);
    says(&daemon, &["charge.refunded"]).refused(2, &["possible values", "crisis.signal"]);
    says(&daemon, &["consent.updated", "--crisis"]).refused(2, &["leave out --crisis"]);
    says(&daemon, &["invoice.payment_failed", "--set", "status"]).refused(2, &["path=value"]);
    says(&daemon, &["invoice.payment_failed", "--customer", ""]).refused(2, &["1 to 255 bytes"]);
    says(&daemon, &["invoice.payment_failed", "--count", "0"]).refused(2, &["1..=100000"]);
    assert_eq!(daemon.operator().get("/api/v1/jobs").await.json()["total"], 0);
}
