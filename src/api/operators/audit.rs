//! `/api/v1/audit`: reading, verifying and exporting the audit trail.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, Query, State, rejection::QueryRejection},
};
use bytes::Bytes;
use http::StatusCode;
use keepwell_jobs::store::audit::{AuditEntry, AuditFilter, EntryView, ExportError, ExportPage, Report};
use keepwell_workers::clock::UnixMs;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    super::{instant::rfc3339, operator_name::OperatorName, state::ApiState},
    bad_request,
    filter::{LIMIT, VALUE_BYTES_MAX, read_cursor, read_instant, read_limit},
    ledger_away,
    operator_log::audit,
    read_body,
    view::Page,
};
use crate::{receiver::problem::Problem, trail::Acknowledging};

/// The longest cursor, in bytes: that of an export says how far it has come.
const CURSOR_BYTES_MAX: usize = 2_048;

/// Blocks that one request verifies.
const VERIFY_BLOCKS: i64 = 100;

/// The longest reason for acknowledging a finding, in characters: all of it is kept.
const ACKNOWLEDGE_REASON_CHARACTERS_MAX: usize = 1_000;

type Pairs = Result<Query<Vec<(String, String)>>, QueryRejection>;

/// An entry as clients see it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct EntryBody {
    id: String,
    position: Option<i64>,
    at: String,
    actor: ActorBody,
    action: String,
    subject: Option<String>,
    reason: String,
    before: Option<Value>,
    after: Option<Value>,
    /// Whether the details could be opened; if not, reason, before and after are empty.
    readable: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct ActorBody {
    kind: String,
    name: String,
}

impl From<EntryView> for EntryBody {
    fn from(entry: EntryView) -> Self {
        Self {
            id: entry.id.to_string(),
            position: entry.position,
            at: rfc3339(entry.at_ms),
            actor: ActorBody { kind: entry.actor_kind, name: entry.actor },
            action: entry.action,
            subject: entry.subject,
            reason: entry.reason,
            before: entry.before,
            after: entry.after,
            readable: entry.readable,
        }
    }
}

/// What is asked for.
#[derive(Debug, Default)]
struct AuditQuery {
    filter: AuditFilter,
    cursor: Option<String>,
    limit: u32,
    from: Option<i64>,
}

impl AuditQuery {
    fn read(pairs: Pairs, now_ms: UnixMs) -> Result<Self, Problem> {
        let Query(pairs) = pairs.map_err(|_| bad_request("bad_filter", "the query cannot be read"))?;
        Self::of(&pairs, now_ms).map_err(|detail| bad_request("bad_filter", detail))
    }

    fn of(pairs: &[(String, String)], now_ms: UnixMs) -> Result<Self, String> {
        let mut query = Self { limit: LIMIT, ..Self::default() };
        for (name, value) in pairs.iter().filter(|(_, value)| !value.is_empty()) {
            let bytes_max = if name == "cursor" { CURSOR_BYTES_MAX } else { VALUE_BYTES_MAX };
            if value.len() > bytes_max {
                return Err(format!("`{name}` is longer than {bytes_max} bytes"));
            }
            match name.as_str() {
                "since" => query.filter.since_ms = Some(read_instant(name, value, now_ms)?),
                "until" => query.filter.until_ms = Some(read_instant(name, value, now_ms)?),
                "subject" => query.filter.subject = Some(value.clone()),
                "action" | "kind" => query.filter.action = Some(value.clone()),
                "q" => query.filter.text = Some(value.clone()),
                "limit" => query.limit = read_limit(value)?,
                "cursor" => query.cursor = Some(value.clone()),
                "from" => query.from = Some(read_block(value)?),
                _ => {
                    return Err(format!(
                        "there is no filter `{name}`; the filters are since, until, subject, action (or kind), q, \
                         limit, cursor and, for verify, from"
                    ));
                }
            }
        }
        Ok(query)
    }
}

fn read_block(value: &str) -> Result<i64, String> {
    let number = value.parse().ok().filter(|number| *number >= 1);
    number.ok_or_else(|| "`from` is the number of a block, as `next` of the page before said".to_owned())
}

pub(super) async fn list(
    State(state): State<Arc<ApiState>>,
    operator: OperatorName,
    pairs: Pairs,
) -> Result<Json<Page<EntryBody>>, Problem> {
    let now_ms = state.clock.now_ms();
    let query = AuditQuery::read(pairs, now_ms)?;
    let cursor = query.cursor.as_deref().map(read_cursor).transpose();
    let cursor = cursor.map_err(|detail| bad_request("bad_filter", detail))?;
    // Without that it is written down nobody reads.
    let entry = reading(&operator, &query.filter, now_ms, "audit.read", "an operator read the audit trail");
    state.trail.record_reading(&entry, &query.filter).await.map_err(|error| ledger_away(&*error))?;
    let found = state.trail.list(&query.filter, cursor, query.limit).await;
    let page = found.map_err(|error| ledger_away(&*error))?;
    Ok(Json(Page {
        items: page.items.into_iter().map(Into::into).collect(),
        next: page.next.map(|id| id.to_string()),
        total: page.total,
    }))
}

