//! Every minute: which grace periods have ended, and which end soon? However many they are, they are handed over a page
//! at a time, and the next page only when the lane has nearly done the one before: who waits there because of something
//! else waits for a page of them at most, and nobody for fifty thousand.

use std::{sync::Arc, time::Duration};

use keepwell_jobs::grace_watch::{GRACE_LANE, GraceWatch};
use keepwell_workers::{
    clock::SharedClock,
    database::{Database, turn::Urgency},
    engine::Engine,
};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::rounds::Rounds;
use crate::telemetry::{Looked, Metrics, Monitor};

/// How often it is looked, in milliseconds: what ends is days long.
const LOOK_EVERY_MS: i64 = 60_000;

/// Jobs that may wait in the lane when a page is added.
const WAITING_MAX: u64 = 32;

/// How often it is looked whether there is room.
const ROOM_EVERY: Duration = Duration::from_millis(20);

/// A page is added after this long even where there is no room: whatever floods the lane must not keep periods from
/// being seen to for ever.
const ROOM_WITHIN: Duration = Duration::from_secs(5);

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Has grace periods that end seen to, until `stop`, and counts in `metrics` whether that could be done: it is a
/// monitor like those of crises, and one that cannot look is told of.
pub(crate) async fn watch_graces(
    engine: Engine,
    database: Database,
    clock: SharedClock,
    metrics: Option<Arc<Metrics>>,
    stop: CancellationToken,
) {
    let monitors = metrics.as_ref().map(|metrics| metrics.monitors());
    if let Some(monitors) = monitors {
        monitors.starts(Monitor::Graces, LOOK_EVERY_MS);
    }
    let goes_on = || {
        if let Some(monitors) = monitors {
            monitors.goes_on(Monitor::Graces);
        }
    };
    let mut watch = GraceWatch::default();
    let mut rounds = Rounds::now_and_every(LOOK_EVERY_MS, Arc::clone(&clock));
    while rounds.next(&stop).await {
        // Whoever is interrupted here looks again with the next minute, or in the next life.
        let looked = tokio::select! {
            () = stop.cancelled() => return,
            looked = see_to_all(&mut watch, &engine, &database, &clock, goes_on) => looked,
        };
        if let Some(monitors) = monitors {
            monitors.ran(Monitor::Graces, if looked.is_ok() { Looked::Well } else { Looked::Failed });
        }
        if let Err(error) = looked {
            tracing::warn!(error = %error, "grace periods that end could not be seen to; the next minute tries again");
        }
    }
}

/// Sees to everything that is due, a page at a time, and says with every page that it `goes_on`.
async fn see_to_all(
    watch: &mut GraceWatch,
    engine: &Engine,
    database: &Database,
    clock: &SharedClock,
    goes_on: impl Fn() + Send,
) -> Result<(), Failure> {
    watch.begin_again();
    loop {
        goes_on();
        let looked = {
            let mut reader = database.reader(Urgency::General).await?;
            watch.due(&mut reader, clock.now_ms()).await?
        };
        if looked.jobs.is_empty() {
            return Ok(());
        }
        room(engine).await?;
        engine.enqueue_all(looked.jobs.clone()).await?;
        let is_full = looked.is_full();
        watch.looked(looked);
        if !is_full {
            return Ok(());
        }
    }
}

/// Returns once the lane has room for a page, or has had none for long enough.
async fn room(engine: &Engine) -> Result<(), Failure> {
    let started = Instant::now();
    while started.elapsed() < ROOM_WITHIN {
        let (lanes, _) = engine.lanes().stats().await?;
        if lanes.iter().all(|lane| lane.lane != GRACE_LANE || lane.waiting <= WAITING_MAX) {
            return Ok(());
        }
        sleep(ROOM_EVERY).await;
    }
    Ok(())
}
