//! A pool that has nothing to do asks for nothing: whatever gives it work wakes it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use keepwell_workers::{
    clock::{Clock as _, SystemClock},
    database::{Dialect, Transaction},
    engine::{Engine, EngineOptions},
    handler::{Handler, Prepared},
    id::JobId,
    job::{Job, NewJob},
    lane::Lane,
    outcome::Outcome,
};
use redis::AsyncCommands as _;
use tokio::sync::Semaphore;

use super::bench::{Bench, nothing_owed, scripted};
use crate::support::{eventually, redis::Redis};

const LEASE_MS: u64 = 800;

/// Looks by itself so seldom that nothing which a test waits for can have been found that way.
fn looks_seldom(options: &mut EngineOptions) {
    (options.lanes.lease_ms, options.lanes.idle_look_ms) = (LEASE_MS, 3_600_000);
}

/// How often pools have asked for work: each of those scripts begins with two of these, and no other one has any.
async fn looks(redis: &Redis) -> u64 {
    let mut asked = redis::cmd("INFO");
    let stats: String = asked.arg("commandstats").query_async(&mut redis.connection().await).await.unwrap();
    let calls = stats.lines().find_map(|line| line.strip_prefix("cmdstat_exists:calls=")?.split(',').next());
    calls.map_or(0, |calls| calls.parse::<u64>().unwrap() / 2)
}

/// When the lease of each node ends, by the clock of Redis.
async fn lease_ends(redis: &Redis) -> Vec<(String, u64)> {
    redis.connection().await.zrange_withscores("{keepwell:0}:nodes", 0, -1).await.unwrap()
}

/// Waits until three leases have passed in which neither pool of the one engine there has asked for anything.
async fn all_is_quiet(redis: &Redis) {
    eventually("both pools rest", async || {
        let begin = lease_ends(redis).await;
        let before = looks(redis).await;
        if begin.len() != 2 || before == 0 {
            return None;
        }
        eventually("three leases have passed", async || {
            let ends = lease_ends(redis).await;
            let is_later = |(node, end): &(String, u64)| {
                ends.iter().any(|(same, now)| same == node && *now > end + 3 * LEASE_MS)
            };
            // Whoever has entered anew has asked for work.
            (begin.iter().all(is_later) || looks(redis).await > before).then_some(())
        })
        .await;
        (looks(redis).await == before).then_some(())
    })
    .await;
}

/// Sees that `engine`, which rests, does a job of each lane, whether `recorder` or itself has recorded it.
async fn is_woken_for_every_lane(bench: &Bench, recorder: &Engine, engine: &Engine) {
    let before = bench.effects().await.len();
    for by in [recorder, engine] {
        for lane in Lane::ALL {
            by.enqueue(scripted("ok", lane)).await.unwrap();
            nothing_owed(engine).await;
        }
    }
    assert_eq!(bench.effects().await.len(), before + 2 * Lane::ALL.len());
}

#[tokio::test]
async fn a_pool_with_nothing_to_do_asks_for_nothing_until_a_job_wakes_it() {
    let bench = Bench::new(Dialect::Sqlite).await;
    let recorder = bench.engine_with(|options| options.runs_jobs = false);
    let engine = bench.engine_with(looks_seldom);
    all_is_quiet(&bench.redis).await;
    is_woken_for_every_lane(&bench, &recorder, &engine).await;
    // What is to be tried again a little later has a time, and whoever set it down knows it.
    engine.enqueue(scripted("fail once", Lane::Standard)).await.unwrap();
    nothing_owed(&engine).await;
    all_is_quiet(&bench.redis).await;
    engine.shutdown().await;
    recorder.shutdown().await;
}

