//! What the ledger is asked costs what the answer needs, whatever PostgreSQL believes about it.

use keepwell_workers::lane::Lane;
use sqlx::{Connection as _, Executor as _, PgConnection};

use super::bench::{Bench, scripted};
use crate::support::{
    eventually,
    postgres::{Postgres, Sync},
};

/// Jobs that were there before; of every five one was a crisis, which is done, as are the older half of the others.
const JOBS: i64 = 40_000;

const FILL: &str = "INSERT INTO jobs (id, kind, lane, state, run_at_ms, created_at_ms, finished_at_ms) \
     SELECT ('01900000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, 'old', \
     CASE n % 5 WHEN 0 THEN 'crisis' ELSE 'standard' END, CASE WHEN is_done THEN 'done' ELSE 'owed' END, n, n, \
     CASE WHEN is_done THEN n END \
     FROM (SELECT n, n < 20000 OR n % 5 = 0 AS is_done FROM generate_series(1, 40000) n) jobs; ANALYZE jobs";

/// Rows of `jobs` that anybody has read so far.
const READ: &str = "SELECT (COALESCE(seq_tup_read, 0) + COALESCE(idx_tup_fetch, 0))::BIGINT \
     FROM pg_stat_user_tables WHERE relname = 'jobs'";

async fn rows_read(url: &str) -> i64 {
    let mut connection = PgConnection::connect(url).await.unwrap();
    sqlx::query_scalar(READ).fetch_one(&mut connection).await.unwrap()
}

#[tokio::test]
async fn a_crisis_is_found_in_the_ledger_without_reading_what_was_done_before() {
    let postgres = Postgres::start(Sync::Off).await;
    let url = postgres.database("ledger").await;
    // As after the fifth time that a statement is asked.
    postgres.execute("ALTER DATABASE ledger SET plan_cache_mode = force_generic_plan").await;
    let mut bench = Bench::on(postgres, &url).await;
    let mut connection = PgConnection::connect(&url).await.unwrap();
    connection.execute(sqlx::raw_sql("ALTER TABLE jobs SET (autovacuum_enabled = off)")).await.unwrap();
    connection.execute(sqlx::raw_sql(FILL)).await.unwrap();
    connection.close().await.unwrap();
    let before = rows_read(&url).await;

    bench.redis.kill();
    let engine = bench.engine();
    for _ in 0..5 {
        engine.enqueue(scripted("ok", Lane::Crisis)).await.unwrap();
    }
    eventually("all five are done", async || (bench.effects().await.len() == 5).then_some(())).await;
    engine.shutdown().await;
    // A session tells what it has read when it ends.
    bench.database.close().await;
    let others = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'keepwell'";
    let mut connection = PgConnection::connect(&url).await.unwrap();
    eventually("its sessions have ended", async || {
        let there: i64 = sqlx::query_scalar(others).fetch_one(&mut connection).await.unwrap();
        (there == 0).then_some(())
    })
    .await;
    let read = rows_read(&url).await - before;
    assert!((1..JOBS).contains(&read), "{read} rows were read for five jobs");
}
