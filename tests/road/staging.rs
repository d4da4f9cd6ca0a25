//! What the deployment guide's scripts (004) ask of a staging and of a production server, request by request.

use http::StatusCode;
use serde_json::{Value, json};

use super::{access, app, finished, nothing_owed, on_both, signal, taken};
use crate::support::{
    daemon::Daemon,
    door::{STRIPE_SECRET, now_s},
    http::Answer,
    sign,
};

/// An event as the script of the guide makes it.
fn event(id: &str, event_type: &str, object: &Value) -> Value {
    json!({
        "id": id,
        "type": event_type,
        "data": { "object": object },
        "created": now_s(),
        "livemode": false,
        "pending_webhooks": 1,
        "request": { "id": null, "idempotency_key": null },
        "api_version": "2020-08-27",
    })
}

/// Posts `event` with the headers of the script.
async fn post(daemon: &Daemon, event: &Value) -> Answer {
    let body = event.to_string();
    let headers = [
        ("stripe-signature", sign::stripe(STRIPE_SECRET, now_s(), body.as_bytes())),
        ("content-type", "application/json".to_owned()),
    ];
    daemon.public().post_bytes("/api/webhooks/stripe", &headers, body).await
}

async fn measured(daemon: &Daemon) -> Value {
    let accept = [("accept", "application/json".to_owned())];
    daemon.public().call(http::Method::GET, "/metrics", &accept, Vec::new().into()).await.json()
}

#[tokio::test]
async fn the_staging_tests_of_the_deployment_guide_pass() {
    on_both(&[], async |daemon| {
        let object = json!({ "id": "sub_staging_test", "customer": "cus_staging_test", "status": "active" });
        let answer = post(daemon, &event("evt_staging_test", "customer.subscription.created", &object)).await;
        finished(daemon, &taken(Ok(answer))).await;
        let document = access(daemon, "cus_staging_test").await;
        assert_eq!(document["subscription"]["status"], "active");

        let mut crisis = event(
            "evt_crisis_test",
            "customer.subscription.deleted",
            &json!({
                "id": "sub_crisis_test",
                "customer": "cus_crisis_test",
                "status": "canceled",
                "metadata": { "crisisMode": "true" },
            }),
        );
        for absent in ["pending_webhooks", "request", "api_version"] {
            crisis.as_object_mut().unwrap().remove(absent);
        }
        let job = finished(daemon, &taken(Ok(post(daemon, &crisis).await))).await;
        assert_eq!((&job["lane"], &job["state"]), (&"crisis".into(), &"done".into()));
        let document = access(daemon, "cus_crisis_test").await;
        assert_eq!(
            (&document["crisis"]["type"], &document["crisis"]["severity"]),
            (&"payment".into(), &"high".into())
        );
        assert_eq!(document["emergency"]["level"], "essential");
        assert_eq!(document["grace"]["remaining_days"], 21);

        let times = measured(daemon).await["crisisSafety"]["crisisResponseTime"].clone();
        assert_eq!(times.as_array().map(Vec::len), Some(1), "the crisis' answer is measured: {times}");
        let report = daemon.public().get("/health").await.json();
        assert!(report["crisisSafety"]["lastCrisisResponse"].as_f64().is_some_and(|ms| ms < 10_000.0));
    })
    .await;
}