/// What a piece of the trail looks like, as clients see it.
#[derive(Debug, Serialize)]
pub(super) struct VerifyBody {
    #[serde(flatten)]
    report: Report,
    /// The key that entries wait for, so that whoever seals can seal them too.
    awaited_key: Option<String>,
}

pub(super) async fn verify(
    State(state): State<Arc<ApiState>>,
    pairs: Pairs,
) -> Result<Json<VerifyBody>, Problem> {
    let query = AuditQuery::read(pairs, state.clock.now_ms())?;
    let report = state.trail.verify(query.from, VERIFY_BLOCKS).await.map_err(|error| ledger_away(&*error))?;
    if let Some(finding) = &report.findings.first {
        let findings = report.findings.count();
        tracing::error!(
            problem = ?finding.problem, block = finding.block, findings, "the audit trail is not whole"
        );
    }
    Ok(Json(VerifyBody { report, awaited_key: state.trail.awaited_key() }))
}

/// What somebody found out about a finding.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct AcknowledgeBody {
    reason: String,
    /// As for `verify`: the piece of the trail that the finding was told with.
    from: Option<i64>,
}

pub(super) async fn acknowledge(
    State(state): State<Arc<ApiState>>,
    operator: OperatorName,
    Path(fingerprint): Path<String>,
    body: Bytes,
) -> Result<Json<Value>, Problem> {
    let body: AcknowledgeBody = read_body(&body, r#"{"reason":"a disk was broken","from":1}"#)?;
    let reason: String = body.reason.trim().chars().filter(|c| !c.is_control()).collect();
    if reason.is_empty() || reason.chars().count() > ACKNOWLEDGE_REASON_CHARACTERS_MAX {
        let detail = format!(
            "`reason` says what was found out, in 1 to {ACKNOWLEDGE_REASON_CHARACTERS_MAX} characters"
        );
        return Err(bad_request("bad_reason", detail));
    }
    let piece = (body.from, VERIFY_BLOCKS);
    let done = state.trail.acknowledge(&fingerprint, piece, operator.actor(), &reason).await;
    let (finding, changed) = match done.map_err(|error| ledger_away(&*error))? {
        Acknowledging::Now(finding) => (finding, true),
        Acknowledging::Before(finding) => (finding, false),
        Acknowledging::Unknown => {
            let detail =
                "Nothing with this fingerprint is found there; `keepwell audit verify` says what is.";
            return Err(Problem::new(StatusCode::NOT_FOUND, "no_such_finding", detail));
        }
    };
    if changed {
        audit!(
            "audit.acknowledge", "an operator acknowledges what is wrong with the audit trail",
            problem = ?finding.problem, block = finding.block, position = finding.position
        );
    }
    Ok(Json(json!({ "finding": finding, "acknowledged": true, "changed": changed })))
}

pub(super) async fn export(
    State(state): State<Arc<ApiState>>,
    operator: OperatorName,
    pairs: Pairs,
) -> Result<Json<ExportPage>, Problem> {
    let now_ms = state.clock.now_ms();
    let query = AuditQuery::read(pairs, now_ms)?;
    // Only a piece before it gives a cursor, and there is an entry of that.
    if query.cursor.is_none() {
        let reason = "an operator exported the audit trail";
        let entry = reading(&operator, &query.filter, now_ms, "audit.exported", reason);
        state.trail.record(&entry).await.map_err(|error| ledger_away(&*error))?;
    }
    match state.trail.export(&query.filter, query.cursor.as_deref()).await {
        Ok(page) => Ok(Json(page)),
        Err(error @ ExportError::Cursor) => Err(bad_request("bad_filter", error)),
        Err(error @ ExportError::Database(_)) => Err(ledger_away(&error)),
    }
}

/// That somebody reads the trail.
fn reading(
    operator: &OperatorName,
    filter: &AuditFilter,
    at_ms: UnixMs,
    action: &'static str,
    reason: &str,
) -> AuditEntry {
    let mut asked = filter.asked();
    AuditEntry {
        at_ms,
        actor: operator.actor(),
        action,
        subject: asked.remove("subject"),
        reason: reason.to_owned(),
        before: None,
        after: Some(json!(asked)),
    }
}
