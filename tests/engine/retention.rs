//! What is old enough goes by itself, all of it, and nothing else does.

use keepwell_workers::{
    database::Dialect,
    engine::{EngineOptions, Passing, Retention},
    job::NewJob,
    lane::Lane,
    ledger::JobFilter,
    state::State,
};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, SqliteConnection};

use super::bench::{Bench, nothing_owed, scripted};
use crate::support::eventually;

/// Many batches.
const OLD: usize = 2_500;

/// A hundred days, in milliseconds.
const LONG_AGO_MS: i64 = 100 * 24 * 60 * 60 * 1_000;

/// Looks at once, and again and again.
fn impatient(options: &mut EngineOptions) {
    options.retention = Retention { look_every_ms: 10, ..Retention::default() };
}

/// As many jobs as asked for, finished in `state` a hundred days ago, each with a payload and an attempt.
fn finished(dialect: Dialect, state: State, jobs: usize) -> String {
    let (id, now_ms) = match dialect {
        Dialect::Sqlite => (
            "unhex('018f0000000070008000' || printf('%012x', n))",
            "CAST(strftime('%s', 'now') AS INTEGER) * 1000",
        ),
        Dialect::Postgres => (
            "('018f0000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid",
            "CAST(extract(epoch FROM now()) * 1000 AS BIGINT)",
        ),
    };
    let first = if state == State::Dead { 100_000 } else { 0 };
    let numbers = format!(
        "WITH RECURSIVE numbers (n) AS (SELECT {first} + 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {first} + {jobs})"
    );
    let sealed = if dialect == Dialect::Sqlite { "zeroblob(6000)" } else { "'x'::bytea" };
    format!(
        "{numbers} INSERT INTO jobs (id, kind, lane, state, run_at_ms, created_at_ms, finished_at_ms) \
         SELECT {id}, 'old', 'standard', '{state}', 1, 1, {now_ms} - {LONG_AGO_MS} FROM numbers; \
         INSERT INTO job_payloads SELECT id, 'test', {sealed} FROM jobs WHERE state = '{state}'; \
         INSERT INTO job_attempts SELECT id, 1, 'retry', NULL, 'node', 1 FROM jobs WHERE state = '{state}'"
    )
}

async fn on_database(bench: &Bench, sql: String) {
    let sql = sqlx::raw_sql(AssertSqlSafe(sql));
    if bench.postgres.is_some() {
        sql.execute(&mut PgConnection::connect(&bench.url).await.unwrap()).await.unwrap();
    } else {
        sql.execute(&mut SqliteConnection::connect(&bench.url).await.unwrap()).await.unwrap();
    }
}

/// Rows of everything that belongs to jobs.
async fn rows(bench: &Bench) -> i64 {
    const SQL: &str = "SELECT (SELECT count(*) FROM jobs) + (SELECT count(*) FROM job_payloads) \
         + (SELECT count(*) FROM job_attempts)";
    if bench.postgres.is_some() {
        let mut connection = PgConnection::connect(&bench.url).await.unwrap();
        sqlx::query_scalar(SQL).fetch_one(&mut connection).await.unwrap()
    } else {
        let mut connection = SqliteConnection::connect(&bench.url).await.unwrap();
        sqlx::query_scalar(SQL).fetch_one(&mut connection).await.unwrap()
    }
}

#[tokio::test]
async fn everything_that_is_old_enough_goes_with_all_that_belongs_to_it_and_nothing_else_does() {
    for dialect in [Dialect::Sqlite, Dialect::Postgres] {
        let bench = Bench::new(dialect).await;
        on_database(&bench, finished(dialect, State::Done, OLD)).await;
        on_database(&bench, finished(dialect, State::Dead, 10)).await;
        let engine = bench.engine_with(|options| {
            impatient(options);
            // Ten times as long.
            options.retention.dead_ms = 10 * LONG_AGO_MS;
        });
        let fresh = engine.enqueue(scripted("ok", Lane::Standard)).await.unwrap();
        nothing_owed(&engine).await;
        // Three rows of each that stays, and two of the one that was done now.
        eventually("only what is to be kept is left", async || (rows(&bench).await == 32).then_some(()))
            .await;
        let dead = JobFilter { state: Some(State::Dead), ..JobFilter::default() };
        assert_eq!(engine.ledger().list(&dead, None, 1).await.unwrap().total, 10);
        assert_eq!(engine.ledger().show(fresh.id).await.unwrap().unwrap().0.state, State::Done);
        engine.shutdown().await;
    }
}

#[tokio::test]
async fn jobs_that_pass_go_after_a_time_of_their_own() {
    static PASSING: [Passing; 1] = [Passing { kind: "scripted", subject: "nobody", keep_ms: -1 }];
    for dialect in [Dialect::Sqlite, Dialect::Postgres] {
        let bench = Bench::new(dialect).await;
        let engine = bench.engine_with(|options| {
            impatient(options);
            options.retention.passing = &PASSING;
        });
        let about = |subject: &str, script| scripted(script, Lane::Standard).subject(subject);
        let kept = [about("somebody", "ok"), scripted("ok", Lane::Standard)];
        let waits = NewJob { run_at_ms: Some(i64::MAX / 2), ..about("nobody", "ok") };
        for job in [about("nobody", "ok"), about("nobody", "dead"), waits].into_iter().chain(kept) {
            engine.enqueue(job).await.unwrap();
        }
        eventually("what passes has gone, and what is owed has not", async || {
            let left = engine.ledger().list(&JobFilter::default(), None, 10).await.unwrap().items;
            let owed = left.iter().filter(|job| job.state == State::Owed).count();
            let passing = left.iter().filter(|job| job.subject.as_deref() == Some("nobody")).count();
            (left.len() == 3 && (owed, passing) == (1, 1)).then_some(())
        })
        .await;
        engine.shutdown().await;
    }
}

#[tokio::test]
async fn a_job_that_an_operator_retries_while_it_is_about_to_go_stays() {
    const RETRY: &str = "UPDATE jobs SET state = 'owed', finished_at_ms = NULL \
         WHERE id = (SELECT min(id::text)::uuid FROM jobs)";
    let bench = Bench::new(Dialect::Postgres).await;
    on_database(&bench, finished(Dialect::Postgres, State::Dead, 10)).await;
    let mut operator = PgConnection::connect(&bench.url).await.unwrap();
    let mut retry = operator.begin().await.unwrap();
    sqlx::query(RETRY).execute(&mut *retry).await.unwrap();
    let engine = bench.engine_with(impatient);
    eventually("the others are gone", async || (rows(&bench).await == 3).then_some(())).await;
    retry.commit().await.unwrap();
    let owed = JobFilter { state: Some(State::Owed), ..JobFilter::default() };
    assert_eq!(engine.ledger().list(&owed, None, 1).await.unwrap().total, 1);
    engine.shutdown().await;
}
