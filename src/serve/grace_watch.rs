//! Every minute: which grace periods have ended, and which end soon?

use std::time::Duration;

use keepwell_jobs::grace_watch::GraceWatch;
use keepwell_workers::{
    clock::SharedClock,
    database::{Database, turn::Urgency},
    engine::Engine,
};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// How often it is looked: what ends is days long.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// Has grace periods that end seen to, until `stop`.
pub(super) async fn watch_graces(
    engine: Engine,
    database: Database,
    clock: SharedClock,
    stop: CancellationToken,
) {
    let (mut watch, mut ticks) = (GraceWatch::default(), interval(LOOK_EVERY));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        // Whoever is interrupted here looks again with the next minute, or in the next life.
        let looked = tokio::select! {
            () = stop.cancelled() => return,
            looked = look(&mut watch, &engine, &database, clock.now_ms()) => looked,
        };
        if let Err(error) = looked {
            tracing::warn!(error = %error, "grace periods that end could not be seen to; the next minute tries again");
        }
    }
}

async fn look(
    watch: &mut GraceWatch,
    engine: &Engine,
    database: &Database,
    now_ms: i64,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let looked = {
        let mut reader = database.reader(Urgency::General).await?;
        watch.due(&mut reader, now_ms).await?
    };
    if !looked.jobs.is_empty() {
        engine.enqueue_all(looked.jobs.clone()).await?;
    }
    watch.looked(looked);
    Ok(())
}
