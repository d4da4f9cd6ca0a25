//! `/api/v1/jobs`: search, look at and retry jobs.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{Path, Query, State, rejection::QueryRejection},
};
use http::StatusCode;
use keepwell_jobs::store::audit::AuditEntry;
use keepwell_workers::{id::JobId, lanes::LaneStats, state::State as JobState};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{
    super::{operator_name::OperatorName, state::ApiState},
    bad_request,
    filter::JobQuery,
    ledger_away,
    view::{JobBody, JobWithHistory, Page},
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
        items: page.items.into_iter().map(|job| JobBody::of(job, lanes.as_deref(), now_ms)).collect(),
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
        job: JobBody::of(job, lanes.as_deref(), state.clock.now_ms()),
        attempts_history: attempts.into_iter().map(Into::into).collect(),
    }))
}

pub(super) async fn retry(
    State(state): State<Arc<ApiState>>,
    operator: OperatorName,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    let id = read_id(&id)?;
    let note = EntryNote(AuditEntry {
        at_ms: state.clock.now_ms(),
        actor: operator.actor(),
        action: "job.retried",
        subject: Some(id.to_string()),
        reason: "an operator asked for it".to_owned(),
        before: None,
        after: Some(json!({ "state": "owed", "attempts": 0 })),
    });
    if state.engine.retry_noting(id, Some(&note)).await.map_err(|error| ledger_away(&error))? {
        tracing::info!("job.id" = %id, "an operator retries a job");
        return Ok(Json(json!({ "id": id.to_string(), "retried": true })));
    }
    let found = state.engine.ledger().show(id).await.map_err(|error| ledger_away(&error))?;
    let (job, _) = found.ok_or_else(no_such_job)?;
    let detail = format!("The job is {}; only dead and cancelled jobs can be retried.", job.state);
    Err(Problem::new(StatusCode::CONFLICT, "not_retryable", detail))
}

fn read_id(id: &str) -> Result<JobId, Problem> {
    id.parse().map_err(|_| bad_request("bad_job_id", "a job's id is a UUID, as `/api/v1/jobs` lists it"))
}

fn no_such_job() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "no_such_job", "The ledger has no job with this id.")
}

async fn lanes(state: &ApiState) -> Option<Vec<LaneStats>> {
    let (lanes, _) = timeout(LANES_TIMEOUT, state.engine.lanes().stats()).await.ok()?.ok()?;
    Some(lanes)
}