#[tokio::test]
async fn a_pool_with_nothing_to_do_is_woken_after_redis_was_restarted_too() {
    let mut bench = Bench::new(Dialect::Sqlite).await;
    let recorder = bench.engine_with(|options| options.runs_jobs = false);
    let engine = bench.engine_with(looks_seldom);
    for _ in 0..2 {
        all_is_quiet(&bench.redis).await;
        bench.redis.kill();
        bench.redis.start_again().await;
        all_is_quiet(&bench.redis).await;
        eventually("nobody thinks that anything is missing", async || {
            let is_well = |engine: &Engine| engine.health().lanes_ok && !engine.health().lanes_behind;
            (is_well(&recorder) && is_well(&engine)).then_some(())
        })
        .await;
        is_woken_for_every_lane(&bench, &recorder, &engine).await;
    }
    engine.shutdown().await;
    recorder.shutdown().await;
}

#[tokio::test]
async fn a_job_whose_wake_up_was_lost_is_found_all_the_same() {
    let bench = Bench::new(Dialect::Sqlite).await;
    let elsewhere = Redis::start().await;
    let recorder = bench.engine_at(elsewhere.url(), |options| options.runs_jobs = false);
    let engine = bench.engine();
    let mut redis = bench.redis.connection().await;
    eventually("the engine has nothing to do, and nothing to look for", async || {
        let idle: bool = redis.sismember("{keepwell:0}:idle", engine.node().to_string()).await.ok()?;
        (idle && !engine.health().lanes_behind).then_some(())
    })
    .await;
    let id = recorder.enqueue(scripted("ok", Lane::Standard)).await.unwrap().id;
    let () = redis.rpush("{keepwell:0}:lane:standard", id.as_bytes().as_slice()).await.unwrap();
    nothing_owed(&engine).await;
    assert_eq!(bench.effects().await, [id.to_string()]);
    engine.shutdown().await;
    recorder.shutdown().await;
}

/// Not yet over when a test goes on, and soon enough to wait for.
const SOON_MS: i64 = 400;

/// Waits until each of `engines` rests, and nobody thinks that anything is missing.
async fn rest(bench: &Bench, engines: &[&Engine]) {
    let mut redis = bench.redis.connection().await;
    for engine in engines {
        eventually("it has nothing to do, and nothing to look for", async || {
            let idle: bool = redis.sismember("{keepwell:0}:idle", engine.node().to_string()).await.ok()?;
            (idle && engine.health().lanes_ok && !engine.health().lanes_behind).then_some(())
        })
        .await;
    }
}

/// Whether no run of the job has failed yet.
async fn is_first_run(engine: &Engine, job: JobId) -> bool {
    engine.ledger().show(job).await.unwrap().unwrap().0.attempts == 0
}

#[tokio::test]
async fn what_another_process_records_for_later_is_taken_when_its_time_comes() {
    let bench = Bench::new(Dialect::Sqlite).await;
    let recorder = bench.engine_with(|options| options.runs_jobs = false);
    let engine = bench.engine_with(|options| {
        looks_seldom(options);
        options.slots = 1;
    });
    rest(&bench, &[&engine]).await;
    let soon = |lane| scripted("ok", lane).run_at_ms(SystemClock.now_ms() + SOON_MS);
    for lane in Lane::ALL {
        recorder.enqueue(soon(lane)).await.unwrap();
        nothing_owed(&engine).await;
    }
    // A crisis has its own slots, also if nobody else is free to hear of it.
    let gate = recorder.enqueue(scripted("gate", Lane::Standard)).await.unwrap().id;
    eventually("the only slot is taken", async || {
        (bench.script.running.load(Ordering::SeqCst) == 1).then_some(())
    })
    .await;
    let crisis = recorder.enqueue(soon(Lane::Crisis)).await.unwrap().id.to_string();
    eventually("it is done", async || bench.effects().await.contains(&crisis).then_some(())).await;
    assert!(is_first_run(&engine, gate).await, "the slot came free, because the run took too long");
    bench.script.gate.add_permits(1);
    nothing_owed(&engine).await;
    engine.shutdown().await;
    recorder.shutdown().await;
}

/// Finds at the gate that it is too early, the first time.
struct TooEarly {
    runs: AtomicU32,
    gate: Semaphore,
}

