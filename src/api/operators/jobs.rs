//! `/api/v1/jobs`: search, look at, retry and cancel jobs.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{Path, Query, State, rejection::QueryRejection},
};
use bytes::Bytes;
use http::StatusCode;
use keepwell_jobs::store::audit::AuditEntry;
use keepwell_workers::{id::JobId, lane::Lane, state::State as JobState};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{
    super::{operator_name::OperatorName, state::ApiState},
    bad_request,
    filter::JobQuery,
    lanes::{crisis_needs_override, within},
    ledger_away,
    noted::{entry, note},
    operator_log::audit,
    plain_reason, read_body,
    view::{JobBody, JobWithHistory, Page},
    waiting::LanesNow,
};
use crate::{receiver::problem::Problem, trail::EntryNote};

/// How long the lanes may take to say why jobs wait; without them the list is still worth having.
const LANES_TIMEOUT: Duration = Duration::from_millis(500);

pub(super) async fn list(
    State(state): State<Arc<ApiState>>,
    pairs: Result<Query<Vec<(String, String)>>, QueryRejection>,
) -> Result<Json<Page<JobBody>>, Problem> {
    let Query(pairs) = pairs.map_err(|_| bad_request("bad_filter", "the query cannot be read"))?;
    let now_ms = state.clock.now_ms();
    let query = JobQuery::read(&pairs, now_ms).map_err(|detail| bad_request("bad_filter", detail))?;
    let found = state.engine.ledger().list(&query.filter, query.cursor, query.limit).await;
    let page = found.map_err(|error| ledger_away(&error))?;
    let owed = page.items.iter().any(|job| job.state == JobState::Owed);
    let lanes = if owed { lanes(&state).await } else { None };
    Ok(Json(Page {
        items: page.items.into_iter().map(|job| JobBody::of(job, lanes.as_ref(), now_ms)).collect(),
        next: page.next.map(|id| id.to_string()),
        total: page.total,
    }))
}

pub(super) async fn show(
    State(state): State<Arc<ApiState>>,
    Path(id): Path<String>,
) -> Result<Json<JobWithHistory>, Problem> {
    let id = read_id(&id)?;
    let found = state.engine.ledger().show(id).await.map_err(|error| ledger_away(&error))?;
    let (job, attempts) = found.ok_or_else(no_such_job)?;
    let lanes = if job.state == JobState::Owed { lanes(&state).await } else { None };
    Ok(Json(JobWithHistory {
        job: JobBody::of(job, lanes.as_ref(), state.clock.now_ms()),
        attempts_history: attempts.into_iter().map(Into::into).collect(),
    }))
}

pub(super) async fn retry(
    State(state): State<Arc<ApiState>>,
    operator: OperatorName,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<Value>, Problem> {
    let id = read_id(&id)?;
    let body: RetryBody = read_body(&body, r#"{"reason":"the receiver is back"}"#)?;
    let found = state.engine.ledger().show(id).await.map_err(|error| ledger_away(&error))?;
    let (before, _) = found.ok_or_else(no_such_job)?;
    let reason = plain_reason(&body.reason);
    let entry = AuditEntry {
        before: Some(json!({ "state": before.state })),
        ..entry(&state, &operator, "job.retried", Some(id.to_string()), &reason, json!({ "state": "owed" }))
    };
    let note = Arc::new(EntryNote(entry));
    if state.engine.retry_noting(id, Some(note)).await.map_err(|error| ledger_away(&error))? {
        audit!("job.retry", "an operator retries a job", job.id = %id);
        return Ok(Json(json!({ "id": id.to_string(), "retried": true })));
    }
    let found = state.engine.ledger().show(id).await.map_err(|error| ledger_away(&error))?;
    let (job, _) = found.ok_or_else(no_such_job)?;
    let detail = format!("The job is {}; only dead and cancelled jobs can be retried.", job.state);
    Err(Problem::new(StatusCode::CONFLICT, "not_retryable", detail))
}

/// What may be said of a retry.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RetryBody {
    reason: String,
}

/// What may be said of a cancellation.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct CancelBody {
    reason: String,
    #[serde(rename = "override")]
    override_crisis: bool,
}

pub(super) async fn cancel(
    State(state): State<Arc<ApiState>>,
    operator: OperatorName,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<Value>, Problem> {
    let id = read_id(&id)?;
    let body: CancelBody = read_body(&body, r#"{"reason":"an upgrade","override":false}"#)?;
    let reason = plain_reason(&body.reason);
    let found = state.engine.ledger().show(id).await.map_err(|error| ledger_away(&error))?;
    let (job, _) = found.ok_or_else(no_such_job)?;
    if job.state != JobState::Owed {
        return Err(not_cancellable(format!("The job is {}; only owed jobs can be cancelled.", job.state)));
    }
    if job.lane == Lane::Crisis && !body.override_crisis {
        audit!("job.cancel", "refused: crisis work is not cancelled without an override", job.id = %id);
        let subject = Some(id.to_string());
        note(&state, &entry(&state, &operator, "job.cancel_refused", subject, &reason, Value::Null)).await;
        return Err(crisis_needs_override("cancelled"));
    }
    if within(state.engine.running()).await?.contains(&id) {
        return Err(not_cancellable("The job is running; what it does cannot be called back.".to_owned()));
    }
    let after = json!({ "lane": job.lane, "kind": job.kind, "override": body.override_crisis });
    let note = EntryNote(AuditEntry {
        before: Some(json!({ "state": job.state })),
        ..entry(&state, &operator, "job.cancelled", Some(id.to_string()), &reason, after)
    });
    if !state.engine.cancel_noting(id, Some(&note)).await.map_err(|error| ledger_away(&error))? {
        return Err(not_cancellable("The job has just been finished.".to_owned()));
    }
    audit!("job.cancel", "an operator cancels a job", job.id = %id, lane = %job.lane, "override" = body.override_crisis);
    Ok(Json(json!({ "id": id.to_string(), "cancelled": true })))
}

fn not_cancellable(detail: String) -> Problem {
    Problem::new(StatusCode::CONFLICT, "not_cancellable", detail)
}

fn read_id(id: &str) -> Result<JobId, Problem> {
    id.parse().map_err(|_| bad_request("bad_job_id", "a job's id is a UUID, as `/api/v1/jobs` lists it"))
}

fn no_such_job() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "no_such_job", "The ledger has no job with this id.")
}

async fn lanes(state: &ApiState) -> Option<LanesNow> {
    let asked = async { tokio::try_join!(state.engine.lanes().stats(), state.engine.running()) };
    let ((lanes, _), running) = timeout(LANES_TIMEOUT, asked).await.ok()?.ok()?;
    Some(LanesNow { lanes, running })
}
