//! Jobs of one subject take turns, and a held-back job waits for its time.

use std::sync::atomic::Ordering;

use keepwell_workers::{
    clock::{Clock as _, SystemClock},
    database::Dialect,
    lane::Lane,
};
use redis::AsyncCommands as _;

use super::bench::{Bench, nothing_owed, scripted};
use crate::support::eventually;

#[tokio::test]
async fn jobs_of_one_turn_never_overlap_and_keep_their_order() {
    let bench = Bench::new(Dialect::Sqlite).await;
    let engine = bench.engine();
    let jobs = (0..20).map(|_| scripted("gate", Lane::Standard).turn("cus_1")).collect();
    let recorded = engine.enqueue_all(jobs).await.unwrap();
    bench.script.gate.add_permits(20);
    nothing_owed(&engine).await;

    assert_eq!(bench.script.overlap_max.load(Ordering::SeqCst), 1);
    let expected: Vec<String> = recorded.iter().map(|job| job.id.to_string()).collect();
    assert_eq!(bench.effects().await, expected);
    engine.shutdown().await;
}

#[tokio::test]
async fn what_was_given_back_goes_before_what_came_after_it() {
    let bench = Bench::new(Dialect::Sqlite).await;
    let recorder = bench.engine_with(|options| options.runs_jobs = false);
    let given_back = bench.engine_with(|options| options.drain_timeout_ms = 0);
    let of_one = |script, lane| scripted(script, lane).turn("cus_1");
    let first = recorder.enqueue(of_one("gate", Lane::Standard)).await.unwrap().id;
    eventually("it runs", async || (bench.script.running.load(Ordering::SeqCst) == 1).then_some(())).await;
    let second = recorder.enqueue(of_one("ok", Lane::Standard)).await.unwrap().id;
    let mut redis = bench.redis.connection().await;
    eventually("the second one is parked", async || {
        let parked: usize = redis.zcard("{keepwell:0}:parked").await.ok()?;
        (parked == 1).then_some(())
    })
    .await;
    given_back.shutdown().await;
    // It is claimed first and has the turn, so the first one is parked as well.
    let urgent = recorder.enqueue(of_one("ok", Lane::Therapeutic)).await.unwrap().id;
    eventually("all are in their lanes", async || {
        let (lanes, _) = recorder.lanes().stats().await.ok()?;
        (lanes.iter().map(|lane| lane.waiting).sum::<u64>() == 3).then_some(())
    })
    .await;
    bench.script.gate.add_permits(1);
    let engine = bench.engine();
    nothing_owed(&engine).await;
    assert_eq!(bench.effects().await, [urgent, first, second].map(|id| id.to_string()));
    engine.shutdown().await;
    recorder.shutdown().await;
}

#[tokio::test]
async fn jobs_of_different_turns_run_side_by_side() {
    let bench = Bench::new(Dialect::Sqlite).await;
    let engine = bench.engine();
    let jobs = (0..4).map(|n| scripted("gate", Lane::Standard).turn(format!("cus_{n}"))).collect();
    engine.enqueue_all(jobs).await.unwrap();
    eventually("all four have begun", async || {
        (bench.script.begun.load(Ordering::SeqCst) == 4).then_some(())
    })
    .await;
    bench.script.gate.add_permits(4);
    nothing_owed(&engine).await;
    engine.shutdown().await;
}

#[tokio::test]
async fn a_job_is_not_run_before_its_time() {
    let bench = Bench::new(Dialect::Sqlite).await;
    let engine = bench.engine();
    let run_at_ms = SystemClock.now_ms() + 300;
    let held_back = engine.enqueue(scripted("ok", Lane::Standard).run_at_ms(run_at_ms)).await.unwrap().id;
    let at_once = engine.enqueue(scripted("ok", Lane::Standard)).await.unwrap().id;
    nothing_owed(&engine).await;

    assert!(SystemClock.now_ms() >= run_at_ms);
    assert_eq!(bench.effects().await, [at_once.to_string(), held_back.to_string()]);
    engine.shutdown().await;
}
