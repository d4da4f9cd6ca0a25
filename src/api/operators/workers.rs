//! `/api/v1/workers`: the processes that share the lanes.

use std::sync::Arc;

use axum::{Json, extract::State};
use keepwell_workers::lanes::NodeStats;
use serde::Serialize;

use super::{
    super::{instant::rfc3339, state::ApiState},
    lanes::within,
    view::Page,
};
use crate::receiver::problem::Problem;

/// One life of one process, or of its crisis pool, which is a node of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct WorkerBody {
    id: String,
    instance: Option<String>,
    host: Option<String>,
    pid: Option<u32>,
    started_at: Option<String>,
    running: u64,
}

impl From<NodeStats> for WorkerBody {
    fn from(stats: NodeStats) -> Self {
        let started_at = stats.info.as_ref().map(|info| rfc3339(info.started_ms));
        let pid = stats.info.as_ref().map(|info| info.pid);
        let (instance, host) = stats.info.map(|info| (info.instance, info.host)).unzip();
        Self { id: stats.node.to_string(), instance, host, pid, started_at, running: stats.running }
    }
}

pub(super) async fn list(State(state): State<Arc<ApiState>>) -> Result<Json<Page<WorkerBody>>, Problem> {
    let (_, nodes) = within(state.engine.lanes().stats()).await?;
    let items: Vec<WorkerBody> = nodes.into_iter().map(WorkerBody::from).collect();
    let total = items.len() as u64;
    Ok(Json(Page { items, next: None, total }))
}
