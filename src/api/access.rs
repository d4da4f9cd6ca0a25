//! `GET /v1/customers/{id}/access`: what a person may use right now. Whatever is broken, the floor is
//! answered.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{Path, State},
    response::{IntoResponse as _, Response},
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use keepwell_jobs::json::is_id;
use tokio::time::timeout;

use super::state::ApiState;
use crate::receiver::{Unverified, problem::Problem};

/// How long the database may take. An app that asks what to show cannot wait, and the floor is always true: it is to be
/// there within the 100 ms that an access document may take.
const READ_TIMEOUT: Duration = Duration::from_millis(80);

/// Set to `floor` when the document is not what is known about the person but what is true for everybody.
pub const FALLBACK_HEADER: HeaderName = HeaderName::from_static("keepwell-fallback");

pub(super) async fn get(
    State(state): State<Arc<ApiState>>,
    customer: Result<Path<String>, axum::extract::rejection::PathRejection>,
    headers: HeaderMap,
) -> Response {
    if !state.access_tokens.admit(&headers) {
        return unauthorized();
    }
    let Some(customer) = customer.ok().map(|Path(customer)| customer).filter(|customer| is_id(customer))
    else {
        let detail = "A customer's id has 1 to 255 bytes and no control characters.";
        return Problem::new(StatusCode::BAD_REQUEST, "bad_customer", detail).into_response();
    };
    let uncached = (header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    match timeout(READ_TIMEOUT, state.access.access(&customer)).await {
        Ok(Ok(document)) => ([uncached], Json(document)).into_response(),
        failed => {
            let error = failed.ok().and_then(Result::err);
            tracing::warn!(error = error.as_deref().map(tracing::field::display), "answered with the floor");
            let document = state.desk.access_without_database(&customer);
            let fallback = (FALLBACK_HEADER, HeaderValue::from_static("floor"));
            ([uncached, fallback], Json(document)).into_response()
        }
    }
}

/// The answer 401. It says the same whether the token is missing or wrong, and costs its sender some
/// of the budget for requests that cannot be verified.
fn unauthorized() -> Response {
    let detail = "Send a token of `access.tokens` as `Authorization: Bearer …`.";
    let problem = Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", detail);
    let mut response =
        ([(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))], problem).into_response();
    response.extensions_mut().insert(Unverified("access"));
    response
}

#[cfg(test)]
mod tests {
    use http::{Request, header::AUTHORIZATION};

    use super::{
        super::support::{Answer, Api, Reader, TOKEN, get},
        *,
    };

    async fn ask(reader: Reader, customer: &str) -> Answer {
        let mut request: Request<_> = get(&format!("/v1/customers/{customer}/access"));
        let token = HeaderValue::try_from(format!("Bearer {TOKEN}")).unwrap();
        request.headers_mut().insert(AUTHORIZATION, token);
        Api::start(reader).await.public(request).await
    }

    #[tokio::test]
    async fn whoever_has_a_token_is_told_what_a_person_may_use() {
        let answer = ask(Reader::Answers, "cus_1").await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(
            (&answer.json()["customer"], &answer.json()["tier"]),
            (&"cus_1".into(), &"premium".into())
        );
        assert_eq!(answer.headers[header::CACHE_CONTROL], "no-store");
        assert!(!answer.headers.contains_key(FALLBACK_HEADER));
    }

    #[tokio::test]
    async fn without_a_token_nothing_is_told() {
        let api = Api::start(Reader::Answers).await;
        let answer = api.public(get("/v1/customers/cus_1/access")).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        assert_eq!(answer.headers[header::WWW_AUTHENTICATE], "Bearer");
        assert_eq!(answer.headers[header::CONTENT_TYPE], "application/problem+json");
        assert_eq!(answer.json()["code"], "unauthorized");
    }

    #[tokio::test]
    async fn a_database_that_fails_or_is_silent_leaves_the_floor() {
        for reader in [Reader::Fails, Reader::Silent] {
            let answer = ask(reader, "cus_1").await;
            assert_eq!(answer.status, StatusCode::OK, "{reader:?}");
            assert_eq!(answer.headers[FALLBACK_HEADER], "floor");
            let document = answer.json();
            assert_eq!((&document["customer"], &document["tier"]), (&"cus_1".into(), &"floor".into()));
            let enabled = document["features"]["enabled"].as_array().unwrap();
            assert!(enabled.contains(&"crisis_button".into()), "{document}");
        }
    }

    #[test]
    fn a_silent_database_leaves_a_fifth_of_the_100_ms_of_an_access_document_for_the_floor() {
        assert!(READ_TIMEOUT <= Duration::from_millis(80), "{READ_TIMEOUT:?}");
    }

    #[tokio::test]
    async fn what_cannot_be_a_customer_is_refused() {
        for bad in ["a%00b", &"x".repeat(256), "%ff"] {
            let answer = ask(Reader::Answers, bad).await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{bad}");
            assert_eq!(answer.json()["code"], "bad_customer");
        }
        assert_eq!(ask(Reader::Answers, "a%20b%2Fc").await.json()["customer"], "a b/c");
    }
}
