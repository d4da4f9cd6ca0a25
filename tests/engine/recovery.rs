//! What the engine survives.

use std::{
    future::pending,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use async_trait::async_trait;
use keepwell_workers::{
    database::{Database, DatabaseOptions, Dialect, Durability, Transaction, turn::Urgency},
    handler::{Handler, Prepared},
    job::{Job, NewJob},
    lane::Lane,
    lanes::NodeStats,
    outcome::Outcome,
};
use sqlx::{Connection as _, Executor as _, PgConnection};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{
    bench::{Bench, nothing_owed, scripted},
    worker::{LEASE_MS, Worker},
};
use crate::support::{
    eventually,
    postgres::{Postgres, Sync},
};

#[tokio::test]
async fn an_emptied_redis_loses_nothing() {
    for dialect in [Dialect::Sqlite, Dialect::Postgres] {
        let bench = Bench::new(dialect).await;
        let engine = bench.engine();
        engine.enqueue_all((0..50).map(|_| scripted("gate", Lane::Standard)).collect()).await.unwrap();
        eventually("the slots are busy", async || {
            (bench.script.begun.load(Ordering::SeqCst) >= 8).then_some(())
        })
        .await;

        bench.redis.flush_all().await;
        bench.script.gate.add_permits(1_000);
        nothing_owed(&engine).await;
        assert_eq!(bench.effects().await.len(), 50);
        engine.shutdown().await;
    }
}

#[tokio::test]
async fn without_redis_jobs_are_recorded_and_crisis_jobs_run() {
    let mut bench = Bench::new(Dialect::Sqlite).await;
    let engine = bench.engine();
    nothing_owed(&engine).await;
    bench.redis.kill();

    let crisis = engine.enqueue(scripted("ok", Lane::Crisis)).await.unwrap().id;
    let standard = engine.enqueue(scripted("ok", Lane::Standard)).await.unwrap().id;
    eventually("the crisis job is done", async || (bench.effects().await.len() == 1).then_some(())).await;
    assert_eq!(bench.effects().await, [crisis.to_string()]);

    bench.redis.start_again().await;
    nothing_owed(&engine).await;
    assert_eq!(bench.effects().await, [crisis.to_string(), standard.to_string()]);
    engine.shutdown().await;
}

#[tokio::test]
async fn a_drained_engine_gives_back_what_it_could_not_end() {
    let bench = Bench::new(Dialect::Sqlite).await;
    let engine = bench.engine_with(|options| options.drain_timeout_ms = 100);
    engine.enqueue_all((0..20).map(|_| scripted("gate", Lane::Standard)).collect()).await.unwrap();
    eventually("the slots are busy", async || (bench.script.begun.load(Ordering::SeqCst) == 8).then_some(()))
        .await;
    engine.shutdown().await;
    assert_eq!(bench.effects().await.len(), 0);

    bench.script.gate.add_permits(1_000);
    let engine = bench.engine();
    nothing_owed(&engine).await;
    let mut effects = bench.effects().await;
    effects.sort();
    effects.dedup();
    assert_eq!(effects.len(), 20);
    engine.shutdown().await;
}

#[tokio::test]
async fn what_a_killed_worker_held_is_taken_back_although_another_of_its_name_lives() {
    let bench = Bench::new(Dialect::Sqlite).await;
    // One slot here, eight there.
    let engine = bench.engine_with(|options| (options.slots, options.lanes.lease_ms) = (1, LEASE_MS));
    let mut worker = Worker::start(&bench, "bench");
    let nodes = async || {
        let (_, nodes) = engine.lanes().stats().await.ok()?;
        let of_its_name = |node: &NodeStats| node.info.as_ref().is_some_and(|info| info.instance == "bench");
        Some(nodes.into_iter().filter(of_its_name).collect::<Vec<_>>())
    };
    eventually("both are there", async || Some(nodes().await?.len()).filter(|nodes| *nodes == 4)).await;
    let jobs = (0..9).map(|_| scripted("gate", Lane::Standard)).collect();
    let jobs = engine.enqueue_all(jobs).await.unwrap();
    eventually("each has as many as it can have", async || {
        let mut running: Vec<u64> = nodes().await?.iter().map(|node| node.running).collect();
        running.sort_unstable();
        (running == [0, 0, 1, 8]).then_some(())
    })
    .await;
    worker.kill();

    bench.script.gate.add_permits(9);
    nothing_owed(&engine).await;
    let mut effects = bench.effects().await;
    let mut expected: Vec<String> = jobs.iter().map(|job| job.id.to_string()).collect();
    effects.sort();
    expected.sort();
    assert_eq!(effects, expected);
    for job in jobs {
        let (job, history) = engine.ledger().show(job.id).await.unwrap().unwrap();
        assert_eq!((job.attempts, history.len()), (1, 0), "{history:?}");
    }
    engine.shutdown().await;
}

/// Never comes to an end by itself.
#[derive(Default)]
struct Endless {
    begun: CancellationToken,
    dropped: CancellationToken,
}

#[async_trait]
impl Handler for Endless {
    fn kind(&self) -> &'static str {
        "endless"
    }

    async fn prepare(&self, _: &Job) -> Result<Prepared, Outcome> {
        let _dropped = self.dropped.clone().drop_guard();
        self.begun.cancel();
        pending().await
    }

    async fn apply(&self, _: &Job, _: &Prepared, _: &mut Transaction) -> Result<Outcome, sqlx::Error> {
        Ok(Outcome::Done)
    }
}

#[tokio::test]
async fn a_run_whose_job_was_given_back_does_not_go_on_while_the_rest_is_closed() {
    let bench = Bench::new(Dialect::Sqlite).await;
    let endless = Arc::new(Endless::default());
    let handler: Arc<dyn Handler> = endless.clone();
    let engine = bench.engine_of([handler], |options| options.drain_timeout_ms = 100);
    engine.enqueue(NewJob::new("endless", Lane::Standard, "")).await.unwrap();
    endless.begun.cancelled().await;
    engine.drain().await;
    timeout(Duration::from_secs(30), endless.dropped.cancelled()).await.unwrap();
    engine.shutdown().await;
}

#[tokio::test]
async fn connections_that_postgres_ended_fail_nobody() {
    let postgres = Postgres::start(Sync::Off).await;
    let url = postgres.database("ended").await;
    let database = Database::connect(&url, &DatabaseOptions::default()).await.unwrap();
    // Crisis work keeps several connections open from the start; each of them is now dead.
    let mut operator = PgConnection::connect(&url).await.unwrap();
    let end =
        "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE application_name = 'keepwell'";
    operator.execute(end).await.unwrap();

    for _ in 0..3 {
        let transaction = database.begin(Urgency::Crisis, Durability::Durable, 0).await.unwrap();
        transaction.commit().await.unwrap();
    }
    database.close().await;
}
