//! `GET /v1/crisis-resources`: where to find help at once. No token, no database, no computation: the answer for every
//! country is made beforehand. Which one it is, `?country=` says, else `Accept-Language`; there is always one.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{RawQuery, State},
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use keepwell_jobs::care::resources::CrisisResources;
use sha2::{Digest as _, Sha256};

use super::state::ApiState;

/// How long an answer may be kept, in seconds: short enough that a changed number is everywhere within
/// minutes.
const KEPT: HeaderValue = HeaderValue::from_static("public, max-age=300");

/// The answer, made once.
#[derive(Debug, Clone)]
pub(crate) struct CrisisResourcesAnswer {
    body: Bytes,
    etag: HeaderValue,
}

impl CrisisResourcesAnswer {
    /// The answer that tells `resources`.
    pub(crate) fn of(resources: &CrisisResources) -> Self {
        // Four texts can always be written as JSON.
        let body = serde_json::to_vec(resources).unwrap_or_default();
        let etag = format!("\"{}\"", hex::encode(&Sha256::digest(&body)[..8]));
        // Hexadecimal digits in quotes are a header value.
        let etag = HeaderValue::try_from(etag).unwrap_or(HeaderValue::from_static("\"0\""));
        Self { body: body.into(), etag }
    }

    fn respond(&self, headers: &HeaderMap) -> Response {
        let known = headers.get_all(header::IF_NONE_MATCH).iter().any(|value| self.is_named_in(value));
        let vary = HeaderValue::from_static("accept-language");
        let caching =
            [(header::ETAG, self.etag.clone()), (header::CACHE_CONTROL, KEPT), (header::VARY, vary)];
        if known {
            return (StatusCode::NOT_MODIFIED, caching).into_response();
        }
        let json = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
        (json, caching, Body::from(self.body.clone())).into_response()
    }

    /// Whether an `If-None-Match` names this very answer; weak tags count, as RFC 9110 wants it.
    fn is_named_in(&self, value: &HeaderValue) -> bool {
        let Ok(value) = value.to_str() else { return false };
        let mut tags = value.split(',').map(|tag| tag.trim().trim_start_matches("W/"));
        tags.any(|tag| tag == "*" || tag.as_bytes() == self.etag.as_bytes())
    }
}

pub(super) async fn get(
    State(state): State<Arc<ApiState>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    state.metrics.answered_crisis_resources();
    let languages = headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
    state.crisis_resources.of(country(query.as_deref()), languages).respond(&headers)
}

/// The country that a query names. Any other query is one without: nobody is refused help for a slip.
fn country(query: Option<&str>) -> Option<&str> {
    query?.split('&').find_map(|pair| pair.strip_prefix("country="))
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    fn answer() -> CrisisResourcesAnswer {
        let resources = serde_json::json!({
            "hotline": "988", "text": "988", "chat_url": "https://988lifeline.org/chat/",
            "international": "+1-800-273-8255",
        });
        let text = |name: &str| resources[name].as_str().unwrap().to_owned().into();
        CrisisResourcesAnswer::of(&CrisisResources {
            hotline: text("hotline"),
            text: text("text"),
            chat_url: text("chat_url"),
            international: text("international"),
        })
    }

    #[tokio::test]
    async fn the_answer_names_every_way_to_find_help() {
        let response = answer().respond(&HeaderMap::new());
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/json");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(
            std::str::from_utf8(&body).unwrap(),
            concat!(
                r#"{"hotline":"988","text":"988","chat_url":"https://988lifeline.org/chat/","#,
                r#""international":"+1-800-273-8255"}"#
            )
        );
    }

    #[test]
    fn whoever_has_the_answer_is_not_sent_it_again() {
        let answer = answer();
        let etag = answer.respond(&HeaderMap::new()).headers()[header::ETAG].clone();
        let asked = |value: HeaderValue| {
            answer.respond(&HeaderMap::from_iter([(header::IF_NONE_MATCH, value)])).status()
        };
        let weak = format!("\"other\", W/{}", etag.to_str().unwrap());
        assert_eq!(asked(etag), StatusCode::NOT_MODIFIED);
        assert_eq!(asked(HeaderValue::try_from(weak).unwrap()), StatusCode::NOT_MODIFIED);
        assert_eq!(asked(HeaderValue::from_static("\"other\"")), StatusCode::OK);
    }
}
