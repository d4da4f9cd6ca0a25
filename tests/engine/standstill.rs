//! What the watchdog judges by: whether the pools' loops turn.

use std::sync::{Arc, atomic::Ordering};

use keepwell_workers::{database::Dialect, lane::Lane};

use super::bench::{Bench, nothing_owed, scripted};
use crate::support::eventually;

#[tokio::test]
async fn a_pool_whose_threads_are_hogged_turns_no_more_and_the_crisis_pool_goes_on() {
    let bench = Bench::new(Dialect::Sqlite).await;
    let engine = bench.engine_with(|options| options.threads = 1);
    let turned = async |from: [u64; 2], pools: [bool; 2]| {
        eventually("the pools turn", async || {
            let now = engine.turns();
            (0..2).all(|pool| !pools[pool] || now[pool] >= from[pool] + 2).then_some(now)
        })
        .await
    };
    turned([0, 0], [true, true]).await;

    engine.enqueue(scripted("hog", Lane::Standard)).await.unwrap();
    eventually("the thread is hogged", async || {
        (bench.script.begun.load(Ordering::SeqCst) == 1).then_some(())
    })
    .await;
    let hogged = engine.turns();
    let later = turned(hogged, [true, false]).await;
    assert_eq!(later[1], hogged[1], "the general pool stands still");

    let script = Arc::clone(&bench.script);
    tokio::task::spawn_blocking(move || script.hog.wait()).await.unwrap();
    turned(later, [true, true]).await;
    nothing_owed(&engine).await;
    engine.shutdown().await;
}

#[tokio::test]
async fn the_threads_of_an_engine_that_runs_no_jobs_turn_too() {
    let bench = Bench::new(Dialect::Sqlite).await;
    let engine = bench.engine_with(|options| options.runs_jobs = false);
    eventually("both threads turn", async || engine.turns().iter().all(|turns| *turns > 1).then_some(()))
        .await;
    engine.shutdown().await;
}
