//! Who works until everything else has ended.

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{alerts::AlertKeeper, trail::keeper::Keeper};

/// Has `keeper` keep the audit trail until what it gives is cancelled: what is done while everything else ends is in it
/// too, and sealed.
pub(super) fn keep_trail(
    keeper: Keeper,
    tasks: &mut JoinSet<()>,
    stop: &CancellationToken,
) -> (JoinSet<()>, CancellationToken) {
    let (mut last, end) = (JoinSet::new(), CancellationToken::new());
    if keeper.works {
        tasks.spawn(Keeper::rotate(keeper.trail.clone(), stop.clone()));
    }
    last.spawn(keeper.run(end.clone()));
    (last, end)
}

/// Has `alerts` look until what it gives is cancelled: as long as anybody is let in, what goes wrong with them is told,
/// and what was wrong at the very end.
pub(super) fn watch_over(alerts: Option<AlertKeeper>) -> (JoinSet<()>, CancellationToken) {
    let (mut watchmen, unwatched) = (JoinSet::new(), CancellationToken::new());
    if let Some(alerts) = alerts {
        watchmen.spawn(alerts.run(unwatched.clone()));
    }
    (watchmen, unwatched)
}
