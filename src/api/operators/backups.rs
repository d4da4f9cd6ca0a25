//! `/api/v1/backups`: that somebody took a copy of the database, for the audit trail. The copy is made beside the
//! daemon (`keepwell backup`, or PostgreSQL's tools), which only hears of it.

use std::sync::Arc;

use axum::{Json, body::Bytes, extract::State};
use http::StatusCode;
use keepwell_jobs::{
    care::report::safeguards::{BACKUP_CHECKED, BACKUP_TOLD},
    store::audit::ChainEnd,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    super::{operator_name::OperatorName, state::ApiState},
    ledger_away,
    noted::entry,
    operator_log::audit,
    plain_reason, read_body,
};
use crate::receiver::problem::Problem;

/// The copy was made and looked through by `keepwell backup`, which says so.
const CHECKED: (&str, &str) = (BACKUP_CHECKED, "an operator backed up the database with `keepwell backup`");

/// Somebody says that there is a copy.
const TOLD: (&str, &str) = (BACKUP_TOLD, "an operator copied the database");

/// What was copied, and where to.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct BackupBody {
    file: String,
    bytes: u64,
    /// What the copy's own trail ends with.
    audit_end: Option<ChainEnd>,
    /// The copy was read from its beginning to its end, and holds together.
    looked_through: bool,
}

pub(super) async fn note_taken(
    State(state): State<Arc<ApiState>>,
    operator: OperatorName,
    body: Bytes,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let body: BackupBody = read_body(&body, r#"{"file":"/backups/keepwell.db","bytes":1048576}"#)?;
    let file = plain_reason(&body.file);
    // The daemon cannot open the copy, which is its owner's alone. What it can see for itself is that the copy has a
    // block of its trail: whoever sends one has read it in this database or in a copy of it.
    let is_checked = match body.audit_end.as_ref().filter(|_| body.looked_through) {
        Some(end) => state.trail.has_end(end).await.map_err(|error| ledger_away(&*error))?,
        None => false,
    };
    let (action, reason) = if is_checked { CHECKED } else { TOLD };
    let end = body.audit_end.map(|end| json!({ "block": end.block, "hash": end.hash }));
    let taken = json!({ "file": file, "bytes": body.bytes, "audit_end": end });
    let entry = entry(&state, &operator, action, None, reason, taken);
    state.trail.record(&entry).await.map_err(|error| ledger_away(&*error))?;
    audit!("database.back_up", "an operator copied the database", file, bytes = body.bytes, is_checked);
    Ok((StatusCode::CREATED, Json(json!({ "noted": true, "checked": is_checked }))))
}
