//! The worker process that is killed.

use std::{
    fs::{File, OpenOptions},
    io::{Read as _, Write as _},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use keepwell_workers::{
    database::{Database, DatabaseOptions, Transaction},
    engine::{Engine, EngineOptions},
    handler::{ApplyError, Handler, Prepared},
    job::{Job, NewJob},
    lane::Lane,
    lanes::LanesOptions,
    observer::{Observer, RunEnded},
    outcome::Outcome,
};
use serde::{Deserialize, Serialize};

use super::super::{
    Failure,
    handlers::{Noop, now_us},
    rig,
};

/// Jobs that take their time.
pub(super) const KIND: &str = "bench.slow";

/// What each of them causes, exactly once.
pub(super) const EFFECT: &str = "bench.noop";

/// What a worker is told on its standard input.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct WorkerOrder {
    pub(super) database_url: String,
    pub(super) redis_url: String,
    pub(super) key_prefix: String,
    pub(super) instance: String,
    pub(super) journal: PathBuf,
    pub(super) slots: usize,
}

/// Runs jobs until killed.
pub(super) async fn run() -> Result<(), Failure> {
    let mut order = String::new();
    std::io::stdin().read_to_string(&mut order)?;
    let order: WorkerOrder = serde_json::from_str(&order)?;
    let database = Database::connect(&order.database_url, &DatabaseOptions::default()).await?;
    let file = Arc::new(OpenOptions::new().create(true).append(true).open(&order.journal)?);
    let handlers: Vec<Arc<dyn Handler>> = vec![Arc::new(Slow(Arc::clone(&file))), Arc::new(Noop)];
    let parts = rig::parts(database, order.redis_url, handlers, Arc::new(Ended(file)));
    let options = EngineOptions {
        slots: order.slots,
        instance: order.instance,
        lanes: LanesOptions { key_prefix: order.key_prefix, ..LanesOptions::default() },
        ..EngineOptions::default()
    };
    let _engine = Engine::start(parts, &options)?;
    std::future::pending().await
}

/// A job of 50 ms whose one effect is another job.
struct Slow(Arc<File>);

#[async_trait]
impl Handler for Slow {
    fn kind(&self) -> &'static str {
        KIND
    }

    async fn prepare(&self, job: &Job) -> Result<Prepared, Outcome> {
        write(&self.0, "begun", job);
        tokio::time::sleep(Duration::from_millis(50)).await;
        Ok(Box::new(()))
    }

    async fn apply(
        &self,
        _: &Job,
        _: &Prepared,
        transaction: &mut Transaction,
    ) -> Result<Outcome, ApplyError> {
        transaction.enqueue(NewJob::new(EFFECT, Lane::Standard, ""));
        Ok(Outcome::Done)
    }
}

struct Ended(Arc<File>);

impl Observer for Ended {
    fn run_ended(&self, ended: &RunEnded<'_>) {
        write(&self.0, "ended", ended.job);
    }
}

/// One line in one write, so that a kill cuts off the last line at most.
fn write(mut file: &File, what: &str, job: &Job) {
    let _ = file.write_all(format!("{what} {} {}\n", job.id, now_us()).as_bytes());
}
