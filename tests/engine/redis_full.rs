//! Redis has reached its `maxmemory`: what is there is worked off, and what is new waits in the ledger.

use std::sync::atomic::Ordering;

use keepwell_workers::{database::Dialect, engine::Effective, lane::Lane};

use super::bench::{Bench, nothing_owed, scripted};
use crate::support::eventually;

#[tokio::test]
async fn a_full_redis_is_drained_even_by_a_node_that_has_just_come() {
    let bench = Bench::new(Dialect::Sqlite).await;
    let engine = bench.engine_with(|options| options.drain_timeout_ms = 100);
    let held = engine.enqueue_all((0..20).map(|_| scripted("gate", Lane::Standard)).collect()).await.unwrap();
    eventually("the slots are busy and the rest waits in its lane", async || {
        let (lanes, _) = engine.lanes().stats().await.ok()?;
        let standard = &lanes[Lane::Standard.index()];
        let (begun, placed) =
            (bench.script.begun.load(Ordering::SeqCst), standard.waiting + standard.running);
        (begun == 8 && placed == 20 && !engine.health().lanes_behind).then_some(())
    })
    .await;

    bench.redis.tell("CONFIG SET maxmemory 1").await;
    engine.shutdown().await;
    let engine = bench.engine();
    let new = engine.enqueue(scripted("ok", Lane::Standard)).await.unwrap().id;
    let crisis = engine.enqueue(scripted("ok", Lane::Crisis)).await.unwrap().id;
    eventually("the crisis job is done", async || (bench.effects().await.len() == 1).then_some(())).await;
    assert_eq!(bench.effects().await, [crisis.to_string()]);
    bench.script.gate.add_permits(1_000);
    eventually("what was in the lanes is done", async || (bench.effects().await.len() == 21).then_some(()))
        .await;
    let done = bench.effects().await;
    assert!(held.iter().all(|job| done.contains(&job.id.to_string())));
    eventually("the lanes are empty and known to miss something", async || {
        (engine.lanes().held().await.ok()? == 0 && engine.health().lanes_behind).then_some(())
    })
    .await;
    assert!(engine.health().lanes_ok);
    assert_eq!(engine.ledger().totals().await.unwrap().owed, 1);
    let paused = engine.pause(Lane::Background, "also a full one can be told to wait", false).await.unwrap();
    assert_eq!(paused, Effective::Now);

    bench.redis.tell("CONFIG SET maxmemory 0").await;
    nothing_owed(&engine).await;
    assert_eq!(bench.effects().await.last(), Some(&new.to_string()));
    eventually("nothing is missing any more", async || (!engine.health().lanes_behind).then_some(())).await;
    engine.shutdown().await;
}
