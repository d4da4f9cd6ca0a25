//! `GET /metrics`: for Prometheus, or as JSON for whoever asks for JSON first.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    response::{IntoResponse as _, Response},
};
use http::{HeaderMap, HeaderValue, header};

use super::state::ApiState;
use crate::telemetry::JsonMetrics;

const OPENMETRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

/// To the older format, what OpenMetrics adds is a comment.
const PROMETHEUS: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

pub(super) async fn get(State(state): State<Arc<ApiState>>, headers: HeaderMap) -> Response {
    let uncached = (header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let accepted = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let content_type = match face(accepted) {
        Face::Json => return ([uncached], Json(JsonMetrics::of(&state.metrics))).into_response(),
        Face::OpenMetrics => OPENMETRICS,
        Face::Prometheus => PROMETHEUS,
    };
    let text = state.metrics.text(&state.engine).await;
    ([uncached, (header::CONTENT_TYPE, content_type)], text).into_response()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Face {
    Json,
    OpenMetrics,
    Prometheus,
}

/// The face that `accept` asks for first: the media type with the greatest weight, of equal ones the one
/// named first.
fn face(accept: &str) -> Face {
    let mut best: Option<(&str, f32)> = None;
    for range in accept.split(',') {
        let mut parts = range.split(';').map(str::trim);
        let media_type = parts.next().unwrap_or_default();
        let weight = parts.find_map(|part| part.strip_prefix("q=")).and_then(|weight| weight.parse().ok());
        let weight = weight.unwrap_or(1.0);
        if best.is_none_or(|(_, heaviest)| weight > heaviest) {
            best = Some((media_type, weight));
        }
    }
    match best {
        Some(("application/json", _)) => Face::Json,
        Some(("application/openmetrics-text", _)) => Face::OpenMetrics,
        _ => Face::Prometheus,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_face_is_the_one_asked_for_first() {
        for (accept, expected) in [
            ("", Face::Prometheus),
            ("*/*", Face::Prometheus),
            ("text/plain", Face::Prometheus),
            // A browser, and curl with nothing said, are people who want to read.
            ("text/html,application/xhtml+xml,application/json;q=0.9,*/*;q=0.8", Face::Prometheus),
            ("application/json", Face::Json),
            // axios.
            ("application/json, text/plain, */*", Face::Json),
            ("text/plain;q=0.5, application/json", Face::Json),
            // Prometheus 3.
            (
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
                 text/plain;version=0.0.4;q=0.4,*/*;q=0.1",
                Face::OpenMetrics,
            ),
        ] {
            assert_eq!(face(accept), expected, "{accept}");
        }
    }
}
