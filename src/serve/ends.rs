//! Waiting for tasks to end, and breaking off those that do not.

use std::time::Duration;

use tokio::{
    task::JoinSet,
    time::{Instant, timeout, timeout_at},
};

/// How long what was broken off may take to end.
pub(super) const BREAK_OFF_TIMEOUT: Duration = Duration::from_millis(500);

/// Waits until `tasks` have ended, and breaks off those that have not at `by`.
pub(super) async fn end(tasks: &mut JoinSet<()>, by: Instant) {
    if timeout_at(by, all_end(tasks)).await.is_ok() {
        return;
    }
    tracing::warn!(
        tasks = tasks.len(),
        "what did not end in time is broken off; whoever asked for it will come again"
    );
    tasks.abort_all();
    if timeout(BREAK_OFF_TIMEOUT, all_end(tasks)).await.is_err() {
        tracing::warn!(tasks = tasks.len(), "some of it cannot even be broken off");
    }
}

/// Waits until `tasks` have ended.
pub(super) async fn all_end(tasks: &mut JoinSet<()>) {
    while tasks.join_next().await.is_some() {}
}