#[tokio::test]
async fn the_health_monitor_of_the_deployment_guide_passes() {
    on_both(&[], async |daemon| {
        for _ in 0..3 {
            let answer = daemon.public().post("/api/test/crisis-response", &json!({ "test": true })).await;
            assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
            let rehearsed = answer.json();
            assert!(
                rehearsed["responseTime"].as_f64().is_some_and(|ms| ms > 0.0 && ms < 2_000.0),
                "{rehearsed}"
            );
            assert_eq!(rehearsed["responseTimeLimit"], 100);
            assert!(rehearsed["crisisCompliant"].is_boolean());
            assert_eq!(
                (&rehearsed["emergencyAccess"], &rehearsed["severity"]),
                (&true.into(), &"critical".into())
            );
        }
        nothing_owed(daemon).await;
        // It went through the real lane, left its job, and those of one second shared it.
        let page = daemon.operator().get("/api/v1/jobs?kind=care.crisis_rehearsed").await.json();
        let jobs = page["items"].as_array().unwrap();
        assert!((1..=3).contains(&jobs.len()), "{page}");
        assert!(jobs.iter().all(|job| job["lane"] == "crisis" && job["state"] == "done"), "{page}");
        let metrics = measured(daemon).await;
        assert!(metrics["memoryUsage"].as_f64().is_none_or(|share| share < 0.9));
        assert!(metrics["avgResponseTime"].as_f64().is_some_and(|ms| ms < 1_000.0));
        assert_eq!(metrics["crisisSafety"]["emergencyAccessActivations"], 0, "nobody was in a crisis");
        assert_eq!(
            daemon.public().get("/health").await.json()["crisisSafety"]["emergencyAccessActive"],
            false
        );
    })
    .await;
}

#[tokio::test]
async fn every_crisis_scenario_of_the_protocols_is_answered_and_measured() {
    on_both(&[], async |daemon| {
        let assessed = |customer: &str, data: Value| signal("assessment.completed", customer, data);
        let pressed = |customer: &str| signal("crisis.signal", customer, json!({ "severity": "moderate" }));
        let failed = |customer: &str, number: u32| {
            let id = format!("in_{customer}_{number}");
            let invoice = json!({ "id": id, "customer": customer, "attempt_count": number });
            event(&format!("evt_{customer}_{number}"), "invoice.payment_failed", &invoice)
        };
        for (customer, data) in [
            ("phq9", json!({ "instrument": "phq9", "score": 20 })),
            ("gad7", json!({ "instrument": "gad7", "score": 15 })),
            ("thoughts", json!({ "instrument": "phq9", "score": 1, "suicidal_ideation": true })),
            ("emergency", json!({ "emergency": true })),
            ("rise", json!({ "instrument": "gad7", "score": 1 })),
            ("risk", json!({ "instrument": "phq9", "score": 16 })),
        ] {
            app(daemon, &assessed(customer, data)).await;
        }
        // A millisecond at least lies between the two scores.
        app(daemon, &assessed("rise", json!({ "instrument": "gad7", "score": 10 }))).await;
        for customer in ["tool", "threat", "failing", "canceling"] {
            app(daemon, &pressed(customer)).await;
        }
        app(daemon, &signal("tool.failed", "tool", json!({}))).await;
        app(daemon, &signal("security.threat", "threat", json!({}))).await;
        let canceled = json!({ "id": "sub_canceling", "customer": "canceling", "status": "canceled" });
        let canceled = event("evt_canceling", "customer.subscription.deleted", &canceled);
        for event in [failed("risk", 1), failed("failing", 2), canceled] {
            finished(daemon, &taken(Ok(post(daemon, &event).await))).await;
        }
        for (customer, kind, severity) in [
            ("phq9", "clinical", "high"),
            ("gad7", "clinical", "high"),
            ("thoughts", "clinical", "critical"),
            ("emergency", "clinical", "critical"),
            ("rise", "clinical", "moderate"),
            ("risk", "payment", "moderate"),
            ("tool", "combined", "high"),
            ("threat", "combined", "high"),
            ("failing", "combined", "high"),
            ("canceling", "combined", "high"),
        ] {
            let document = access(daemon, customer).await;
            let crisis = &document["crisis"];
            assert_eq!(
                (&crisis["type"], &crisis["severity"]),
                (&kind.into(), &severity.into()),
                "{customer}"
            );
            // Whatever becomes of the payment, care goes on.
            for care in ["emergency", "grace"] {
                assert_eq!(document[care]["active"], true, "{customer}: {care}");
            }
        }
        let metrics = measured(daemon).await;
        // The four assessments, the four buttons, and what came for those who were marked by then.
        let times = metrics["crisisSafety"]["crisisResponseTime"].as_array().unwrap();
        assert!(times.len() >= 10, "{times:?}");
        assert_eq!(metrics["crisisSafety"]["emergencyAccessActivations"], 10);
    })
    .await;
}
