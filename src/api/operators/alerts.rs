//! `/api/v1/alerts`: what is wrong; acknowledging and silencing it, and a test of whether anybody is told.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, Query, State, rejection::QueryRejection},
};
use bytes::Bytes;
use http::StatusCode;
use keepwell_jobs::{
    alerts::{
        plan::{OpenAlert, Silence},
        prometheus::expression,
        rule::{Bound, Rule},
        rules::{RULES, rule},
        threshold::Thresholds,
    },
    store::alerts::Which,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    super::{instant::rfc3339, operator_name::OperatorName, state::ApiState},
    bad_request,
    filter::read_span,
    ledger_away,
    noted::entry,
    operator_log::audit,
    plain_reason, read_body,
};
use crate::{
    alerts::{Acknowledged, AlertDesk},
    receiver::problem::Problem,
};

/// The longest silence, in milliseconds (a week): one that is forgotten has to end.
const SILENCE_MS_MAX: i64 = 7 * 24 * 60 * 60 * 1_000;

/// An alert.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct AlertBody {
    id: String,
    rule: String,
    cause: String,
    severity: &'static str,
    state: &'static str,
    summary: String,
    runbook: String,
    value: Option<f64>,
    source: String,
    opened_at: String,
    seen_at: String,
    times_told: i64,
    acknowledged_at: Option<String>,
    acknowledged_by: Option<String>,
    escalated: bool,
    resolved_at: Option<String>,
}

impl From<OpenAlert> for AlertBody {
    fn from(alert: OpenAlert) -> Self {
        let told = alert.told;
        let state = match (told.resolved_ms, alert.acknowledged_ms) {
            (Some(_), _) => "resolved",
            (None, Some(_)) => "acknowledged",
            (None, None) => "firing",
        };
        Self {
            id: told.id,
            rule: told.rule,
            cause: told.cause,
            severity: told.severity.name(),
            state,
            summary: told.summary,
            runbook: told.runbook,
            value: told.value,
            source: told.source,
            opened_at: rfc3339(told.opened_ms),
            seen_at: rfc3339(alert.seen_ms),
            times_told: alert.times_told,
            acknowledged_at: alert.acknowledged_ms.map(rfc3339),
            acknowledged_by: told.acknowledged_by,
            escalated: alert.escalated,
            resolved_at: told.resolved_ms.map(rfc3339),
        }
    }
}

/// Which alerts.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ListQuery {
    all: bool,
}

/// How long nobody is told of a rule, and why.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct SilenceBody {
    #[serde(rename = "for")]
    lasts: String,
    reason: String,
}

pub(super) async fn list(
    State(state): State<Arc<ApiState>>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Json<Value>, Problem> {
    let Query(query) = query.map_err(|_| bad_request("bad_filter", "`all` is true or false"))?;
    let which = if query.all { Which::Since(0) } else { Which::Open };
    let (alerts, silences) = desk(&state)?.list(&which).await.map_err(|error| ledger_away(&error))?;
    let items: Vec<AlertBody> = alerts.into_iter().map(AlertBody::from).collect();
    let silences: Vec<Value> = silences.into_iter().map(silence_body).collect();
    Ok(Json(json!({ "total": items.len(), "items": items, "silences": silences })))
}

pub(super) async fn rules(State(state): State<Arc<ApiState>>) -> Json<Value> {
    let (thresholds, table) = (&state.thresholds, Thresholds::default());
    let body = |rule: &&'static Rule| {
        json!({
            "rule": rule.name,
            "severity": rule.severity.name(),
            "when": expression(rule, thresholds),
            "bound": thresholds.bound(rule).map(Bound::number),
            "default_bound": table.bound(rule).map(Bound::number),
            "for_s": rule.for_s,
            "tell_within_s": rule.tell_within_s,
            "summary": rule.summary,
            "runbook": rule.runbook,
        })
    };
    Json(json!({ "items": RULES.iter().map(body).collect::<Vec<Value>>() }))
}

pub(super) async fn show(
    State(state): State<Arc<ApiState>>,
    Path(id): Path<String>,
) -> Result<Json<AlertBody>, Problem> {
    let alert = desk(&state)?.find(&id).await.map_err(|error| ledger_away(&error))?;
    alert.map(|alert| Json(AlertBody::from(alert))).ok_or_else(no_such_alert)
}

