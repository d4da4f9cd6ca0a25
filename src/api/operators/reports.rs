//! `/api/v1/reports`: making, listing, getting and delivering compliance reports.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, Query, State, rejection::QueryRejection},
};
use bytes::Bytes;
use http::StatusCode;
use keepwell_jobs::{
    care::{
        grace::DAY_MS,
        report::period::{Period, PeriodError},
    },
    report_delivery,
    reporting::ReportKind,
    signature::Signature,
    store::reports::{FoundReport, KeptReport, ReportContent},
};
use keepwell_workers::clock::UnixMs;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    super::{instant::rfc3339, operator_name::OperatorName, state::ApiState},
    bad_request,
    filter::{LIMIT, read_cursor, read_instant, read_limit},
    ledger_away,
    noted::entry,
    operator_log::audit,
    read_body,
    view::Page,
};
use crate::{
    receiver::problem::Problem,
    reports::{Format, render},
    trail::EntryNote,
};

/// What a report is about if nobody says: the last thirty days.
const PERIOD_MS: i64 = 30 * DAY_MS;

type Pairs = Result<Query<Vec<(String, String)>>, QueryRejection>;

/// A report in the list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct ReportBody {
    id: String,
    kind: String,
    from: String,
    to: String,
    made_at: String,
}

impl From<KeptReport> for ReportBody {
    fn from(report: KeptReport) -> Self {
        Self {
            id: report.id,
            kind: report.kind,
            from: rfc3339(report.from_ms),
            to: rfc3339(report.to_ms),
            made_at: rfc3339(report.made_ms),
        }
    }
}

/// A report in one form, signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct SignedBody {
    id: String,
    kind: &'static str,
    format: &'static str,
    /// The report's bytes, which the signature is about.
    content: String,
    signature: Signature,
}

/// What is asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Asked {
    kind: Option<String>,
    from: Option<String>,
    to: Option<String>,
}

impl Asked {
    fn period(&self, now_ms: UnixMs) -> Result<Period, String> {
        let read = |name, text: Option<&str>, otherwise_ms| match text {
            Some(text) => read_instant(name, text, now_ms),
            None => Ok(otherwise_ms),
        };
        let to_ms = read("to", self.to.as_deref(), now_ms)?;
        let from_ms = read("from", self.from.as_deref(), to_ms.saturating_sub(PERIOD_MS))?;
        Period::new(from_ms, to_ms, now_ms).map_err(|error: PeriodError| error.to_string())
    }
}

