//! Sentinels know which Redis is the primary.

use keepwell_workers::{database::Dialect, lane::Lane};

use super::bench::{Bench, nothing_owed, scripted};
use crate::support::{
    eventually,
    redis_node::{Node, free_port},
};

/// How the Redis servers and the Sentinel are logged in to.
const LOGIN: &str = ":primary%20word@";
const SENTINELS_LOGIN: &str = ":watch@";

/// A Sentinel that watches over the primary at `port`, and gives it up after 300 ms.
async fn sentinel(port: u16) -> Node {
    let configuration = format!(
        "sentinel monitor main 127.0.0.1 {port} 1\n\
         sentinel auth-pass main \"primary word\"\n\
         sentinel down-after-milliseconds main 300\n\
         sentinel failover-timeout main 2000\n\
         requirepass watch\n"
    );
    let sentinel = Node::start_with(SENTINELS_LOGIN, &["--sentinel"], Some(&configuration)).await;
    eventually("it knows the replica", async || {
        let replicas: Vec<redis::Value> = sentinel.ask("SENTINEL REPLICAS main").await;
        (replicas.len() == 1).then_some(())
    })
    .await;
    sentinel
}

#[tokio::test]
async fn whoever_the_sentinels_made_the_primary_is_found_when_the_old_one_is_gone() {
    let bench = Bench::new(Dialect::Sqlite).await;
    let common = [
        "--save",
        "",
        "--repl-diskless-sync-delay",
        "0",
        "--requirepass",
        "primary word",
        "--masterauth",
        "primary word",
    ];
    let mut primary = Node::start_with(LOGIN, &common, None).await;
    let port = primary.port().to_string();
    let replica =
        Node::start_with(LOGIN, &[&common[..], &["--replicaof", "127.0.0.1", &port]].concat(), None).await;
    eventually("the replica is up to date", async || {
        replica.ask::<String>("INFO replication").await.contains("master_link_status:up").then_some(())
    })
    .await;
    let sentinel = sentinel(primary.port()).await;
    // Nobody is at the first.
    let url = format!(
        "redis-sentinel://{LOGIN}127.0.0.1:{},127.0.0.1:{}/main/0?sentinel_password=watch",
        free_port(),
        sentinel.port()
    );
    let engine = bench.engine_at(url, |_| {});
    engine.enqueue(scripted("ok", Lane::Standard)).await.unwrap();
    nothing_owed(&engine).await;

    primary.kill();
    let crisis = engine.enqueue(scripted("ok", Lane::Crisis)).await.unwrap().id.to_string();
    eventually("the crisis job is done", async || bench.effects().await.contains(&crisis).then_some(()))
        .await;
    engine.enqueue(scripted("ok", Lane::Standard)).await.unwrap();
    nothing_owed(&engine).await;
    assert_eq!(bench.effects().await.len(), 3);
    eventually("it listens at the new primary", async || {
        let (_, listeners): (String, u64) = replica.ask("PUBSUB NUMSUB {keepwell:0}:wake").await;
        (listeners == 1 && engine.health().lanes_ok).then_some(())
    })
    .await;
    assert!(replica.ask::<String>("INFO replication").await.contains("role:master"));
    engine.shutdown().await;
}
