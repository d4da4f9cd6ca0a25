//! A large ledger goes back into an empty Redis: crises first, and for everybody to see.

use std::{collections::HashSet, time::Duration};

use futures_util::StreamExt as _;
use keepwell_workers::{database::Dialect, engine::Engine, lane::Lane, lanes::RebuildProgress};
use redis::AsyncCommands as _;
use sqlx::{Connection as _, SqliteConnection};

use super::bench::{Bench, placed, scripted};
use crate::support::{
    eventually,
    proxy::{Mode, Proxy},
};

/// Jobs for the general pool.
const MANY: usize = 3_000;

#[tokio::test]
async fn a_rebuild_of_a_large_ledger_puts_crises_first_and_says_how_far_it_is() {
    let bench = Bench::new(Dialect::Sqlite).await;
    let proxy = Proxy::before(bench.redis.socket()).await;
    proxy.set(Mode::Refuse);
    let url = format!("redis://{}", proxy.address());
    let engine = bench.engine_at(url, |options| options.runs_jobs = false);
    for lane in [Lane::Therapeutic, Lane::Standard] {
        engine.enqueue_all((0..MANY / 2).map(|_| scripted("ok", lane)).collect()).await.unwrap();
    }
    engine.enqueue_all((0..5).map(|_| scripted("ok", Lane::Crisis)).collect()).await.unwrap();
    eventually("it is known that they are missing", async || engine.health().lanes_behind.then_some(()))
        .await;
    assert_eq!(engine.rebuild_progress(), None);

    bench.redis.tell("CONFIG SET notify-keyspace-events Kl").await;
    let client = redis::Client::open(bench.redis.url()).unwrap();
    let mut placed = client.get_async_pubsub().await.unwrap();
    placed.psubscribe("__keyspace@0__:{keepwell:0}:lane:*").await.unwrap();
    proxy.delay(Duration::from_millis(5));
    proxy.set(Mode::Forward);
    let progress = eventually("it is half way", async || {
        engine.rebuild_progress().filter(|progress| progress.placed >= 500)
    })
    .await;
    assert!(progress.started_ms > 0 && progress.compared <= progress.owed, "{progress:?}");
    assert_eq!(progress.owed, MANY as u64 + 5);
    eventually("it is over", async || {
        (!engine.health().lanes_behind && engine.rebuild_progress().is_none()).then_some(())
    })
    .await;

    let (lanes, _) = engine.lanes().stats().await.unwrap();
    let waiting: Vec<u64> = lanes.into_iter().map(|lane| lane.waiting).collect();
    assert_eq!(waiting, [5, MANY as u64 / 2, 0, MANY as u64 / 2, 0]);
    let first = placed.on_message().next().await.expect("what was placed first");
    assert_eq!(first.get_channel_name(), "__keyspace@0__:{keepwell:0}:lane:crisis");
    engine.shutdown().await;
}

/// Far more than are compared at once.
const VERY_MANY: usize = 50_000;

/// As many rows of owed jobs. Nobody could run them.
const OWED: &str = "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 50000) \
     INSERT INTO jobs (id, kind, lane, state, run_at_ms, created_at_ms) \
     SELECT unhex('018f0000000070008000' || printf('%012x', n)), 'scripted', 'standard', 'owed', 1, 1 FROM numbers";

#[tokio::test]
async fn of_fifty_thousand_jobs_those_go_back_that_are_missing_each_once_while_crises_are_done() {
    const LANE: &str = "{keepwell:0}:lane:standard";
    let bench = Bench::new(Dialect::Sqlite).await;
    let mut ledger = SqliteConnection::connect(&bench.url).await.unwrap();
    sqlx::raw_sql(OWED).execute(&mut ledger).await.unwrap();
    ledger.close().await.unwrap();
    let recorder = bench.engine_with(|options| options.runs_jobs = false);
    recorder.pause(Lane::Standard, "so that they stay where they are", false).await.unwrap();
    recorder.shutdown().await;
    let engine = bench.engine();
    // By itself a client waits for half a second, in which a busy machine does not read thousands of ids.
    let client = redis::Client::open(bench.redis.url()).unwrap();
    let patient = redis::AsyncConnectionConfig::new().set_response_timeout(None);
    let redis = client.get_multiplexed_async_connection_with_config(&patient).await.unwrap();
    let all_are_back = async || {
        eventually("all of them are in their lane, and that is known", async || {
            let waiting: usize = redis.clone().llen(LANE).await.ok()?;
            (waiting >= VERY_MANY && !engine.health().lanes_behind).then_some(())
        })
        .await;
        let waiting: Vec<Vec<u8>> = redis.clone().lrange(LANE, 0, -1).await.unwrap();
        let different: HashSet<&Vec<u8>> = waiting.iter().collect();
        assert_eq!((waiting.len(), different.len()), (VERY_MANY, VERY_MANY));
    };
    all_are_back().await;

    let () = redis.clone().ltrim(LANE, 12_345, -1).await.unwrap();
    eventually("they are compared", async || engine.rebuild().await.ok()).await;
    all_are_back().await;

    bench.redis.flush_all().await;
    eventually("they go back", async || engine.rebuild_progress()).await;
    let crisis = engine.enqueue(scripted("ok", Lane::Crisis)).await.unwrap().id;
    eventually("the crisis is done", async || (!bench.effects().await.is_empty()).then_some(())).await;
    all_are_back().await;
    assert_eq!(bench.effects().await, [crisis.to_string()]);
    engine.shutdown().await;
}

