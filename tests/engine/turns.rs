//! Jobs of one subject take turns, and a held-back job waits for its time.

use std::sync::atomic::Ordering;

use keepwell_workers::{
    clock::{Clock as _, SystemClock},
    database::Dialect,
    engine::Engine,
    id::JobId,
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

/// A job in the standard lane that a worker gave back, and one of the same turn in the background lane that is parked
/// and waits for the first one's end; with an engine that runs nothing.
async fn given_back_before_another(bench: &Bench) -> (Engine, JobId, JobId) {
    let recorder = bench.engine_with(|options| options.runs_jobs = false);
    let gives_back = bench.engine_with(|options| options.drain_timeout_ms = 0);
    let first = recorder.enqueue(scripted("gate", Lane::Standard).turn("cus_1")).await.unwrap().id;
    eventually("it runs", async || (bench.script.running.load(Ordering::SeqCst) == 1).then_some(())).await;
    let second = recorder.enqueue(scripted("ok", Lane::Background).turn("cus_1")).await.unwrap().id;
    let mut redis = bench.redis.connection().await;
    eventually("the second one is parked", async || {
        let parked: usize = redis.zcard("{keepwell:0}:parked").await.ok()?;
        (parked == 1).then_some(())
    })
    .await;
    gives_back.shutdown().await;
    eventually("the first one is back in its lane", async || {
        let waiting: usize = redis.llen("{keepwell:0}:lane:standard").await.ok()?;
        (waiting == 1).then_some(())
    })
    .await;
    (recorder, first, second)
}

/// Sees that an engine which runs jobs does `job`, and nothing else.
async fn is_all_that_is_done(bench: &Bench, recorder: Engine, job: JobId) {
    let engine = bench.engine();
    nothing_owed(&engine).await;
    assert_eq!(bench.effects().await, [job.to_string()]);
    engine.shutdown().await;
    recorder.shutdown().await;
}

#[tokio::test]
async fn who_waits_for_a_turn_goes_on_when_what_was_before_him_is_cancelled() {
    let bench = Bench::new(Dialect::Sqlite).await;
    let (recorder, first, second) = given_back_before_another(&bench).await;
    assert!(recorder.cancel(first).await.unwrap());
    assert_eq!(recorder.withdraw(&[Lane::Standard]).await.unwrap(), 1);
    is_all_that_is_done(&bench, recorder, second).await;
}

#[tokio::test]
async fn who_waits_for_a_turn_goes_on_when_what_was_before_him_is_quarantined() {
    let bench = Bench::new(Dialect::Sqlite).await;
    let (recorder, first, second) = given_back_before_another(&bench).await;
    // So often that it still is in there when it is claimed: it is buried at once, and taken out once for each time.
    let quarantined = vec![first.as_bytes().as_slice(); 2_000];
    let mut redis = bench.redis.connection().await;
    let () = redis.rpush("{keepwell:0}:quarantine", quarantined).await.unwrap();
    is_all_that_is_done(&bench, recorder, second).await;
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
