//! Another process holds SQLite's lock: somebody looks into the file, or a backup takes its time.

use std::{path::Path, sync::atomic::Ordering, time::Duration};

use keepwell_workers::{
    database::{Dialect, Trouble},
    engine::Engine,
    job::NewJob,
    lane::Lane,
    ledger::{EnqueueError, JobFilter},
};
use sqlx::{Connection as _, Executor as _, SqliteConnection};
use tokio::time::timeout;

use super::bench::{Bench, nothing_owed, scripted};
use crate::support::eventually;

/// A stranger who holds the lock until it says otherwise.
pub async fn stranger(file: &Path) -> SqliteConnection {
    let mut stranger = SqliteConnection::connect(&format!("sqlite:{}", file.display())).await.unwrap();
    stranger.execute("BEGIN IMMEDIATE").await.unwrap();
    stranger
}

/// Asks for `job` to be recorded and goes away without an answer.
async fn ask_and_go_away(engine: &Engine, job: NewJob) {
    assert!(timeout(Duration::from_millis(50), engine.enqueue(job)).await.is_err());
}

async fn is_locked(engine: &Engine) {
    eventually("it is told that the database is locked", async || {
        (engine.health().trouble == Some(Trouble::Locked)).then_some(())
    })
    .await;
    assert!(!engine.health().takes_jobs());
}

#[tokio::test]
async fn nobody_waits_for_ever_for_a_locked_database() {
    let bench = Bench::new(Dialect::Sqlite).await;
    let engine = bench.engine();
    let mut stranger = stranger(&bench.file()).await;
    let both = tokio::join!(
        engine.enqueue(scripted("ok", Lane::Standard)),
        engine.enqueue(scripted("ok", Lane::Crisis))
    );
    assert!(matches!(both, (Err(EnqueueError::TimedOut), Err(EnqueueError::TimedOut))), "{both:?}");
    is_locked(&engine).await;

    stranger.execute("ROLLBACK").await.unwrap();
    eventually("it is told that all is well again", async || engine.health().takes_jobs().then_some(()))
        .await;
    engine.enqueue(scripted("ok", Lane::Standard)).await.unwrap();
    nothing_owed(&engine).await;
    engine.shutdown().await;
}

#[tokio::test]
async fn what_nobody_waits_for_is_let_go_unless_it_is_a_crisis() {
    let bench = Bench::new(Dialect::Sqlite).await;
    let engine = bench.engine();
    let recorded = async || engine.ledger().list(&JobFilter::default(), None, 10).await.unwrap().items;

    let mut first_stranger = stranger(&bench.file()).await;
    ask_and_go_away(&engine, scripted("ok", Lane::Standard)).await;
    is_locked(&engine).await;
    first_stranger.execute("ROLLBACK").await.unwrap();
    let next = engine.enqueue(scripted("ok", Lane::Standard)).await.unwrap();
    assert_eq!(recorded().await.iter().map(|job| job.id).collect::<Vec<_>>(), [next.id]);

    let mut second_stranger = stranger(&bench.file()).await;
    let pressed = || scripted("ok", Lane::Crisis).dedupe_key("pressed");
    ask_and_go_away(&engine, pressed()).await;
    is_locked(&engine).await;
    second_stranger.execute("ROLLBACK").await.unwrap();
    eventually("the crisis job is done", async || (bench.effects().await.len() == 2).then_some(())).await;
    assert!(engine.enqueue(pressed()).await.unwrap().duplicate);
    engine.shutdown().await;
}

#[tokio::test]
async fn a_run_that_a_locked_database_cannot_settle_is_settled_later_and_once() {
    let bench = Bench::new(Dialect::Sqlite).await;
    let engine = bench.engine();
    let jobs = (0..6).map(|_| scripted("gate", Lane::Standard)).collect();
    engine.enqueue_all(jobs).await.unwrap();
    eventually("they run", async || (bench.script.begun.load(Ordering::SeqCst) == 6).then_some(())).await;
    let mut stranger = stranger(&bench.file()).await;
    bench.script.gate.add_permits(100);
    // Each is settled in vain before it can begin again.
    eventually("one begins again", async || (bench.script.begun.load(Ordering::SeqCst) > 6).then_some(()))
        .await;
    stranger.execute("ROLLBACK").await.unwrap();
    nothing_owed(&engine).await;
    assert_eq!(bench.effects().await.len(), 6);
    for job in engine.ledger().list(&JobFilter::default(), None, 10).await.unwrap().items {
        assert_eq!((job.attempts, job.last_error), (1, None), "trouble of the database burns no attempt");
    }
    engine.shutdown().await;
}

#[tokio::test]
async fn a_retry_is_brought_to_its_end_though_its_caller_has_gone() {
    let bench = Bench::new(Dialect::Sqlite).await;
    let engine = bench.engine();
    let id = engine.enqueue(scripted("dead", Lane::Standard)).await.unwrap().id;
    nothing_owed(&engine).await;
    let mut stranger = stranger(&bench.file()).await;
    assert!(timeout(Duration::from_millis(50), engine.retry(id)).await.is_err());
    stranger.execute("ROLLBACK").await.unwrap();
    eventually("it has run again", async || {
        let (_, attempts) = engine.ledger().show(id).await.ok()??;
        (attempts.len() == 2).then_some(())
    })
    .await;
    engine.shutdown().await;
}