#[async_trait]
impl Handler for TooEarly {
    fn kind(&self) -> &'static str {
        "too early"
    }

    async fn prepare(&self, _: &Job) -> Result<Prepared, Outcome> {
        if self.runs.fetch_add(1, Ordering::SeqCst) > 0 {
            return Ok(Box::new(()));
        }
        self.gate.acquire().await.unwrap().forget();
        Err(Outcome::Snooze { after: Duration::from_millis(SOON_MS.unsigned_abs()) })
    }

    async fn apply(&self, _: &Job, _: &Prepared, _: &mut Transaction) -> Result<Outcome, sqlx::Error> {
        Ok(Outcome::Done)
    }
}

#[tokio::test]
async fn what_a_busy_pool_sets_down_for_later_another_takes_when_its_time_comes() {
    let bench = Bench::new(Dialect::Sqlite).await;
    let elsewhere = Redis::start().await;
    let recorder = bench.engine_at(elsewhere.url(), |options| options.runs_jobs = false);
    let too_early = Arc::new(TooEarly { runs: AtomicU32::new(0), gate: Semaphore::new(0) });
    let handler = || [Arc::clone(&too_early) as Arc<dyn Handler>];
    let runs = || too_early.runs.load(Ordering::SeqCst);
    let busy = bench.engine_of(handler(), |options| {
        looks_seldom(options);
        (options.slots, options.crisis_slots, options.instance) = (1, 1, "busy".to_owned());
    });
    busy.enqueue(NewJob::new("too early", Lane::Standard, "")).await.unwrap();
    eventually("it runs", async || (runs() == 1).then_some(())).await;
    let idle = bench.engine_of(handler(), looks_seldom);
    rest(&bench, &[&idle]).await;
    // What nobody is told of: whoever frees a slot finds it, and has no slot left then.
    let next = recorder.enqueue(scripted("gate", Lane::Standard)).await.unwrap().id;
    let mut redis = bench.redis.connection().await;
    let () = redis.rpush("{keepwell:0}:lane:standard", next.as_bytes().as_slice()).await.unwrap();
    too_early.gate.add_permits(1);
    eventually("the slot is taken again", async || {
        (bench.script.running.load(Ordering::SeqCst) == 1).then_some(())
    })
    .await;
    eventually("the other one runs it", async || (runs() == 2).then_some(())).await;
    assert!(is_first_run(&idle, next).await, "the slot came free, because the run took too long");
    bench.script.gate.add_permits(1);
    nothing_owed(&idle).await;
    for engine in [busy, idle, recorder] {
        engine.shutdown().await;
    }
}

#[tokio::test]
async fn one_round_trip_claims_for_every_slot_that_is_free() {
    const SLOTS: usize = 64;
    let bench = Bench::new(Dialect::Sqlite).await;
    let engine = bench.engine_with(|options| {
        looks_seldom(options);
        options.slots = SLOTS;
    });
    rest(&bench, &[&engine]).await;
    engine.pause(Lane::Standard, "until all of them are there", false).await.unwrap();
    engine.enqueue_all((0..SLOTS).map(|_| scripted("gate", Lane::Standard)).collect()).await.unwrap();
    eventually("they are there", async || {
        let (lanes, _) = engine.lanes().stats().await.ok()?;
        (lanes[Lane::Standard.index()].waiting == SLOTS as u64).then_some(())
    })
    .await;
    let before = looks(&bench.redis).await;
    engine.resume(Lane::Standard).await.unwrap();
    eventually("all of them run", async || {
        (bench.script.running.load(Ordering::SeqCst) == SLOTS as u32).then_some(())
    })
    .await;
    // Whoever is woken looks once, and some are woken twice.
    let asked = looks(&bench.redis).await - before;
    assert!(asked <= 8, "{asked} for {SLOTS} jobs");
    bench.script.gate.add_permits(SLOTS);
    nothing_owed(&engine).await;
    engine.shutdown().await;
}
