//! Jobs that have seen workers die: who goes first, who waits, and for how long.

use keepwell_workers::{
    clock::{Clock as _, ManualClock, SystemClock},
    database::Dialect,
    id::JobId,
    job::NewJob,
    lane::Lane,
};
use redis::{AsyncCommands as _, aio::MultiplexedConnection};

use super::{
    bench::{Bench, nothing_owed, placed, scripted},
    worker::Worker,
};
use crate::support::eventually;

/// Notes in the lanes that `job` has seen so many workers die.
async fn has_seen(redis: &mut MultiplexedConnection, job: JobId, deaths: u32) {
    let () = redis.hset("{keepwell:0}:crashes", &job.as_bytes()[..], deaths).await.unwrap();
}

#[tokio::test]
async fn a_suspect_that_has_waited_goes_before_a_backlog() {
    let bench = Bench::new(Dialect::Sqlite).await;
    let recorder = bench.engine_with(|options| options.runs_jobs = false);
    let hour_later_ms = SystemClock.now_ms() + 3_600_000;
    let later = || scripted("ok", Lane::Standard).run_at_ms(hour_later_ms);
    let others = recorder.enqueue_all((0..20).map(|_| later()).collect()).await.unwrap();
    let suspect = recorder.enqueue(later()).await.unwrap().id;
    let mut redis = bench.redis.connection().await;
    let key = "{keepwell:0}:later:standard";
    eventually("all of them wait for their time", async || {
        let waiting: usize = redis.zcard(key).await.ok()?;
        (waiting == 21).then_some(())
    })
    .await;
    has_seen(&mut redis, suspect, 2).await;

    let clock = ManualClock::at(hour_later_ms + 1);
    let engine = bench.engine_on_clock(clock, |options| (options.slots, options.crisis_slots) = (3, 2));
    nothing_owed(&engine).await;
    // Three are claimed at once, and which of them ends first is open.
    let first: Vec<String> = bench.effects().await.into_iter().take(3).collect();
    assert!(first.contains(&suspect.to_string()), "{first:?} of {} others and {suspect}", others.len());
    engine.shutdown().await;
    recorder.shutdown().await;
}

#[tokio::test]
async fn who_has_seen_one_worker_die_does_not_wait_behind_who_has_seen_two() {
    let bench = Bench::new(Dialect::Sqlite).await;
    let recorder = bench.engine_with(|options| options.runs_jobs = false);
    let suspects = (0..3).map(|_| scripted("ok", Lane::Background)).collect();
    let suspects = recorder.enqueue_all(suspects).await.unwrap();
    recorder.enqueue_all((0..8).map(|_| scripted("ok", Lane::Therapeutic)).collect()).await.unwrap();
    placed(&recorder, 11).await;
    let mut redis = bench.redis.connection().await;
    for (suspect, deaths) in suspects.iter().zip([2, 2, 1]) {
        has_seen(&mut redis, suspect.id, deaths).await;
    }
    let engine = bench.engine_with(|options| (options.slots, options.crisis_slots) = (1, 1));
    nothing_owed(&engine).await;
    assert_eq!(bench.effects().await[0], suspects[2].id.to_string());
    engine.shutdown().await;
    recorder.shutdown().await;
}

