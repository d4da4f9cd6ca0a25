//! `/api/v1/backups`: that somebody took a copy of the database, for the audit trail. The copy is made beside the
//! daemon (`keepwell backup`), which only hears of it.

use std::sync::Arc;

use axum::{Json, body::Bytes, extract::State};
use http::StatusCode;
use keepwell_jobs::store::audit::ChainEnd;
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

/// What was copied, and where to.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct BackupBody {
    file: String,
    bytes: u64,
    audit_end: Option<ChainEnd>,
}

pub(super) async fn note_taken(
    State(state): State<Arc<ApiState>>,
    operator: OperatorName,
    body: Bytes,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let body: BackupBody = read_body(&body, r#"{"file":"/backups/keepwell.db","bytes":1048576}"#)?;
    let file = plain_reason(&body.file);
    let end = body.audit_end.map(|end| json!({ "block": end.block, "hash": end.hash }));
    let taken = json!({ "file": file, "bytes": body.bytes, "audit_end": end });
    let entry =
        entry(&state, &operator, "database.backed_up", None, "an operator copied the database", taken);
    state.trail.record(&entry).await.map_err(|error| ledger_away(&*error))?;
    audit!("database.back_up", "an operator copied the database", file, bytes = body.bytes);
    Ok((StatusCode::CREATED, Json(json!({ "noted": true }))))
}
