//! `/api/v1/lanes/rebuild`: comparing the lanes with the ledger now. It goes on whether or not anybody waits for it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::{Json, extract::State};
use http::StatusCode;
use keepwell_workers::{
    clock::{SharedClock, UnixMs},
    engine::Engine,
    lanes::{LaneError, RebuildProgress, Rebuilt},
};
use serde::Serialize;
use serde_json::Value;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    super::{instant::rfc3339, operator_name::OperatorName, state::ApiState},
    noted::{entry, note},
    operator_log::audit,
};

/// How a comparison stands, or how the last one ended. All of it is `null` or zero before the first one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct RebuildBody {
    running: bool,
    started_at: Option<String>,
    finished_at: Option<String>,
    /// Owed jobs in all.
    owed: u64,
    /// Owed jobs that are known to be in a lane.
    compared: u64,
    /// Jobs that no lane held and that were put back.
    placed: u64,
    /// Why it failed.
    error: Option<&'static str>,
}

/// The one comparison that operators asked for.
#[derive(Debug, Default)]
pub(crate) struct Rebuild {
    last: Arc<Mutex<Option<Last>>>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

#[derive(Debug, Clone)]
struct Last {
    started_ms: UnixMs,
    ended: Option<(UnixMs, Result<Rebuilt, &'static str>)>,
}

impl Rebuild {
    /// Begins one, unless one is under way.
    fn begin(&self, engine: &Engine, clock: &SharedClock) {
        let mut last = lock(&self.last);
        if last.as_ref().is_some_and(|last| last.ended.is_none()) || self.stop.is_cancelled() {
            return;
        }
        let started_ms = clock.now_ms();
        *last = Some(Last { started_ms, ended: None });
        drop(last);
        let (engine, clock, stop) = (engine.clone(), Arc::clone(clock), self.stop.clone());
        let last = Arc::clone(&self.last);
        self.tasks.spawn(async move {
            let rebuilt = match stop.run_until_cancelled(engine.rebuild()).await {
                None => Err("The daemon was stopped; the next one compares the lanes by itself."),
                Some(Ok(rebuilt)) => Ok(rebuilt),
                Some(Err(error)) => {
                    tracing::warn!(error = %error, "the lanes cannot be rebuilt now");
                    Err(why(&error))
                }
            };
            *lock(&last) = Some(Last { started_ms, ended: Some((clock.now_ms(), rebuilt)) });
        });
    }

    /// Ends what is under way and waits for it.
    pub(crate) async fn stop(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// How it stands.
    fn body(&self, engine: &Engine) -> RebuildBody {
        let Some(last) = lock(&self.last).clone() else { return RebuildBody::default() };
        let started_at = Some(rfc3339(last.started_ms));
        match last.ended {
            None => RebuildBody { running: true, started_at, ..seen(engine) },
            Some((finished_ms, rebuilt)) => {
                let (rebuilt, error) = match rebuilt {
                    Ok(rebuilt) => (rebuilt, None),
                    Err(error) => (Rebuilt::default(), Some(error)),
                };
                RebuildBody {
                    running: false,
                    started_at,
                    finished_at: Some(rfc3339(finished_ms)),
                    owed: rebuilt.owed,
                    compared: rebuilt.owed,
                    placed: rebuilt.placed,
                    error,
                }
            }
        }
    }
}

/// How far it is.
fn seen(engine: &Engine) -> RebuildBody {
    // It may not have begun yet, or have ended a moment ago.
    let Some(progress) = engine.rebuild_progress() else { return RebuildBody::default() };
    let RebuildProgress { owed, compared, placed, .. } = progress;
    RebuildBody { owed, compared: compared.min(owed), placed, ..RebuildBody::default() }
}

fn why(error: &LaneError) -> &'static str {
    match error {
        LaneError::RebuildElsewhere => "Another process is comparing the lanes; look again in a moment.",
        LaneError::Ledger(_) => "The database does not answer.",
        _ => "Redis does not answer.",
    }
}

fn lock(last: &Mutex<Option<Last>>) -> MutexGuard<'_, Option<Last>> {
    // What it holds is replaced as a whole, so a panic elsewhere cannot have left it half done.
    last.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) async fn start(
    State(state): State<Arc<ApiState>>,
    operator: OperatorName,
) -> (StatusCode, Json<RebuildBody>) {
    audit!("lanes.rebuild", "an operator has the lanes compared with the ledger");
    state.rebuild.begin(&state.engine, &state.clock);
    note(&state, &entry(&state, &operator, "lanes.rebuild_asked", None, "", Value::Null)).await;
    (StatusCode::ACCEPTED, Json(state.rebuild.body(&state.engine)))
}

pub(super) async fn show(State(state): State<Arc<ApiState>>) -> Json<RebuildBody> {
    Json(state.rebuild.body(&state.engine))
}
