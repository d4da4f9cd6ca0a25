//! Crisis first, whatever else is there.

use std::sync::atomic::Ordering;

use keepwell_workers::{database::Dialect, lane::Lane};

use super::bench::{Bench, nothing_owed, scripted};
use crate::support::eventually;

#[tokio::test]
async fn a_crisis_job_runs_while_every_general_slot_is_busy() {
    for dialect in [Dialect::Sqlite, Dialect::Postgres] {
        let bench = Bench::new(dialect).await;
        let engine = bench.engine();
        engine.enqueue_all((0..100).map(|_| scripted("gate", Lane::Standard)).collect()).await.unwrap();
        eventually("every general slot is busy", async || {
            (bench.script.begun.load(Ordering::SeqCst) == 8).then_some(())
        })
        .await;

        let crisis = engine.enqueue(scripted("ok", Lane::Crisis)).await.unwrap().id;
        eventually("the crisis job is done", async || (bench.effects().await.len() == 1).then_some(())).await;
        assert_eq!(bench.effects().await, [crisis.to_string()]);

        bench.script.gate.add_permits(100);
        nothing_owed(&engine).await;
        engine.shutdown().await;
    }
}

#[tokio::test]
async fn a_paused_lane_holds_its_jobs_and_the_crisis_lane_is_not_paused_by_accident() {
    let bench = Bench::new(Dialect::Sqlite).await;
    let engine = bench.engine();
    // The comparison with the ledger that follows each pool's entry may place what is recorded meanwhile a second time.
    eventually("both pools have entered and the last comparison has begun", async || {
        let (_, nodes) = engine.lanes().stats().await.ok()?;
        (nodes.len() == 2 && !engine.health().lanes_behind).then_some(())
    })
    .await;
    engine.pause(Lane::Standard, "a test", false).await.unwrap();
    assert!(engine.pause(Lane::Crisis, "a test", false).await.is_err());

    let held = engine.enqueue(scripted("ok", Lane::Standard)).await.unwrap().id;
    let free = engine.enqueue(scripted("ok", Lane::Realtime)).await.unwrap().id;
    eventually("the other lane goes on", async || {
        (bench.effects().await == [free.to_string()]).then_some(())
    })
    .await;
    let (lanes, nodes) = engine.lanes().stats().await.unwrap();
    let standard = &lanes[Lane::Standard.index()];
    assert_eq!((standard.waiting, standard.paused.as_deref()), (1, Some("a test")));
    assert_eq!(nodes.len(), 2);

    engine.resume(Lane::Standard).await.unwrap();
    nothing_owed(&engine).await;
    assert_eq!(bench.effects().await, [free.to_string(), held.to_string()]);
    engine.shutdown().await;
}
