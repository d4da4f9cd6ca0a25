//! What the public listener answers beside webhooks.

use std::sync::Arc;

use axum::{
    Router,
    extract::DefaultBodyLimit,
    routing::{get, post},
};

use super::{
    access, crisis_resources, emergency, health, metrics, not_found, rehearsal, state::ApiState, wrong_method,
};

/// What an emergency endpoint reads, at most, in bytes.
const EMERGENCY_BODY_BYTES_MAX: usize = 16 << 10;

/// Everything on the public listener that is no webhook: the receiver's fallback.
pub fn public(state: Arc<ApiState>) -> Router {
    Router::new()
        .merge(watching())
        .route("/v1/customers/{id}/access", get(access::get))
        .route("/v1/crisis-resources", get(crisis_resources::get))
        .route("/api/test/crisis-response", post(rehearsal::post))
        .route("/api/emergency/activate-bypass", post(emergency::activate_bypass))
        .route("/api/emergency/deactivate-bypass", post(emergency::deactivate_bypass))
        .route("/api/emergency/global-bypass", post(emergency::global_bypass))
        .route("/api/maintenance/enable", post(emergency::enable_maintenance))
        .route("/api/maintenance/disable", post(emergency::disable_maintenance))
        .layer(DefaultBodyLimit::max(EMERGENCY_BODY_BYTES_MAX))
        .fallback(not_found)
        .method_not_allowed_fallback(wrong_method)
        .with_state(state)
}

/// What monitoring asks, on either listener.
pub(super) fn watching() -> Router<Arc<ApiState>> {
    Router::new()
        .route("/health", get(health::full))
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
        .route("/metrics", get(metrics::get))
}

#[cfg(test)]
mod tests {
    use http::{Request, StatusCode, header};
    use serde_json::json;

    use super::super::support::{Api, Reader, get, post};

    #[tokio::test]
    async fn what_is_not_there_is_a_problem_with_a_code() {
        let api = Api::start(Reader::Answers).await;
        let answer = api.public(get("/nothing")).await;
        assert_eq!((answer.status, &answer.json()["code"]), (StatusCode::NOT_FOUND, &"not_found".into()));
        let answer = api.public(post("/health", "")).await;
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(answer.json()["code"], "method_not_allowed");
        assert!(answer.headers[header::ALLOW].to_str().unwrap().contains("GET"));
    }

    #[tokio::test]
    async fn health_has_the_shape_that_scripts_read_and_is_degraded_without_redis() {
        let api = Api::start(Reader::Answers).await;
        let answer = api.public(get("/health")).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        let report = answer.json();
        assert_eq!(report["status"], "degraded");
        assert_eq!(report["timestamp"], "2023-11-14T22:13:20.000Z");
        assert_eq!(report["environment"], "blue");
        assert_eq!(report["dependencies"]["stripe"], "not configured");
        assert_eq!(report["dependencies"]["redis"], false);
        for (section, fields) in [
            ("memory", &["used", "total", "percentage"][..]),
            (
                "webhookProcessing",
                &["totalProcessed", "successRate", "averageResponseTime", "lastProcessedAt"],
            ),
            (
                "crisisSafety",
                &[
                    "responseTimeCompliance",
                    "emergencyAccessActive",
                    "lastCrisisResponse",
                    "crisisSystemHealthy",
                ],
            ),
            ("dependencies", &["stripe", "database", "redis", "emergencyServices"]),
        ] {
            for field in fields {
                assert!(report[section].get(field).is_some(), "{section}.{field} in {report}");
            }
        }
    }

    #[tokio::test]
    async fn health_names_the_schedules_that_nobody_ticks() {
        let api = Api::start(Reader::Answers).await;
        assert_eq!(api.public(get("/health")).await.json()["schedules"], json!({ "late": [] }));
        api.clock.advance_ms(2 * 3_600_000);
        assert_eq!(
            api.public(get("/health")).await.json()["schedules"],
            json!({ "late": ["hourly", "report-hourly", "operations-hourly"] })
        );
    }

    #[tokio::test]
    async fn liveness_asks_nobody() {
        let api = Api::start(Reader::Silent).await;
        assert_eq!(api.public(get("/health/live")).await.status, StatusCode::OK);
    }

    #[tokio::test]
    async fn a_daemon_that_drains_is_not_ready() {
        let api = Api::start(Reader::Answers).await;
        api.state.engine.shutdown().await;
        let answer = api.public(get("/health/ready")).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer.json()["because"], "it is shutting down");
    }

    #[tokio::test]
    async fn metrics_have_two_faces_and_need_no_redis() {
        let api = Api::start(Reader::Answers).await;
        let answer = api.public(get("/metrics")).await;
        assert_eq!(answer.headers[header::CONTENT_TYPE], "text/plain; version=0.0.4; charset=utf-8");
        for line in ["keepwell_ledger_jobs{state=\"owed\"} 0\n", "keepwell_build_info{version=\"", "# EOF\n"]
        {
            assert!(answer.text.contains(line), "{line} in {}", answer.text);
        }
        let mut request: Request<_> = get("/metrics");
        request.headers_mut().insert(header::ACCEPT, "application/json".parse().unwrap());
        let answer = api.public(request).await;
        assert_eq!(answer.headers[header::CONTENT_TYPE], "application/json");
        assert_eq!(answer.json()["avgResponseTime"], 0.0);
    }

    #[tokio::test]
    async fn help_is_found_without_a_token() {
        let api = Api::start(Reader::Silent).await;
        let answer = api.public(get("/v1/crisis-resources")).await;
        assert_eq!((answer.status, &answer.json()["hotline"]), (StatusCode::OK, &"988".into()));
        assert_eq!(api.state.metrics.crisis_resources_answered(), 1);
    }

    #[tokio::test]
    async fn help_is_told_as_it_can_be_dialled_where_somebody_is() {
        let api = Api::start(Reader::Silent).await;
        for (query, languages, hotline) in [
            ("?country=AT", None, "142"),
            ("?country=at", Some("de-DE"), "142"),
            ("", Some("de-DE,de;q=0.9"), "0800 111 0 111"),
            ("?country=ZZ&x=1", None, "988"),
            ("?country=%00&&&country", Some("\t"), "988"),
            ("?country", Some("fr-FR"), "3114"),
        ] {
            let mut request = get(&format!("/v1/crisis-resources{query}"));
            if let Some(languages) = languages {
                request.headers_mut().insert(header::ACCEPT_LANGUAGE, languages.parse().unwrap());
            }
            let answer = api.public(request).await;
            assert_eq!(
                (answer.status, &answer.json()["hotline"]),
                (StatusCode::OK, &hotline.into()),
                "{query}"
            );
            assert_eq!(answer.headers[header::VARY], "accept-language");
        }
    }
}