#[tokio::test]
async fn who_may_see_one_death_more_waits_for_a_lease_after_whoever_died() {
    let bench = Bench::new(Dialect::Sqlite).await;
    let recorder = bench.engine_with(|options| options.runs_jobs = false);
    let killing = ["pill", "innocent", "innocent"].map(|kind| NewJob::new(kind, Lane::Standard, "")).into();
    let killing = recorder.enqueue_all(killing).await.unwrap();
    let mut worker = Worker::start(&bench, "one");
    eventually("it is dead", async || worker.ended()).await;
    recorder.pause(Lane::Background, "until somebody is a suspect", false).await.unwrap();
    let [twice, once] = [(); 2].map(|()| scripted("ok", Lane::Background));
    let suspects = recorder.enqueue_all(vec![twice, once]).await.unwrap();
    let mut redis = bench.redis.connection().await;
    for (suspect, deaths) in suspects.iter().zip([2, 1]) {
        has_seen(&mut redis, suspect.id, deaths).await;
    }
    for job in killing {
        assert!(recorder.cancel(job.id).await.unwrap());
    }

    let engine = bench.engine_with(|options| (options.slots, options.crisis_slots) = (1, 1));
    let until_ms = eventually("its death is noticed", async || {
        let until: Option<i64> = redis.hget("{keepwell:0}:counters", "suspects_wait_until").await.ok()?;
        until
    })
    .await;
    recorder.resume(Lane::Background).await.unwrap();
    nothing_owed(&engine).await;
    let mut finished_ms = Vec::new();
    for suspect in &suspects {
        finished_ms.push(engine.ledger().show(suspect.id).await.unwrap().unwrap().0.finished_at_ms.unwrap());
    }
    assert!(finished_ms[0] >= until_ms && finished_ms[1] < until_ms, "{finished_ms:?} around {until_ms}");
    engine.shutdown().await;
    recorder.shutdown().await;
}

#[tokio::test]
async fn who_waits_because_others_die_waits_for_ten_minutes_at_most() {
    let bench = Bench::new(Dialect::Sqlite).await;
    let recorder = bench.engine_with(|options| options.runs_jobs = false);
    let suspect = recorder.enqueue(scripted("ok", Lane::Standard)).await.unwrap().id;
    placed(&recorder, 1).await;
    let now_ms = SystemClock.now_ms();
    let mut redis = bench.redis.connection().await;
    has_seen(&mut redis, suspect, 2).await;
    let dies_for_ever_ms = now_ms + 3_600_000;
    let () = redis.hset("{keepwell:0}:counters", "suspects_wait_until", dies_for_ever_ms).await.unwrap();

    let clock = ManualClock::at(now_ms);
    let engine = bench.engine_on_clock(clock.clone(), |_| {});
    let until_ms: i64 = eventually("it is set down for later", async || {
        redis.zscore("{keepwell:0}:later:standard", &suspect.as_bytes()[..]).await.ok()?
    })
    .await;
    assert_eq!(until_ms, now_ms + 600_000);
    clock.advance_ms(600_000);
    nothing_owed(&engine).await;
    engine.shutdown().await;
    recorder.shutdown().await;
}

#[tokio::test]
async fn suspects_that_have_to_run_alone_keep_no_slot_from_what_is_more_urgent() {
    let bench = Bench::new(Dialect::Sqlite).await;
    let recorder = bench.engine_with(|options| options.runs_jobs = false);
    let suspects = (0..4).map(|_| scripted("gate", Lane::Standard));
    let suspects = recorder.enqueue_all(suspects.collect()).await.unwrap();
    let urgent = (0..3).map(|_| scripted("ok", Lane::Therapeutic));
    let urgent = recorder.enqueue_all(urgent.collect()).await.unwrap();
    placed(&recorder, 7).await;
    let mut redis = bench.redis.connection().await;
    for suspect in &suspects {
        has_seen(&mut redis, suspect.id, 2).await;
    }

    let engine = bench.engine_with(|options| (options.slots, options.crisis_slots) = (3, 1));
    // Of three suspects in three slots, one would run and the others would wait for it.
    let mut done = eventually("what is more urgent is done", async || {
        Some(bench.effects().await).filter(|done| done.len() == urgent.len())
    })
    .await;
    let mut expected: Vec<String> = urgent.iter().map(|job| job.id.to_string()).collect();
    expected.sort();
    done.sort();
    assert_eq!(done, expected);
    for suspect in &suspects {
        let (_, attempts) = engine.ledger().show(suspect.id).await.unwrap().unwrap();
        assert!(attempts.is_empty(), "it ran before them, and for too long: {attempts:?}");
    }
    bench.script.gate.add_permits(suspects.len());
    nothing_owed(&engine).await;
    engine.shutdown().await;
    recorder.shutdown().await;
}
