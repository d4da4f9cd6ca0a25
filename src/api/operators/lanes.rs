//! `/api/v1/lanes`: how the lanes stand; holding them up and letting them go on.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{Path, State},
};
use bytes::Bytes;
use http::StatusCode;
use keepwell_jobs::store::audit::AuditEntry;
use keepwell_workers::{
    engine::Effective,
    lane::Lane,
    lanes::{LaneError, LaneStats},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{
    super::{operator_name::OperatorName, state::ApiState},
    bad_request, lanes_away, ledger_away,
    noted::{entry, note},
    operator_log::audit,
    plain_reason, read_body,
};
use crate::{receiver::problem::Problem, trail::PlainNote};

/// How long Redis may take.
const LANES_TIMEOUT: Duration = Duration::from_secs(2);

/// How long the ledger may take to say what was before.
const LEDGER_TIMEOUT: Duration = Duration::from_secs(1);

/// All lanes, and what the ledger owes in all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct LanesBody {
    lanes: Vec<LaneBody>,
    owed: u64,
    dead: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct LaneBody {
    name: Lane,
    paused: bool,
    paused_because: Option<String>,
    waiting: u64,
    running: u64,
    later: u64,
    oldest_waiting_ms: Option<i64>,
}

impl From<LaneStats> for LaneBody {
    fn from(stats: LaneStats) -> Self {
        Self {
            name: stats.lane,
            paused: stats.paused.is_some(),
            paused_because: stats.paused.filter(|reason| !reason.is_empty()),
            waiting: stats.waiting,
            running: stats.running,
            later: stats.later,
            oldest_waiting_ms: stats.oldest_waiting_ms,
        }
    }
}

/// Why a lane is held up.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct PauseBody {
    reason: String,
    #[serde(rename = "override")]
    override_crisis: bool,
}

pub(super) async fn list(State(state): State<Arc<ApiState>>) -> Result<Json<LanesBody>, Problem> {
    let (lanes, totals) = tokio::join!(within(state.engine.standing()), state.engine.ledger().totals());
    let (lanes, _) = lanes?;
    let totals = totals.map_err(|error| ledger_away(&error))?;
    let lanes = lanes.into_iter().map(LaneBody::from).collect();
    Ok(Json(LanesBody { lanes, owed: totals.owed, dead: totals.dead }))
}

pub(super) async fn pause(
    State(state): State<Arc<ApiState>>,
    operator: OperatorName,
    Path(name): Path<String>,
    body: Bytes,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let lane = read_lane(&name)?;
    let body: PauseBody = read_body(&body, r#"{"reason":"an upgrade","override":false}"#)?;
    let reason = plain_reason(&body.reason);
    let subject = Some(lane.to_string());
    if lane == Lane::Crisis && !body.override_crisis {
        audit!("lane.pause", "refused: the crisis lane is not paused without an override", %lane);
        note(&state, &entry(&state, &operator, "lane.pause_refused", subject, &reason, Value::Null)).await;
        return Err(crisis_needs_override("paused"));
    }
    let after = json!({ "override": body.override_crisis });
    let before = pausing(&state, lane).await;
    let paused = AuditEntry { before, ..entry(&state, &operator, "lane.paused", subject, &reason, after) };
    let note = Arc::new(PlainNote(paused));
    let paused = state.engine.pause_noting(lane, &reason, body.override_crisis, Some(note)).await;
    let paused = paused.map_err(refused)?;
    audit!("lane.pause", "an operator pauses a lane", %lane, reason, "override" = body.override_crisis);
    Ok(decided(lane, true, paused))
}

pub(super) async fn resume(
    State(state): State<Arc<ApiState>>,
    operator: OperatorName,
    Path(name): Path<String>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let lane = read_lane(&name)?;
    let before = pausing(&state, lane).await;
    let resumed =
        entry(&state, &operator, "lane.resumed", Some(lane.to_string()), "", json!({ "paused": false }));
    let note = Arc::new(PlainNote(AuditEntry { before, ..resumed }));
    let resumed = state.engine.resume_noting(lane, Some(note)).await.map_err(refused)?;
    audit!("lane.resume", "an operator lets a lane go on", %lane);
    Ok(decided(lane, false, resumed))
}

/// 202 where claims go by it only from the return of Redis on. It is recorded either way, and needs no second request.
fn decided(lane: Lane, paused: bool, effective: Effective) -> (StatusCode, Json<Value>) {
    match effective {
        Effective::Now => (StatusCode::OK, Json(json!({ "name": lane, "paused": paused }))),
        Effective::WhenRedisAnswers => {
            let answer = json!({ "name": lane, "paused": paused, "waits_for": "redis" });
            (StatusCode::ACCEPTED, Json(answer))
        }
    }
}

/// Whether `lane` is held up now, and why; `None` if the ledger cannot be asked.
async fn pausing(state: &ApiState, lane: Lane) -> Option<Value> {
    let paused = timeout(LEDGER_TIMEOUT, state.engine.paused()).await.ok()?.ok()?;
    let because = paused.into_iter().find(|(held_up, _)| *held_up == lane).map(|(_, reason)| reason);
    Some(json!({ "paused": because.is_some(), "because": because }))
}

pub(super) fn read_lane(name: &str) -> Result<Lane, Problem> {
    name.parse().map_err(|error| bad_request("bad_lane", error))
}

/// 409: nobody does that to crisis work by accident.
pub(super) fn crisis_needs_override(done: &str) -> Problem {
    let detail = format!(
        "People in crisis would wait. Crisis work is only {done} with an explicit override (`--override` on the command \
         line, \"override\":true in the body), and that is noted in the audit log."
    );
    Problem::new(StatusCode::CONFLICT, "crisis_needs_override", detail)
}

/// What the lanes answer, if they do in time.
pub(super) async fn within<T>(asked: impl Future<Output = Result<T, LaneError>>) -> Result<T, Problem> {
    match timeout(LANES_TIMEOUT, asked).await {
        Ok(answer) => answer.map_err(refused),
        Err(elapsed) => Err(lanes_away(&elapsed)),
    }
}

fn refused(error: LaneError) -> Problem {
    match error {
        LaneError::CrisisNeedsOverride => crisis_needs_override("paused"),
        LaneError::Ledger(error) => ledger_away(&error),
        error => lanes_away(&error),
    }
}
