//! A server commits and its answer is lost: whoever asked must find out, neither lose anything nor do it twice.

use std::sync::atomic::Ordering;

use keepwell_workers::{engine::Engine, lane::Lane, ledger::JobFilter};

use super::bench::{Bench, nothing_owed, scripted};
use crate::support::{
    eventually,
    postgres::{Postgres, Sync},
    proxy::Proxy,
};

async fn behind_a_network() -> (Proxy, Bench, Engine) {
    let postgres = Postgres::start(Sync::Off).await;
    postgres.database("ledger").await;
    let network = Proxy::before(postgres.socket()).await;
    let bench = Bench::on(postgres, &network.postgres_url("ledger")).await;
    let engine = bench.engine();
    (network, bench, engine)
}

#[tokio::test]
async fn a_job_whose_commit_was_not_answered_is_found_and_answered_once() {
    let (network, bench, engine) = behind_a_network().await;
    for lane in [Lane::Standard, Lane::Crisis] {
        for job in [scripted("ok", lane), scripted("ok", lane).dedupe_key(lane.name())] {
            network.cut_at_answer_to(b"COMMIT\0");
            let recorded = engine.enqueue(job).await.unwrap();
            assert!(network.has_cut());
            assert!(!recorded.duplicate);
        }
    }
    nothing_owed(&engine).await;
    let jobs = engine.ledger().list(&JobFilter::default(), None, 10).await.unwrap();
    assert_eq!((jobs.total, bench.effects().await.len()), (4, 4));
    engine.shutdown().await;
}

#[tokio::test]
async fn effects_whose_commit_was_not_answered_are_in_once_with_what_follows_from_them() {
    let (network, bench, engine) = behind_a_network().await;
    engine.enqueue(scripted("follow at the gate", Lane::Standard)).await.unwrap();
    eventually("it runs", async || (bench.script.begun.load(Ordering::SeqCst) == 1).then_some(())).await;
    network.cut_at_answer_to(b"COMMIT\0");
    bench.script.gate.add_permits(10);
    eventually("the answer is lost", async || network.has_cut().then_some(())).await;
    eventually("both are done", async || (bench.effects().await.len() == 2).then_some(())).await;
    nothing_owed(&engine).await;
    assert_eq!(bench.effects().await.len(), 2);
    engine.shutdown().await;
}
