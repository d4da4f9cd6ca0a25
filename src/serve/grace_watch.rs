//! Every minute: which grace periods have ended, and which end soon?

use std::sync::Arc;

use keepwell_jobs::grace_watch::GraceWatch;
use keepwell_workers::{
    clock::SharedClock,
    database::{Database, turn::Urgency},
    engine::Engine,
};
use tokio_util::sync::CancellationToken;

use super::rounds::Rounds;

/// How often it is looked, in milliseconds: what ends is days long.
const LOOK_EVERY_MS: i64 = 60_000;

/// Has grace periods that end seen to, until `stop`.
pub(super) async fn watch_graces(
    engine: Engine,
    database: Database,
    clock: SharedClock,
    stop: CancellationToken,
) {
    let mut watch = GraceWatch::default();
    let mut rounds = Rounds::now_and_every(LOOK_EVERY_MS, Arc::clone(&clock));
    while rounds.next(&stop).await {
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