#[tokio::test]
async fn a_job_that_is_recorded_during_a_rebuild_is_placed_once() {
    let bench = Bench::new(Dialect::Sqlite).await;
    let proxy = Proxy::before(bench.redis.socket()).await;
    let url = format!("redis://{}", proxy.address());
    let recorder = bench.engine_at(url, |options| options.runs_jobs = false);
    let rebuilder = bench.engine_with(|options| options.runs_jobs = false);
    eventually("Redis is there for both", async || {
        (recorder.health().lanes_ok && rebuilder.health().lanes_ok).then_some(())
    })
    .await;
    // Once without a delay, so that the server knows the script.
    recorder.enqueue(scripted("ok", Lane::Standard)).await.unwrap();
    placed(&rebuilder, 1).await;
    // What the recorder has to tell takes a while.
    proxy.delay(Duration::from_millis(20));
    for _ in 0..3 {
        recorder.enqueue(scripted("ok", Lane::Standard)).await.unwrap();
        rebuilder.rebuild().await.unwrap();
    }
    let (lanes, _) = rebuilder.lanes().stats().await.unwrap();
    assert_eq!(lanes[Lane::Standard.index()].waiting, 4);
    recorder.shutdown().await;
    rebuilder.shutdown().await;
}

/// An engine that has recorded `MANY` jobs, which Redis has forgotten since, and the proxy before its Redis.
async fn forgotten(bench: &Bench) -> (Proxy, Engine) {
    let proxy = Proxy::before(bench.redis.socket()).await;
    let engine = bench.engine_at(format!("redis://{}", proxy.address()), |options| options.runs_jobs = false);
    engine.enqueue_all((0..MANY).map(|_| scripted("ok", Lane::Standard)).collect()).await.unwrap();
    eventually("they are in their lane", async || {
        let held = engine.lanes().held().await.ok()?;
        (held == MANY as u64 && !engine.health().lanes_behind).then_some(())
    })
    .await;
    bench.redis.flush_all().await;
    (proxy, engine)
}

async fn under_way(engine: &Engine) -> RebuildProgress {
    eventually("a rebuild is under way", async || {
        engine.rebuild_progress().filter(|progress| progress.placed >= 500)
    })
    .await
}

#[tokio::test]
async fn the_lock_of_a_rebuild_that_is_somebody_elses_by_now_is_left_alone() {
    let bench = Bench::new(Dialect::Sqlite).await;
    let (proxy, engine) = forgotten(&bench).await;
    let mut redis = bench.redis.connection().await;
    let lock = "{keepwell:0}:rebuilding";
    proxy.delay(Duration::from_millis(20));
    let taken_meanwhile = async {
        under_way(&engine).await;
        // It ran out, and somebody else has taken it.
        let _: () = redis.set_ex(lock, "somebody", 3_600).await.unwrap();
        proxy.delay(Duration::ZERO);
    };
    let (rebuilt, ()) = tokio::join!(engine.rebuild(), taken_meanwhile);
    assert_eq!(rebuilt.unwrap().placed, MANY as u64);
    let (holder, left_s): (Option<String>, u64) =
        (redis.get(lock).await.unwrap(), redis.ttl(lock).await.unwrap());
    assert_eq!(holder.as_deref(), Some("somebody"));
    assert!(left_s > 3_000, "{left_s}");

    // A dead one's is taken over, and given back.
    engine.rebuild().await.unwrap();
    assert_eq!(redis.get::<_, Option<String>>(lock).await.unwrap(), None);
    engine.shutdown().await;
}

#[tokio::test]
async fn redis_is_looked_at_while_a_rebuild_is_under_way() {
    let bench = Bench::new(Dialect::Sqlite).await;
    let proxy = Proxy::before(bench.redis.socket()).await;
    proxy.set(Mode::Refuse);
    let url = format!("redis://{}", proxy.address());
    let engine = bench.engine_at(url, |options| options.runs_jobs = false);
    engine.enqueue_all((0..MANY).map(|_| scripted("ok", Lane::Standard)).collect()).await.unwrap();
    eventually("it is known that they are missing", async || engine.health().lanes_behind.then_some(()))
        .await;
    proxy.delay(Duration::from_millis(200));
    proxy.set(Mode::Forward);
    let begun = under_way(&engine).await;
    // Whoever looks leaves there what its clock shows.
    let (mut redis, clocks) = (bench.redis.connection().await, "{keepwell:0}:clocks");
    let _: () = redis.del(clocks).await.unwrap();
    eventually("Redis is looked at", async || redis.exists::<_, bool>(clocks).await.ok()?.then_some(()))
        .await;
    let still = engine.rebuild_progress().expect("the rebuild is still under way");
    assert_eq!(still.started_ms, begun.started_ms);
    proxy.delay(Duration::ZERO);
    eventually("it is over", async || (!engine.health().lanes_behind).then_some(())).await;
    engine.shutdown().await;
}
