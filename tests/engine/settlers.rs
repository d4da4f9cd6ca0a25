//! PostgreSQL has many writers: a settlement that waits there holds up nobody else's.

use std::sync::Arc;

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
use tokio::sync::Barrier;

use super::bench::{Bench, nothing_owed};

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

    async fn prepare(&self, _: &Job) -> Result<Prepared, Outcome> {
        Ok(Box::new(()))
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