pub(super) async fn acknowledge(
    State(state): State<Arc<ApiState>>,
    operator: OperatorName,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    let entry = entry(&state, &operator, "alert.acknowledged", Some(id.clone()), "", Value::Null);
    let acknowledged = desk(&state)?.acknowledge(&id, &operator.0, entry).await;
    let changed = match acknowledged.map_err(|error| ledger_away(&error))? {
        Acknowledged::Now => true,
        Acknowledged::Before => false,
        Acknowledged::Unknown => return Err(no_such_alert()),
    };
    if changed {
        audit!("alert.acknowledge", "an operator acknowledges an alert", alert = id);
    }
    Ok(Json(json!({ "id": id, "acknowledged": true, "changed": changed })))
}

pub(super) async fn silence(
    State(state): State<Arc<ApiState>>,
    operator: OperatorName,
    Path(name): Path<String>,
    body: Bytes,
) -> Result<Json<Value>, Problem> {
    let (desk, rule) = (desk(&state)?, named(&name)?);
    let body: SilenceBody = read_body(&body, r#"{"for":"1h","reason":"an upgrade"}"#)?;
    let lasts_ms = read_span(&body.lasts).filter(|lasts_ms| (1..=SILENCE_MS_MAX).contains(lasts_ms));
    let wrong = || bad_request("bad_silence", "`for` is a length of time such as 90s, 15m, 36h, at most 7d");
    let until_ms = state.clock.now_ms() + lasts_ms.ok_or_else(wrong)?;
    let reason = plain_reason(&body.reason);
    let until = json!({ "until": rfc3339(until_ms) });
    let entry = entry(&state, &operator, "alert.silenced", Some(name.clone()), &reason, until);
    let silence = Silence { rule: rule.name.to_owned(), until_ms, reason, by: operator.0 };
    desk.silence(silence.clone(), entry).await.map_err(|error| ledger_away(&error))?;
    audit!("alert.silence", "an operator silences a rule", rule = name, until_ms);
    Ok(Json(silence_body(silence)))
}

pub(super) async fn unsilence(
    State(state): State<Arc<ApiState>>,
    operator: OperatorName,
    Path(name): Path<String>,
) -> Result<Json<Value>, Problem> {
    let (desk, rule) = (desk(&state)?, named(&name)?);
    let entry = entry(&state, &operator, "alert.unsilenced", Some(name.clone()), "", Value::Null);
    let (until_ms, by) = (state.clock.now_ms(), operator.0);
    let silence = Silence { rule: rule.name.to_owned(), until_ms, reason: String::new(), by };
    desk.silence(silence, entry).await.map_err(|error| ledger_away(&error))?;
    audit!("alert.unsilence", "an operator ends a silence", rule = name);
    Ok(Json(json!({ "rule": name, "silenced": false })))
}

pub(super) async fn test(
    State(state): State<Arc<ApiState>>,
    operator: OperatorName,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let desk = desk(&state)?;
    let entry = entry(&state, &operator, "alert.tested", None, "", Value::Null);
    super::noted::note(&state, &entry).await;
    desk.test();
    audit!("alert.test", "an operator tests whether anybody is told");
    let receivers: Vec<&str> = desk.habits.receivers.iter().map(|receiver| receiver.name()).collect();
    Ok((StatusCode::ACCEPTED, Json(json!({ "rule": "AlertTest", "receivers": receivers }))))
}

fn silence_body(silence: Silence) -> Value {
    let Silence { rule, until_ms, reason, by } = silence;
    json!({ "rule": rule, "silenced": true, "until": rfc3339(until_ms), "reason": reason, "by": by })
}

fn desk(state: &ApiState) -> Result<&AlertDesk, Problem> {
    let detail = "No receiver of alerts is configured; `keepwell config explain alerts.slack_url` shows one.";
    let off = || Problem::new(StatusCode::CONFLICT, "alerts_off", detail);
    state.alerts.as_ref().ok_or_else(off)
}

fn named(name: &str) -> Result<&'static Rule, Problem> {
    let detail = "No rule has this name; `keepwell alert rules` shows all.";
    rule(name).ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, "no_such_rule", detail))
}

fn no_such_alert() -> Problem {
    let detail = "No alert has this id; `keepwell alert list --all` shows those of the last 90 days.";
    Problem::new(StatusCode::NOT_FOUND, "no_such_alert", detail)
}
