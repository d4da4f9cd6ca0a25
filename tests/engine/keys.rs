//! Dedupe keys: one job for each, whoever died meanwhile, and never a key without a job.

use keepwell_workers::{
    database::Dialect,
    engine::{Engine, Retention},
    job::NewJob,
    lane::Lane,
};
use sqlx::{Connection as _, PgConnection};

use super::{
    bench::{Bench, nothing_owed, scripted},
    worker::{LEASE_MS, Worker},
};
use crate::support::eventually;

fn keyed(words: &'static str) -> NewJob {
    scripted(words, Lane::Standard).dedupe_key("evt_1")
}

/// An engine that forgets at once what is done.
fn forgetful(bench: &Bench) -> Engine {
    bench.engine_with(|options| {
        options.lanes.lease_ms = LEASE_MS;
        options.retention = Retention { done_ms: -1, look_every_ms: 10, ..Retention::default() };
    })
}

#[tokio::test]
async fn the_key_of_a_job_whose_worker_was_killed_is_that_jobs_and_nobodys_once_it_is_gone() {
    for dialect in [Dialect::Sqlite, Dialect::Postgres] {
        let bench = Bench::new(dialect).await;
        let recorder = bench.engine_with(|options| options.runs_jobs = false);
        let id = recorder.enqueue(keyed("gate")).await.unwrap().id;
        let mut worker = Worker::start(&bench, "doomed");
        eventually("it runs", async || {
            let (_, nodes) = recorder.lanes().stats().await.ok()?;
            nodes.iter().any(|node| node.running == 1).then_some(())
        })
        .await;
        worker.kill();
        let again = recorder.enqueue(keyed("gate")).await.unwrap();
        assert_eq!((again.duplicate, again.id), (true, id), "its worker is dead");
        bench.redis.flush_all().await;
        let again = recorder.enqueue(keyed("gate")).await.unwrap();
        assert_eq!((again.duplicate, again.id), (true, id), "Redis has forgotten everything");

        bench.script.gate.add_permits(2);
        let engine = forgetful(&bench);
        nothing_owed(&engine).await;
        assert_eq!(bench.effects().await, [id.to_string()]);
        let fresh = eventually("the job is forgotten, and its key with it", async || {
            let another = recorder.enqueue(keyed("gate")).await.unwrap();
            (!another.duplicate).then_some(another.id)
        })
        .await;
        nothing_owed(&engine).await;
        assert_eq!(bench.effects().await, [id.to_string(), fresh.to_string()]);
        engine.shutdown().await;
        recorder.shutdown().await;
    }
}

#[tokio::test]
async fn a_key_whose_recorder_died_before_its_commit_is_free() {
    const BEGUN: &str = "BEGIN; INSERT INTO jobs (id, kind, lane, state, dedupe_key, run_at_ms, created_at_ms) \
         VALUES ('018f0000-0000-7000-8000-000000000001', 'scripted', 'standard', 'owed', 'evt_1', 1, 1)";
    const WAITING: &str = "SELECT count(*) FROM pg_locks WHERE NOT granted";
    let bench = Bench::new(Dialect::Postgres).await;
    let engine = bench.engine();
    let mut dying = PgConnection::connect(&bench.url).await.unwrap();
    let process: i32 = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut dying).await.unwrap();
    sqlx::raw_sql(BEGUN).execute(&mut dying).await.unwrap();

    let dies = async {
        let mut operator = PgConnection::connect(&bench.url).await.unwrap();
        eventually("somebody waits to see what becomes of the key", async || {
            let waiting: i64 = sqlx::query_scalar(WAITING).fetch_one(&mut operator).await.ok()?;
            (waiting > 0).then_some(())
        })
        .await;
        let kill = sqlx::query("SELECT pg_terminate_backend($1)").bind(process);
        kill.execute(&mut operator).await.unwrap();
    };
    let (recorded, ()) = tokio::join!(engine.enqueue(keyed("ok")), dies);
    let recorded = recorded.unwrap();
    assert!(!recorded.duplicate);
    nothing_owed(&engine).await;
    assert_eq!(bench.effects().await, [recorded.id.to_string()]);
    engine.shutdown().await;
}
