//! Cancelling and retrying everything that matches. Each request does one bounded step and answers with where the next
//! one goes on, so neither the database nor a connection is held for long; a client that goes away simply stops.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{Path, Query, State, rejection::QueryRejection},
};
use bytes::Bytes;
use keepwell_workers::{engine::StepError, lane::Lane, ledger::JobFilter, state::State as JobState};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{
    super::{instant::rfc3339, operator_name::OperatorName, state::ApiState},
    bad_request,
    filter::JobQuery,
    lanes::{crisis_needs_override, read_lane},
    lanes_away, ledger_away,
    noted::{entry, note},
    operator_log::audit,
    plain_reason, read_body,
};
use crate::{receiver::problem::Problem, trail::EntryNote};

/// For how long the last request takes what was cancelled out of the lanes. The rest is found to be settled when its
/// turn comes.
const WITHDRAW_TIMEOUT: Duration = Duration::from_secs(10);

/// The pairs of a URL's query.
pub(super) type Pairs = Result<Query<Vec<(String, String)>>, QueryRejection>;

/// What is asked for beside the filters.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct BulkBody {
    /// Why, for the audit trail.
    reason: String,
    dry_run: bool,
    #[serde(rename = "override")]
    override_crisis: bool,
}

/// How much matches, or what one step did.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum BulkAnswer {
    /// Nothing was changed.
    Counted {
        /// Jobs that would be changed, the running ones among them.
        matching: u64,
        /// Jobs that match and are left alone because they are crisis work.
        crisis_left_alone: u64,
        /// Only jobs recorded before then; for the steps that follow.
        until: String,
    },
    /// One step was done.
    Done {
        /// Jobs that were changed.
        changed: u64,
        /// Jobs that were left alone because they are running.
        running: u64,
        /// The `cursor` of the next step; `null` when there is nothing more.
        next: Option<String>,
    },
}

/// `POST /api/v1/lanes/{lane}/clear`
pub(super) async fn clear(
    State(state): State<Arc<ApiState>>,
    operator: OperatorName,
    Path(name): Path<String>,
    pairs: Pairs,
    body: Bytes,
) -> Result<Json<BulkAnswer>, Problem> {
    let lane = read_lane(&name)?;
    let mut query = read_query(&state, pairs)?;
    if query.filter.lane.is_some_and(|other| other != lane) {
        return Err(bad_request("bad_filter", "the lane stands in the path already"));
    }
    query.filter.lane = Some(lane);
    cancel_matching(&state, &operator, query, &read(&body)?).await
}

/// `POST /api/v1/jobs/cancel`
pub(super) async fn cancel(
    State(state): State<Arc<ApiState>>,
    operator: OperatorName,
    pairs: Pairs,
    body: Bytes,
) -> Result<Json<BulkAnswer>, Problem> {
    let query = read_query(&state, pairs)?;
    let JobFilter { kind, lane, subject, since_ms, until_ms, text, .. } = &query.filter;
    let narrowed = kind.is_some()
        || lane.is_some()
        || subject.is_some()
        || since_ms.is_some()
        || until_ms.is_some()
        || text.is_some();
    if !narrowed {
        let detail = "everything that is owed would be cancelled; narrow it down by kind, lane, subject, since, until or q";
        return Err(bad_request("filter_needed", detail));
    }
    cancel_matching(&state, &operator, query, &read(&body)?).await
}

async fn cancel_matching(
    state: &ApiState,
    operator: &OperatorName,
    mut query: JobQuery,
    body: &BulkBody,
) -> Result<Json<BulkAnswer>, Problem> {
    match query.filter.state {
        None | Some(JobState::Owed) => query.filter.state = Some(JobState::Owed),
        Some(other) => {
            let detail = format!("only owed jobs can be cancelled; {other} ones are over");
            return Err(bad_request("bad_filter", detail));
        }
    }
    let reason = plain_reason(&body.reason);
    if !body.override_crisis {
        if query.filter.lane == Some(Lane::Crisis) {
            audit!("jobs.cancel", "refused: crisis work is not cancelled without an override", lane = %Lane::Crisis);
            let after = asked(&query.filter, false);
            note(state, &entry(state, operator, "jobs.cancel_refused", None, &reason, after)).await;
            return Err(crisis_needs_override("cancelled"));
        }
        query.filter.except_lane = Some(Lane::Crisis);
    }
    if body.dry_run {
        return count(state, query).await;
    }
    let after = asked(&query.filter, body.override_crisis);
    let subject = query.filter.subject.clone();
    let note = EntryNote(entry(state, operator, "jobs.cancelled", subject, &reason, after));
    let step = state.engine.cancel_matching(&query.filter, query.cursor, Some(&note)).await;
    let step = step.map_err(step_failed)?;
    if step.changed > 0 {
        let filter = &query.filter;
        audit!(
            "jobs.cancel",
            "an operator cancelled jobs",
            jobs = step.changed,
            lane = filter.lane.map(Lane::name),
            kind = filter.kind,
            about_one_subject = filter.subject.is_some(),
            "override" = body.override_crisis
        );
    }
    if step.next.is_none() {
        let lanes = query.filter.lane.map_or(Lane::ALL.to_vec(), |lane| vec![lane]);
        match timeout(WITHDRAW_TIMEOUT, state.engine.withdraw(&lanes)).await {
            Ok(Ok(withdrawn)) => tracing::debug!(withdrawn, "taken out of the lanes"),
            Ok(Err(error)) => tracing::warn!(error = %error, "what was cancelled is still in the lanes"),
            Err(_) => tracing::info!("some of what was cancelled is still in the lanes"),
        }
    }
    Ok(done(step.changed, step.running, step.next.map(|id| id.to_string())))
}

