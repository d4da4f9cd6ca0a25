//! What monitoring reads: health in the shape of the deployment scripts, metrics with both faces.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{
    app,
    event::{Event, SHAPES},
    signal, stripe, taken,
};
use crate::support::{daemon::Daemon, eventually, http::Answer};

async fn metrics(daemon: &Daemon, accept: &str) -> Answer {
    let headers = [("accept", accept.to_owned())];
    let answer = daemon.public().call(Method::GET, "/metrics", &headers, Vec::new().into()).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    answer
}

/// The value of the one sample of `name` (with its labels) in `text`.
pub(super) fn sample(text: &str, name: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().expect("a number")
}

#[tokio::test]
async fn health_has_the_shape_that_scripts_read() {
    let daemon = Daemon::start_with(&[("KEEPWELL_DEPLOYMENT", "blue")]).await;
    app(&daemon, &signal("crisis.signal", "cus_1", json!({ "severity": "high" }))).await;
    let report = eventually("all is well", async || {
        let answer = daemon.public().get("/health").await;
        (answer.status == StatusCode::OK).then_some(answer.json())
    })
    .await;
    assert_eq!((&report["status"], &report["environment"]), (&"healthy".into(), &"blue".into()));
    assert_eq!(report["version"], env!("CARGO_PKG_VERSION"));
    assert!(report["uptime"].is_f64() && report["timestamp"].is_string(), "{report:#}");
    assert_eq!(report["webhookProcessing"]["totalProcessed"], 1);
    assert_eq!(report["webhookProcessing"]["successRate"], 1.0);
    assert!(report["webhookProcessing"]["lastProcessedAt"].is_string(), "{report:#}");
    assert!(report["memory"]["used"].as_u64() < report["memory"]["total"].as_u64(), "{report:#}");
    assert_eq!(report["crisisSafety"]["crisisSystemHealthy"], true);
    assert_eq!(report["crisisSafety"]["responseTimeCompliance"], 1.0);
    assert!(report["crisisSafety"]["lastCrisisResponse"].as_f64() < Some(200.0), "{report:#}");
    assert_eq!(
        report["dependencies"],
        json!({ "stripe": "not configured", "database": true, "redis": true, "emergencyServices": true })
    );
    for (path, status) in [("/health/live", "live"), ("/health/ready", "ready")] {
        assert_eq!(daemon.public().get(path).await.json(), json!({ "status": status }));
        assert_eq!(daemon.operator().get(path).await.json(), json!({ "status": status }));
    }
}

#[tokio::test]
async fn metrics_count_what_happened_for_prometheus_and_for_dashboards() {
    let daemon = Daemon::start().await;
    let failed = Event::of(SHAPES[0], "invoice.payment_failed", "counted");
    stripe(&daemon, &failed).await;
    assert_eq!(taken(daemon.stripe(&failed).await)["duplicate"], true);
    app(&daemon, &signal("crisis.signal", "cus_counted", json!({ "severity": "critical" }))).await;
    let forged =
        [("stripe-signature", "t=1,v1=00".to_owned()), ("content-type", "application/json".to_owned())];
    let refused = daemon.public().post_bytes("/api/webhooks/stripe", &forged, "{}").await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    daemon.public().get("/v1/crisis-resources").await;

    let text = metrics(&daemon, "text/plain").await;
    assert!(text.header("content-type").starts_with("text/plain; version=0.0.4"));
    let text = text.text();
    assert!((sample(&text, "keepwell_crisis_resources_answered_total") - 1.0).abs() < f64::EPSILON);
    assert!((sample(&text, "keepwell_lane_waiting{lane=\"crisis\"}")).abs() < f64::EPSILON);
    assert!(text.ends_with("# EOF\n"));
    let open = metrics(&daemon, "application/openmetrics-text;version=1.0.0,text/plain;q=0.5").await;
    assert!(open.header("content-type").starts_with("application/openmetrics-text"));

    let json: Value = metrics(&daemon, "application/json, text/plain, */*").await.json();
    let security = &json["security"];
    assert_eq!((&security["totalRequests"], &security["validRequests"]), (&4.into(), &3.into()));
    assert_eq!(security["blockedRequests"], 1);
    assert_eq!(json["crisisSafety"]["hotlineIntegrationUsage"], 1);
    let times = json["crisisSafety"]["crisisResponseTime"].as_array().expect("a list");
    assert_eq!(times.len(), 1, "{json:#}");
    assert_eq!(
        (&json["webhook_success_rate"], &json["systemHealth"]["errorRate"]),
        (&1.0.into(), &0.0.into())
    );
}