pub(super) async fn make(
    State(state): State<Arc<ApiState>>,
    operator: OperatorName,
    body: Bytes,
) -> Result<(StatusCode, Json<ReportBody>), Problem> {
    let asked: Asked = read_body(&body, r#"{"kind":"crisis","from":"30d","to":"2027-01-31T00:00:00Z"}"#)?;
    let kind = ReportKind::from_name(asked.kind.as_deref().unwrap_or(ReportKind::Crisis.name()));
    let kind = kind.ok_or_else(|| bad_request("bad_kind", "the kinds of reports are: crisis, operations"))?;
    let period = asked.period(state.clock.now_ms()).map_err(|detail| bad_request("bad_period", detail))?;
    let made = state.trail.make_report(&state.report_settings, kind, period, operator.actor()).await;
    let made = made.map_err(|error| ledger_away(&*error))?;
    Ok((StatusCode::CREATED, Json(made.into())))
}

pub(super) async fn list(
    State(state): State<Arc<ApiState>>,
    pairs: Pairs,
) -> Result<Json<Page<ReportBody>>, Problem> {
    let (limit, cursor) = page_of(pairs).map_err(|detail| bad_request("bad_filter", detail))?;
    let found = state.trail.reports(cursor.as_deref(), limit.saturating_add(1)).await;
    let (mut items, total) = found.map_err(|error| ledger_away(&*error))?;
    let more = items.len() > limit as usize;
    items.truncate(limit as usize);
    let next = if more { items.last().map(|last| last.id.clone()) } else { None };
    Ok(Json(Page { items: items.into_iter().map(Into::into).collect(), next, total }))
}

fn page_of(pairs: Pairs) -> Result<(u32, Option<String>), String> {
    let Query(pairs) = pairs.map_err(|_| "the query cannot be read".to_owned())?;
    let (mut limit, mut cursor) = (LIMIT, None);
    for (name, value) in pairs.iter().filter(|(_, value)| !value.is_empty()) {
        match name.as_str() {
            "limit" => limit = read_limit(value)?,
            "cursor" => cursor = Some(read_cursor(value)?.to_string()),
            _ => return Err(format!("there is no filter `{name}`; the filters are limit and cursor")),
        }
    }
    Ok((limit, cursor))
}

pub(super) async fn show(
    State(state): State<Arc<ApiState>>,
    Path(id): Path<String>,
    pairs: Pairs,
) -> Result<Json<SignedBody>, Problem> {
    let Query(pairs) = pairs.map_err(|_| bad_request("bad_filter", "the query cannot be read"))?;
    let mut format = Format::Json;
    for (name, value) in &pairs {
        let known = if name == "format" { value.parse().ok() } else { None };
        format = known.ok_or_else(|| bad_request("bad_format", "format is json, html or csv"))?;
    }
    let report = kept(&state, &id).await?;
    let content = render(&id, &report, format);
    let signature = state.trail.sign(content.as_bytes()).map_err(|error| ledger_away(&error))?;
    Ok(Json(SignedBody { id, kind: report.kind(), format: format.name(), content, signature }))
}

/// Has a report brought wherever those on schedule go, however often that was done before.
pub(super) async fn deliver(
    State(state): State<Arc<ApiState>>,
    operator: OperatorName,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    kept(&state, &id).await?;
    if !state.reports_have_destination {
        let detail = "Reports go nowhere: neither `reports.directory` nor `reports.url` is configured.";
        return Err(Problem::new(StatusCode::CONFLICT, "no_destination", detail));
    }
    let note = entry(&state, &operator, "report.delivery_asked", Some(id.clone()), "", Value::Null);
    let recorded = state.engine.enqueue_noting(vec![report_delivery(&id)], &EntryNote(note)).await;
    let recorded = recorded.map_err(|error| ledger_away(&error))?;
    audit!("report.deliver", "an operator has a report delivered", report = id);
    let job = recorded.first().map(|recorded| recorded.id.to_string());
    Ok(Json(json!({ "id": id, "job": job })))
}

/// What the report `id` says.
async fn kept(state: &ApiState, id: &str) -> Result<ReportContent, Problem> {
    match state.trail.report(id).await.map_err(|error| ledger_away(&*error))? {
        FoundReport::Report(report) => Ok(report),
        FoundReport::Nothing => {
            let detail = "There is no such report, or it was let go.";
            Err(Problem::new(StatusCode::NOT_FOUND, "no_such_report", detail))
        }
        FoundReport::Unreadable => {
            tracing::error!(report = id, "a compliance report was altered, or its key is not in the ring");
            let detail = "The report was altered, or the key that sealed it is not configured.";
            Err(Problem::new(StatusCode::CONFLICT, "report_unreadable", detail))
        }
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::super::super::support::{Api, Reader, get, post};

    #[tokio::test]
    async fn a_report_is_made_listed_and_got_in_every_form() {
        let api = Api::start(Reader::Answers).await;
        let mut ids = Vec::new();
        for body in ["", r#"{"from":"7d"}"#, r#"{"kind":"operations","from":"2d","to":"1d"}"#] {
            let made = api.operator(post("/api/v1/reports", body)).await;
            assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
            ids.push(made.json()["id"].as_str().unwrap().to_owned());
        }
        ids.sort();
        let page = api.operator(get("/api/v1/reports?limit=2")).await.json();
        assert_eq!((&page["total"], &page["items"][0]["id"]), (&3.into(), &ids[2].clone().into()));
        let next = format!("/api/v1/reports?cursor={}", page["next"].as_str().unwrap());
        let page = api.operator(get(&next)).await.json();
        assert_eq!((&page["items"][0]["id"], page["next"].is_null()), (&ids[0].clone().into(), true));
        for (format, start) in [("json", "{\n"), ("html", "<!DOCTYPE html>"), ("csv", "figure,value\r\n")] {
            let path = format!("/api/v1/reports/{}?format={format}", ids[0]);
            let report = api.operator(get(&path)).await.json();
            assert!(report["content"].as_str().unwrap().starts_with(start), "{report}");
            assert_eq!(report["signature"]["algorithm"], "ed25519");
            assert_eq!(api.operator(get(&path)).await.json(), report, "the same bytes every time");
        }
    }

    #[tokio::test]
    async fn what_cannot_be_reported_on_is_refused() {
        let api = Api::start(Reader::Answers).await;
        for (body, code) in [
            (r#"{"kind":"weather"}"#, "bad_kind"),
            (r#"{"from":"1d","to":"2d"}"#, "bad_period"),
            (r#"{"from":"400d"}"#, "bad_period"),
            (r#"{"to":"2999-01-01T00:00:00Z"}"#, "bad_period"),
            (r#"{"form":"1d"}"#, "bad_body"),
        ] {
            let answer = api.operator(post("/api/v1/reports", body)).await;
            assert_eq!(
                (answer.status, &answer.json()["code"]),
                (StatusCode::BAD_REQUEST, &code.into()),
                "{body}"
            );
        }
        for missing in [get("/api/v1/reports/nothing"), post("/api/v1/reports/nothing/deliver", "")] {
            let missing = api.operator(missing).await;
            assert_eq!(
                (missing.status, &missing.json()["code"]),
                (StatusCode::NOT_FOUND, &"no_such_report".into())
            );
        }
    }
}
