//! `POST /api/test/crisis-response`: a crisis of nobody goes the way that everybody's goes, and the answer says how
//! long that took. Monitoring asks without a token; rehearsals of the same second share one.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::State,
    response::{IntoResponse as _, Response},
};
use http::{HeaderValue, StatusCode, header};
use keepwell_jobs::{
    alerts::rules,
    care::severity::{Severity, is_late},
};
use serde_json::json;

use super::state::ApiState;
use crate::{receiver::problem::Problem, telemetry::milliseconds};

/// What is rehearsed: the worst.
const SEVERITY: Severity = Severity::Critical;

pub(super) async fn post(State(state): State<Arc<ApiState>>) -> Response {
    let rehearsed = match state.desk.rehearse().await {
        Ok(rehearsed) => rehearsed,
        Err(error) => {
            if let Some(alerts) = &state.alerts {
                alerts.sink.tell(&rules::CRISIS_REHEARSAL_FAILED);
            }
            tracing::error!(
                alert = "crisis_rehearsal_failed",
                error = &*error as &(dyn std::error::Error + 'static),
                "a rehearsed crisis was not answered"
            );
            let detail = "A rehearsed crisis was not answered.";
            return Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not_answered", detail).into_response();
        }
    };
    let (took_ms, limit_ms) = (milliseconds(rehearsed.took), SEVERITY.response_limit_ms());
    let body = json!({
        "success": true,
        "responseTime": took_ms,
        "responseTimeLimit": limit_ms,
        "crisisCompliant": !is_late(rehearsed.took, Duration::from_millis(limit_ms)),
        "severity": SEVERITY.name(),
        "emergencyAccess": true,
        "therapeuticAccess": true,
        "job": rehearsed.job,
    });
    ([(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))], Json(body)).into_response()
}
