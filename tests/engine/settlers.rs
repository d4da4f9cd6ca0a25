//! Who waits for whose settlement: on PostgreSQL, which has many writers, nobody for anybody's; a crisis, anywhere, for
//! no other job's; and what a dead worker left for no job's that has seen none die.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use async_trait::async_trait;
use keepwell_workers::{
    database::{Dialect, Transaction},
    engine::Engine,
    handler::{Handler, Prepared},
    job::{Job, NewJob},
    lane::Lane,
    ledger::JobFilter,
    outcome::Outcome,
    policy::Policy,
};
use redis::AsyncCommands as _;
use tokio::sync::{Barrier, Semaphore};

use super::bench::{Bench, nothing_owed};
use crate::support::eventually;

/// Whose effects are applied only beside another one's: each waits for the other with its transaction open.
struct Beside(Barrier);

#[async_trait]
impl Handler for Beside {
    fn kind(&self) -> &'static str {
        "beside"
    }

    fn policy(&self) -> Policy {
        Policy { attempts_max: 1, ..Policy::default() }
    }

    async fn apply(&self, _: &Job, _: &Prepared, _: &mut Transaction) -> Result<Outcome, sqlx::Error> {
        self.0.wait().await;
        Ok(Outcome::Done)
    }
}

async fn all_are_done(engine: &Engine, lane: Lane) {
    let jobs = (0..2).map(|_| NewJob::new("beside", lane, "")).collect();
    engine.enqueue_all(jobs).await.unwrap();
    nothing_owed(engine).await;
    // Alone, each would have been given up on.
    let filter = JobFilter { lane: Some(lane), ..JobFilter::default() };
    let page = engine.ledger().list(&filter, None, 10).await.unwrap();
    let errors: Vec<_> = page.items.iter().filter_map(|job| job.last_error.as_deref()).collect();
    assert!(errors.is_empty(), "{lane}: {errors:?}");
}

#[tokio::test]
async fn on_postgres_effects_are_applied_side_by_side() {
    let bench = Bench::new(Dialect::Postgres).await;
    let beside: Arc<dyn Handler> = Arc::new(Beside(Barrier::new(2)));
    let engine = bench.engine_of([beside], |_| {});
    all_are_done(&engine, Lane::Crisis).await;
    all_are_done(&engine, Lane::Standard).await;
    engine.shutdown().await;
}

/// Whose effects do not end until the test does.
struct Stuck {
    begun: AtomicU32,
    test_ends: Semaphore,
}

#[async_trait]
impl Handler for Stuck {
    fn kind(&self) -> &'static str {
        "stuck"
    }

    async fn apply(&self, _: &Job, _: &Prepared, _: &mut Transaction) -> Result<Outcome, sqlx::Error> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        let _ = self.test_ends.acquire().await;
        Ok(Outcome::Done)
    }
}

/// Occupies its slot, or notes how many of the stuck ones were begun before it.
struct Urgent {
    others: Arc<Stuck>,
    begun_before: AtomicU32,
}

#[async_trait]
impl Handler for Urgent {
    fn kind(&self) -> &'static str {
        "urgent"
    }

    async fn prepare(&self, job: &Job) -> Result<Prepared, Outcome> {
        if &job.payload[..] == b"occupy" {
            let _ = self.others.test_ends.acquire().await;
        }
        Ok(Box::new(()))
    }

    async fn apply(&self, job: &Job, _: &Prepared, _: &mut Transaction) -> Result<Outcome, sqlx::Error> {
        if &job.payload[..] != b"occupy" {
            self.begun_before.store(self.others.begun.load(Ordering::SeqCst), Ordering::SeqCst);
        }
        Ok(Outcome::Done)
    }
}

/// An engine with `free` general slots and [`STUCK`] more, all of which are busy with jobs that are stuck.
async fn stuck_engine(bench: &Bench, free: usize) -> (Engine, Arc<Stuck>, Arc<Urgent>) {
    let stuck = Arc::new(Stuck { begun: AtomicU32::new(0), test_ends: Semaphore::new(0) });
    let urgent = Arc::new(Urgent { others: Arc::clone(&stuck), begun_before: AtomicU32::new(0) });
    let handlers: [Arc<dyn Handler>; 2] = [stuck.clone(), urgent.clone()];
    let engine = bench.engine_of(handlers, |options| {
        (options.slots, options.crisis_slots) = (STUCK as usize + free, 1);
    });
    let jobs = (0..STUCK).map(|_| NewJob::new("stuck", Lane::Standard, "")).collect();
    engine.enqueue_all(jobs).await.unwrap();
    eventually("all of them are running", async || {
        let (lanes, _) = engine.lanes().stats().await.ok()?;
        (lanes.iter().map(|lane| lane.running).sum::<u64>() >= u64::from(STUCK)).then_some(())
    })
    .await;
    (engine, stuck, urgent)
}

const STUCK: u32 = 12;

/// Sees that the urgent job is settled before all others have had their turn.
async fn goes_first(engine: Engine, stuck: &Stuck, urgent: &Urgent) {
    let before = eventually("the urgent one is settled", async || {
        let before = urgent.begun_before.load(Ordering::SeqCst);
        (before > 0).then_some(before)
    })
    .await;
    assert!(before < STUCK, "all {before} others went first");
    stuck.test_ends.close();
    nothing_owed(&engine).await;
    engine.shutdown().await;
}

#[tokio::test]
async fn a_crisis_in_a_general_slot_does_not_wait_until_the_other_slots_are_settled() {
    for dialect in [Dialect::Sqlite, Dialect::Postgres] {
        let bench = Bench::new(dialect).await;
        let (engine, stuck, urgent) = stuck_engine(&bench, 0).await;
        // The first takes the slot that is kept for crises; the second has the next general one that comes free.
        for payload in ["occupy", ""] {
            engine.enqueue(NewJob::new("urgent", Lane::Crisis, payload)).await.unwrap();
        }
        goes_first(engine, &stuck, &urgent).await;
    }
}

#[tokio::test]
async fn what_a_dead_worker_left_does_not_wait_until_the_other_slots_are_settled() {
    let bench = Bench::new(Dialect::Sqlite).await;
    let (engine, stuck, urgent) = stuck_engine(&bench, 1).await;
    engine.pause(Lane::Background, "a test", false).await.unwrap();
    let left = engine.enqueue(NewJob::new("urgent", Lane::Background, "")).await.unwrap().id;
    eventually("it is in its lane", async || {
        let (lanes, _) = engine.lanes().stats().await.ok()?;
        (lanes.iter().map(|lane| lane.waiting).sum::<u64>() == 1).then_some(())
    })
    .await;
    let mut redis = bench.redis.connection().await;
    let _: () = redis.hset("{keepwell:0}:crashes", &left.as_bytes()[..], "1").await.unwrap();
    engine.resume(Lane::Background).await.unwrap();
    goes_first(engine, &stuck, &urgent).await;
}
