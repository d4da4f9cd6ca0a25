//! What an earlier life of an installation held, and how soon it goes on.

use keepwell_workers::{
    clock::{Clock as _, SystemClock},
    database::Dialect,
    lane::Lane,
};
use redis::AsyncCommands as _;

use super::bench::{Bench, nothing_owed, placed, scripted};
use crate::support::{
    eventually,
    proxy::{Mode, Proxy},
};

const HOUR_MS: u64 = 3_600_000;

#[tokio::test]
async fn what_an_earlier_life_held_is_taken_back_although_redis_is_there_later() {
    let bench = Bench::new(Dialect::Sqlite).await;
    let recorder = bench.engine_with(|options| options.runs_jobs = false);
    let held = recorder.enqueue(scripted("ok", Lane::Standard)).await.unwrap().id;
    placed(&recorder, 1).await;
    // A node of this installation that died a moment ago, with the job in its hands and most of its lease to come.
    let mut redis = bench.redis.connection().await;
    let node = "abcdef0123456789";
    let element: Vec<u8> = redis.lpop("{keepwell:0}:lane:standard", None).await.unwrap();
    let claim = [b"3", element.as_slice()].concat();
    let () = redis.hset(format!("{{keepwell:0}}:claims:{node}"), &held.as_bytes()[..], claim).await.unwrap();
    let () = redis.hset("{keepwell:0}:info", node, "bench\nhere\n1\n1").await.unwrap();
    let lease_end_ms = SystemClock.now_ms() + HOUR_MS as i64;
    let () = redis.zadd("{keepwell:0}:nodes", node, lease_end_ms).await.unwrap();

    let proxy = Proxy::before(bench.redis.socket()).await;
    proxy.set(Mode::Refuse);
    let url = format!("redis://{}", proxy.address());
    let engine = bench.engine_at(url, |options| options.lanes.lease_ms = HOUR_MS);
    eventually("its general pool has found no Redis", async || (engine.turns()[1] > 0).then_some(())).await;
    proxy.set(Mode::Forward);
    nothing_owed(&engine).await;
    assert_eq!(bench.effects().await, [held.to_string()]);
    engine.shutdown().await;
    recorder.shutdown().await;
}
