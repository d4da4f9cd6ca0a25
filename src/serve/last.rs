//! Who works until everything else has ended.

use std::time::Duration;

use tokio::{task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;

use super::ends::all_end;
use crate::{
    alerts::AlertKeeper,
    trail::{configuration::Started, keeper::Keeper},
};

/// Tasks that are told when nobody else works any more.
#[derive(Debug, Default)]
pub(super) struct Last {
    tasks: JoinSet<()>,
    end: CancellationToken,
}

impl Last {
    /// Tells them, and waits for their last work; whether it was done within `limit`. Else it is broken off.
    pub(super) async fn end_within(&mut self, limit: Duration) -> bool {
        self.end.cancel();
        let is_done = timeout(limit, all_end(&mut self.tasks)).await.is_ok();
        self.tasks.abort_all();
        is_done
    }
}

/// Has `keeper` keep the audit trail: what is done while everything else ends is in it too, and sealed. What is new of
/// the settings that this process was `started` with is noted in it.
pub(super) fn keep_trail(
    keeper: Keeper,
    started: Started,
    tasks: &mut JoinSet<()>,
    stop: &CancellationToken,
) -> Last {
    let mut last = Last::default();
    tasks.spawn(started.note(keeper.trail.clone(), stop.clone()));
    if keeper.works {
        tasks.spawn(Keeper::rotate(keeper.trail.clone(), stop.clone()));
    }
    last.tasks.spawn(keeper.run(last.end.clone()));
    last
}

/// Has `alerts` look: as long as anybody is let in, what goes wrong with them is told, and what was wrong at the very
/// end.
pub(super) fn watch_over(alerts: Option<AlertKeeper>) -> Last {
    let mut last = Last::default();
    if let Some(alerts) = alerts {
        last.tasks.spawn(alerts.run(last.end.clone()));
    }
    last
}