/// `POST /api/v1/jobs/retry`
pub(super) async fn retry(
    State(state): State<Arc<ApiState>>,
    operator: OperatorName,
    pairs: Pairs,
    body: Bytes,
) -> Result<Json<BulkAnswer>, Problem> {
    let mut query = read_query(&state, pairs)?;
    let body = read(&body)?;
    match query.filter.state {
        None => query.filter.state = Some(JobState::Dead),
        Some(JobState::Dead | JobState::Cancelled) => {}
        Some(other) => {
            let detail = format!("only dead and cancelled jobs can be retried, not {other} ones");
            return Err(bad_request("bad_filter", detail));
        }
    }
    if body.dry_run {
        return count(&state, query).await;
    }
    let after = asked(&query.filter, false);
    let (subject, reason) = (query.filter.subject.clone(), plain_reason(&body.reason));
    let entry = entry(&state, &operator, "jobs.retried", subject, &reason, after);
    let note = Arc::new(EntryNote(entry));
    let step = state.engine.retry_matching(&query.filter, query.cursor, Some(note)).await;
    let step = step.map_err(step_failed)?;
    if step.changed > 0 {
        audit!("jobs.retry", "an operator retries jobs", jobs = step.changed);
    }
    Ok(done(step.changed, 0, step.next.map(|id| id.to_string())))
}

/// The filter and the override, as the audit trail keeps them.
fn asked(filter: &JobFilter, override_crisis: bool) -> Value {
    json!({
        "state": filter.state.map(JobState::name), "kind": filter.kind, "lane": filter.lane.map(Lane::name),
        "since": filter.since_ms.map(rfc3339), "until": filter.until_ms.map(rfc3339), "q": filter.text,
        "override": override_crisis,
    })
}

/// What matches now. Whatever is recorded from now on does not.
async fn count(state: &ApiState, mut query: JobQuery) -> Result<Json<BulkAnswer>, Problem> {
    let until_ms = *query.filter.until_ms.get_or_insert(state.clock.now_ms() + 1);
    let matching = state.engine.ledger().count(&query.filter).await.map_err(|error| ledger_away(&error))?;
    let crisis_left_alone = match query.filter.except_lane.take() {
        Some(_) if query.filter.lane.is_some() => 0,
        Some(lane) => {
            query.filter.lane = Some(lane);
            state.engine.ledger().count(&query.filter).await.map_err(|error| ledger_away(&error))?
        }
        None => 0,
    };
    Ok(Json(BulkAnswer::Counted { matching, crisis_left_alone, until: rfc3339(until_ms) }))
}

fn done(changed: u64, running: u64, next: Option<String>) -> Json<BulkAnswer> {
    Json(BulkAnswer::Done { changed, running, next })
}

fn read_query(state: &ApiState, pairs: Pairs) -> Result<JobQuery, Problem> {
    let Query(pairs) = pairs.map_err(|_| bad_request("bad_filter", "the query cannot be read"))?;
    if pairs.iter().any(|(name, _)| name == "limit") {
        return Err(bad_request(
            "bad_filter",
            "there is no `limit` here; narrow it down by the other filters",
        ));
    }
    JobQuery::read(&pairs, state.clock.now_ms()).map_err(|detail| bad_request("bad_filter", detail))
}

fn read(body: &Bytes) -> Result<BulkBody, Problem> {
    read_body(body, r#"{"reason":"an upgrade","dry_run":true,"override":false}"#)
}

fn step_failed(error: StepError) -> Problem {
    match error {
        StepError::Lanes(error) => lanes_away(&error),
        StepError::Ledger(error) => ledger_away(&error),
    }
}
