//! What a process says that stood still for too long, or whose parts have broken, is not the last word.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use keepwell_workers::{
    database::Dialect,
    engine::Engine,
    id::JobId,
    lane::Lane,
    observer::{Observer, RunEnded},
    state::State,
};
use redis::AsyncCommands as _;
use sqlx::{Connection as _, Executor as _, SqliteConnection};
use tokio::time::timeout;

use super::bench::{Bench, Ear, scripted};
use crate::support::eventually;

/// An engine with a job under way that will be given up on when the gate opens.
async fn about_to_fail(bench: &Bench, ear: &Arc<Ear>) -> (Engine, JobId) {
    let engine = bench.engine_heard_by(ear.clone());
    let job = engine.enqueue(scripted("fail at the gate", Lane::Standard)).await.unwrap().id;
    eventually("it runs", async || (bench.script.running.load(Ordering::SeqCst) == 1).then_some(())).await;
    (engine, job)
}

/// Lets the job fail, and sees that it is owed as before, with `attempts` behind it.
async fn its_end_does_not_count(bench: &Bench, ear: &Ear, engine: &Engine, job: JobId, attempts: u32) {
    bench.script.gate.add_permits(1);
    let heard =
        eventually("its end is heard of", async || Some(ear.heard()).filter(|heard| !heard.is_empty())).await;
    assert_eq!(heard[0], (job, "unsettled"));
    let (job, history) = engine.ledger().show(job).await.unwrap().unwrap();
    assert_eq!((job.state, job.attempts, history.len()), (State::Owed, attempts, 0));
    engine.shutdown().await;
}

#[tokio::test]
async fn a_failure_that_comes_after_the_job_was_given_to_somebody_else_is_no_attempt_and_no_end() {
    let (bench, ear) = (Bench::new(Dialect::Sqlite).await, Arc::new(Ear::default()));
    let (engine, job) = about_to_fail(&bench, &ear).await;
    let mut redis = bench.redis.connection().await;
    let claims = format!("{{keepwell:0}}:claims:{}", engine.node());
    let taken: usize = redis.hdel(claims, &job.as_bytes()[..]).await.unwrap();
    assert_eq!(taken, 1);
    its_end_does_not_count(&bench, &ear, &engine, job, 0).await;
}

#[tokio::test]
async fn a_failure_of_an_earlier_run_is_not_the_end_of_a_later_one() {
    let (bench, ear) = (Bench::new(Dialect::Sqlite).await, Arc::new(Ear::default()));
    let (engine, job) = about_to_fail(&bench, &ear).await;
    let file = format!("sqlite:{}", bench.file().display());
    let mut other = SqliteConnection::connect(&file).await.unwrap();
    other.execute("UPDATE jobs SET attempts = 1").await.unwrap();
    its_end_does_not_count(&bench, &ear, &engine, job, 1).await;
}

/// Breaks whatever tells it of a run.
struct Breaks;

impl Observer for Breaks {
    fn run_ended(&self, _: &RunEnded<'_>) {
        panic!("as scripted");
    }
}

#[tokio::test]
async fn an_engine_that_has_lost_one_of_its_loops_says_so_and_can_still_be_stopped() {
    let bench = Bench::new(Dialect::Sqlite).await;
    let engine = bench.engine_heard_by(Arc::new(Breaks));
    assert!(timeout(Duration::ZERO, engine.broken()).await.is_err());
    engine.enqueue(scripted("ok", Lane::Standard)).await.unwrap();
    timeout(Duration::from_secs(30), engine.broken()).await.unwrap();
    engine.shutdown().await;
}
