//! A lane that an operator holds up is held up until somebody lets it go, whatever Redis forgets.

use keepwell_workers::{
    database::Dialect,
    engine::{Effective, Engine},
    lane::Lane,
};
use redis::AsyncCommands as _;

use super::bench::{Bench, nothing_owed, scripted};
use crate::support::{
    eventually,
    proxy::{Mode, Proxy},
    redis::{Memory, Redis},
};

/// Waits until the lanes have been compared with the ledger and hold so many `jobs`; answers with why the standard lane
/// is held up.
async fn compared(engine: &Engine, jobs: u64) -> Option<String> {
    eventually("the lanes have been compared", async || {
        let (mut lanes, nodes) = engine.lanes().stats().await.ok()?;
        let waiting: u64 = lanes.iter().map(|lane| lane.waiting).sum();
        let standard = lanes.swap_remove(Lane::Standard.index());
        (nodes.len() == 2 && waiting >= jobs && !engine.health().lanes_behind).then_some(standard.paused)
    })
    .await
}

#[tokio::test]
async fn a_paused_lane_is_paused_after_redis_forgot_everything() {
    for dialect in [Dialect::Sqlite, Dialect::Postgres] {
        let mut bench = Bench::new(dialect).await;
        let engine = bench.engine();
        compared(&engine, 0).await;
        let paused = engine.pause(Lane::Standard, "a bad release", false).await.unwrap();
        assert_eq!(paused, Effective::Now);
        let held = engine.enqueue(scripted("ok", Lane::Standard)).await.unwrap().id.to_string();
        let mut done = Vec::new();
        for round in 0..4 {
            if round % 2 == 0 {
                bench.redis.flush_all().await;
            } else {
                bench.redis.kill();
                bench.redis.start_again().await;
            }
            assert_eq!(compared(&engine, 1).await.as_deref(), Some("a bad release"));
            // Had the other one been claimed, it would be done by now.
            done.push(engine.enqueue(scripted("ok", Lane::Background)).await.unwrap().id.to_string());
            eventually("the other lane goes on", async || (bench.effects().await == done).then_some(()))
                .await;
        }
        engine.resume(Lane::Standard).await.unwrap();
        nothing_owed(&engine).await;
        assert_eq!(bench.effects().await.last(), Some(&held));
        bench.redis.flush_all().await;
        assert_eq!(compared(&engine, 0).await, None);
        engine.shutdown().await;
    }
}

#[tokio::test]
async fn nothing_of_a_paused_lane_is_claimed_by_the_next_life_on_an_empty_redis() {
    let bench = Bench::new(Dialect::Sqlite).await;
    let engine = bench.engine();
    for lane in [Lane::Crisis, Lane::Standard] {
        engine.pause(lane, "first", true).await.unwrap();
        engine.pause(lane, "a bad release", true).await.unwrap();
    }
    engine.shutdown().await;
    bench.redis.flush_all().await;

    let engine = bench.engine();
    let jobs = vec![scripted("ok", Lane::Crisis), scripted("ok", Lane::Standard)];
    engine.enqueue_all(jobs).await.unwrap();
    assert_eq!(compared(&engine, 2).await.as_deref(), Some("a bad release"));
    let free = engine.enqueue(scripted("ok", Lane::Background)).await.unwrap().id;
    eventually("the other lane goes on", async || {
        (bench.effects().await == [free.to_string()]).then_some(())
    })
    .await;
    for lane in [Lane::Crisis, Lane::Standard] {
        engine.resume(lane).await.unwrap();
    }
    nothing_owed(&engine).await;
    engine.shutdown().await;
}

#[tokio::test]
async fn a_lane_that_is_paused_while_redis_is_away_is_paused_when_it_is_back() {
    for is_emptied in [true, false] {
        let bench = Bench::new(Dialect::Sqlite).await;
        let proxy = Proxy::before(bench.redis.socket()).await;
        let engine = bench.engine_at(format!("redis://{}", proxy.address()), |_| {});
        compared(&engine, 0).await;
        proxy.set(Mode::Cut);
        let id = engine.enqueue(scripted("ok", Lane::Standard)).await.unwrap().id;
        let paused = engine.pause(Lane::Standard, "a bad release", false).await.unwrap();
        assert_eq!(paused, Effective::WhenRedisAnswers);
        if is_emptied {
            bench.redis.flush_all().await;
        } else {
            // As if it had waited there all the time: it would be in the first claim.
            let mut redis = bench.redis.connection().await;
            let element = id.as_bytes().as_slice();
            let () = redis.rpush("{keepwell:0}:lane:standard", element).await.unwrap();
        }
        proxy.set(Mode::Forward);
        assert_eq!(compared(&engine, 1).await.as_deref(), Some("a bad release"));
        assert_eq!(bench.effects().await.len(), 0);
        engine.resume(Lane::Standard).await.unwrap();
        nothing_owed(&engine).await;
        engine.shutdown().await;
    }
}

/// What the server at `redis` holds up, by the lanes' digits.
async fn held_up(redis: &Redis) -> Vec<String> {
    redis::cmd("HKEYS").arg("{keepwell:0}:paused").query_async(&mut redis.connection().await).await.unwrap()
}

#[tokio::test]
async fn a_lane_that_is_resumed_while_redis_is_away_goes_on_though_redis_remembers_the_pause() {
    for dialect in [Dialect::Sqlite, Dialect::Postgres] {
        let bench = Bench::new(dialect).await;
        let mut redis = Redis::start_with(Memory::Disk).await;
        let engine = bench.engine_at(redis.url(), |_| {});
        compared(&engine, 0).await;
        for lane in [Lane::Standard, Lane::Background] {
            assert_eq!(engine.pause(lane, "a bad release", false).await.unwrap(), Effective::Now);
        }
        engine.enqueue(scripted("ok", Lane::Standard)).await.unwrap();
        assert_eq!(compared(&engine, 1).await.as_deref(), Some("a bad release"));
        redis.tell("SET here 1").await;
        redis.end().await;
        let resumed = engine.resume(Lane::Standard).await.unwrap();
        assert_eq!(resumed, Effective::WhenRedisAnswers);
        redis.start_again().await;
        nothing_owed(&engine).await;
        redis.tell("RENAMENX here there").await; // Fails unless it remembers.
        assert_eq!(held_up(&redis).await, ["4"], "what nobody has resumed");

        // Nor does it matter who has resumed it, and whether they live.
        assert_eq!(engine.pause(Lane::Standard, "another one", false).await.unwrap(), Effective::Now);
        redis.end().await;
        let nowhere = format!("redis+unix://{}", bench.directory.path().join("nothing").display());
        let other = bench.engine_at(nowhere, |options| options.runs_jobs = false);
        assert_eq!(other.resume(Lane::Standard).await.unwrap(), Effective::WhenRedisAnswers);
        other.shutdown().await;
        redis.start_again().await;
        engine.enqueue(scripted("ok", Lane::Standard)).await.unwrap();
        nothing_owed(&engine).await;
        engine.shutdown().await;
    }
}
