//! A pool that has nothing to do asks for nothing: whatever gives it work wakes it.

use keepwell_workers::{
    database::Dialect,
    engine::{Engine, EngineOptions},
    lane::Lane,
};
use redis::AsyncCommands as _;

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
