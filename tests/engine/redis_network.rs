//! Between the engine and its Redis there is a network.

use std::time::Duration;

use keepwell_workers::{database::Dialect, engine::Engine, lane::Lane};

use super::bench::{Bench, nothing_owed, scripted};
use crate::support::{
    eventually,
    proxy::{Mode, Proxy, Upstream},
    redis::Redis,
};

/// An engine that reaches its Redis through a proxy, and both its pools have entered.
async fn behind_a_proxy(bench: &Bench) -> (Proxy, Engine) {
    let proxy = Proxy::before(bench.redis.socket()).await;
    let engine = bench.engine_at(url(&proxy), |options| options.lanes.response_timeout_ms = 500);
    eventually("both pools have entered", async || {
        let (_, nodes) = engine.lanes().stats().await.ok()?;
        (nodes.len() == 2 && !engine.health().lanes_behind).then_some(())
    })
    .await;
    (proxy, engine)
}

fn url(proxy: &Proxy) -> String {
    format!("redis://{}", proxy.address())
}

/// A crisis job is done; one for the general pool is recorded before it and answers with its id.
async fn crisis_is_done(bench: &Bench, engine: &Engine) -> [String; 2] {
    let standard = engine.enqueue(scripted("ok", Lane::Standard)).await.unwrap().id.to_string();
    let crisis = engine.enqueue(scripted("ok", Lane::Crisis)).await.unwrap().id.to_string();
    eventually("the crisis job is done", async || bench.effects().await.contains(&crisis).then_some(()))
        .await;
    [standard, crisis]
}

#[tokio::test]
async fn a_redis_that_swallows_everything_holds_up_no_crisis_and_is_found_again() {
    let bench = Bench::new(Dialect::Sqlite).await;
    let (proxy, engine) = behind_a_proxy(&bench).await;
    proxy.set(Mode::BlackHole);
    let [standard, crisis] = crisis_is_done(&bench, &engine).await;
    assert_eq!(bench.effects().await, [crisis.as_str()]);

    // The connections there were stay open, and silent, for good.
    proxy.set(Mode::Forward);
    nothing_owed(&engine).await;
    assert_eq!(bench.effects().await, [crisis, standard]);
    engine.shutdown().await;
}

#[tokio::test]
async fn connections_whose_peer_is_gone_are_replaced_also_the_one_that_only_listens() {
    let bench = Bench::new(Dialect::Sqlite).await;
    let (proxy, engine) = behind_a_proxy(&bench).await;
    assert_eq!(listeners(&bench.redis).await, 1);
    proxy.strand();

    // Redis knows nothing of it, so the former listener still counts.
    eventually("it listens again", async || (listeners(&bench.redis).await == 2).then_some(())).await;
    crisis_is_done(&bench, &engine).await;
    nothing_owed(&engine).await;
    engine.shutdown().await;
}

async fn listeners(redis: &Redis) -> u64 {
    let mut asked = redis::cmd("PUBSUB");
    asked.arg("NUMSUB").arg("{keepwell:0}:wake");
    let (_, listeners): (String, u64) = asked.query_async(&mut redis.connection().await).await.unwrap();
    listeners
}

#[tokio::test]
async fn a_demoted_redis_is_left_for_the_one_that_has_its_address_now() {
    for stale_reads in ["yes", "no"] {
        let bench = Bench::new(Dialect::Sqlite).await;
        let promoted = Redis::start().await;
        let (proxy, engine) = behind_a_proxy(&bench).await;
        // READONLY with stale reads, MASTERDOWN without.
        bench.redis.tell(&format!("CONFIG SET replica-serve-stale-data {stale_reads}")).await;
        bench.redis.tell("REPLICAOF 127.0.0.1 1").await;
        let [standard, crisis] = crisis_is_done(&bench, &engine).await;
        eventually("the engine notices", async || (!engine.health().lanes_ok).then_some(())).await;
        assert_eq!(bench.effects().await, [crisis.as_str()]);

        // The connections to the demoted server stay open.
        proxy.lead_to(Upstream::Socket(promoted.socket()));
        nothing_owed(&engine).await;
        assert_eq!(bench.effects().await, [crisis, standard]);
        eventually("all is well", async || engine.health().lanes_ok.then_some(())).await;
        engine.shutdown().await;
    }
}

#[tokio::test]
async fn a_claim_whose_answer_is_lost_is_found_again() {
    let bench = Bench::new(Dialect::Sqlite).await;
    let (proxy, engine) = behind_a_proxy(&bench).await;
    // Of the answer to a claim: 18 bytes, lane 3, no crash.
    proxy.set(Mode::MuteFrom(b"$18\r\n30"));
    engine.enqueue_all((0..5).map(|_| scripted("ok", Lane::Standard)).collect()).await.unwrap();
    eventually("the server has noted the claims", async || {
        let key = format!("{{keepwell:0}}:claims:{}", engine.node());
        let mut asked = redis::cmd("HLEN");
        let claims: u64 = asked.arg(key).query_async(&mut bench.redis.connection().await).await.ok()?;
        (claims == 5).then_some(())
    })
    .await;
    assert_eq!(bench.effects().await.len(), 0);

    proxy.set(Mode::Forward);
    nothing_owed(&engine).await;
    assert_eq!(bench.effects().await.len(), 5);
    engine.shutdown().await;
}

#[tokio::test]
async fn refusals_resets_and_delays_lose_nothing() {
    let bench = Bench::new(Dialect::Sqlite).await;
    let (proxy, engine) = behind_a_proxy(&bench).await;
    for fault in 0..8 {
        let jobs = (0..10).map(|_| scripted("ok", Lane::Standard)).chain([scripted("ok", Lane::Crisis)]);
        engine.enqueue_all(jobs.collect()).await.unwrap();
        match fault % 4 {
            0 => proxy.cut(),
            1 => {
                proxy.set(Mode::Refuse);
                proxy.cut();
            }
            2 => proxy.set(Mode::Forward),
            _ => proxy.delay(Duration::from_millis(10)),
        }
    }
    nothing_owed(&engine).await;
    let mut effects = bench.effects().await;
    effects.sort();
    effects.dedup();
    assert_eq!(effects.len(), 88);
    engine.shutdown().await;
}
