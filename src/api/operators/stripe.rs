//! `/api/v1/stripe/backfill`: asking Stripe for the events of a span.

use std::sync::Arc;

use axum::{Json, extract::State};
use bytes::Bytes;
use http::StatusCode;
use keepwell_jobs::backfill::{Asked, KEPT_S};
use keepwell_workers::{clock::UnixMs, id::JobId};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    super::{instant::rfc3339, operator_name::OperatorName, state::ApiState},
    bad_request,
    filter::read_instant,
    ledger_away,
    noted::entry,
    operator_log::audit,
    read_body,
};
use crate::{receiver::problem::Problem, trail::EntryNote};

/// What is asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct BackfillBody {
    since: Option<String>,
    until: Option<String>,
    types: Vec<String>,
    undelivered: bool,
}

impl BackfillBody {
    /// From when until when, in seconds since the Unix epoch.
    fn span_s(&self, now_ms: UnixMs) -> Result<(i64, i64), String> {
        let second = |name, text: &str| read_instant(name, text, now_ms).map(|at_ms| at_ms.div_euclid(1_000));
        let since = self.since.as_deref().ok_or("`since` says from when on")?;
        let since_s = second("since", since)?;
        let until_s =
            self.until.as_deref().map_or(Ok(now_ms.div_euclid(1_000)), |text| second("until", text))?;
        if since_s < now_ms.div_euclid(1_000) - KEPT_S {
            return Err("Stripe keeps events for 30 days; `since` lies before that".to_owned());
        }
        Ok((since_s, until_s))
    }
}

/// Begins a back-fill. Its pages are jobs, each with the `subject` of the answer.
pub(super) async fn backfill(
    State(state): State<Arc<ApiState>>,
    operator: OperatorName,
    body: Bytes,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let body: BackfillBody =
        read_body(&body, r#"{"since":"3d","types":["invoice.payment_failed"],"undelivered":true}"#)?;
    if !state.stripe_configured {
        let detail = "Without `stripe.api_key` Stripe cannot be asked.";
        return Err(Problem::new(StatusCode::CONFLICT, "no_stripe_key", detail));
    }
    let now_ms = state.clock.now_ms();
    let wrong = |error: String| bad_request("bad_span", error);
    let (since_s, until_s) = body.span_s(now_ms).map_err(wrong)?;
    let asked = Asked::span(since_s, until_s, body.types, body.undelivered);
    asked.check(now_ms).map_err(wrong)?;
    let subject = format!("stripe backfill:{}", JobId::new(now_ms));
    let span = json!({ "since": rfc3339(since_s * 1_000), "until": rfc3339(until_s * 1_000) });
    let note =
        EntryNote(entry(&state, &operator, "stripe.backfill", Some(subject.clone()), "", span.clone()));
    let recorded = state.engine.enqueue_noting(vec![asked.job(&subject)], &note).await;
    let recorded = recorded.map_err(|error| ledger_away(&error))?;
    audit!("stripe.backfill", "an operator asks Stripe for events", since_s, until_s);
    let job = recorded.first().map(|recorded| recorded.id.to_string());
    let (since, until) = (&span["since"], &span["until"]);
    let answer = json!({ "job": job, "subject": subject, "since": since, "until": until });
    Ok((StatusCode::ACCEPTED, Json(answer)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::support::{Api, Reader, post};

    #[test]
    fn a_span_lies_within_what_stripe_keeps() {
        let span = |since: &str, until: Option<&str>| {
            let body = BackfillBody {
                since: Some(since.to_owned()),
                until: until.map(str::to_owned),
                ..BackfillBody::default()
            };
            body.span_s(1_700_000_000_000)
        };
        assert_eq!(span("1h", None), Ok((1_699_996_400, 1_700_000_000)));
        assert_eq!(span("2h", Some("1h")), Ok((1_699_992_800, 1_699_996_400)));
        assert!(span("31d", None).unwrap_err().contains("30 days"));
        assert!(span("soon", None).unwrap_err().contains("`since`"));
        assert!(BackfillBody::default().span_s(0).unwrap_err().contains("`since`"));
    }

    #[tokio::test]
    async fn without_a_key_nobody_is_asked_and_it_is_said() {
        let api = Api::start(Reader::Answers).await;
        let answer = api.operator(post("/api/v1/stripe/backfill", r#"{"since":"1h"}"#)).await;
        assert_eq!((answer.status, &answer.json()["code"]), (StatusCode::CONFLICT, &"no_stripe_key".into()));
        assert!(answer.json()["detail"].as_str().unwrap().contains("stripe.api_key"));
    }
}
