//! `/api/v1/keys`: which keys have sealed what, and sealing everything with the first one.

use std::{collections::BTreeMap, sync::Arc};

use axum::{Json, extract::State};
use keepwell_jobs::store::rotation::Progress;
use serde::Serialize;

use super::{
    super::{instant::rfc3339, operator_name::OperatorName, state::ApiState},
    ledger_away,
};
use crate::{receiver::problem::Problem, trail::KeysView};

/// The keys, and the last rotation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct KeysBody {
    keys: Vec<KeyBody>,
    rotation: Option<RotationBody>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct KeyBody {
    id: String,
    /// `seals`, `opens`, or `missing` from the ring although something is sealed with it.
    role: &'static str,
    /// Rows sealed with it, by table.
    sealed: BTreeMap<&'static str, u64>,
    sealed_total: u64,
    /// Whether anything would be lost without it.
    needed: bool,
}

/// How far a rotation has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct RotationBody {
    key: String,
    running: bool,
    started_at: String,
    finished_at: Option<String>,
    table: Option<&'static str>,
    looked_at: i64,
    resealed: i64,
    unreadable: i64,
}

impl From<Progress> for RotationBody {
    fn from(progress: Progress) -> Self {
        let running = progress.finished_at_ms.is_none();
        Self {
            table: if running { progress.table() } else { None },
            key: progress.key_id,
            running,
            started_at: rfc3339(progress.started_at_ms),
            finished_at: progress.finished_at_ms.map(rfc3339),
            looked_at: progress.looked_at,
            resealed: progress.resealed,
            unreadable: progress.unreadable,
        }
    }
}

impl From<KeysView> for KeysBody {
    fn from(view: KeysView) -> Self {
        let mut keys: Vec<KeyBody> = Vec::new();
        for (index, id) in view.ring.iter().enumerate() {
            keys.push(KeyBody::new(id, if index == 0 { "seals" } else { "opens" }));
        }
        for used in view.used {
            let place = keys.iter().position(|key| key.id == used.key_id).unwrap_or_else(|| {
                keys.push(KeyBody::new(&used.key_id, "missing"));
                keys.len() - 1
            });
            let key = &mut keys[place];
            key.sealed.insert(used.table, used.rows);
            key.sealed_total += used.rows;
            key.needed = true;
        }
        Self { keys, rotation: view.rotation.map(Into::into) }
    }
}

impl KeyBody {
    fn new(id: &str, role: &'static str) -> Self {
        let needed = role == "seals";
        Self { id: id.to_owned(), role, sealed: BTreeMap::new(), sealed_total: 0, needed }
    }
}

pub(super) async fn list(State(state): State<Arc<ApiState>>) -> Result<Json<KeysBody>, Problem> {
    let keys = state.trail.keys().await.map_err(|error| ledger_away(&*error))?;
    Ok(Json(keys.into()))
}

pub(super) async fn rotation(
    State(state): State<Arc<ApiState>>,
) -> Result<Json<Option<RotationBody>>, Problem> {
    let progress = state.trail.rotation_progress().await.map_err(|error| ledger_away(&*error))?;
    Ok(Json(progress.map(Into::into)))
}

pub(super) async fn rotate(
    State(state): State<Arc<ApiState>>,
    operator: OperatorName,
) -> Result<Json<RotationBody>, Problem> {
    let progress = state.trail.rotate_keys(&operator.0).await.map_err(|error| ledger_away(&*error))?;
    tracing::info!(key = progress.key_id, "an operator has everything sealed with the first key");
    Ok(Json(progress.into()))
}
