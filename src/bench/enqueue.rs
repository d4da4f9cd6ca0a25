//! Recording: one job per call with 64 calls in flight, and batches of 1 000.

use std::sync::Arc;

use keepwell_workers::{engine::Engine, job::NewJob, lane::Lane};
use tokio::task::JoinSet;

use super::{
    BenchLine, Failure, Workload,
    rig::{PAYLOAD_BYTES, Rig, RigOptions},
};

/// Calls in flight.
const IN_FLIGHT: usize = 64;

/// Jobs of one call in bulk.
const BATCH: usize = 1_000;

pub(super) async fn run_one_by_one(jobs: usize, options: &RigOptions) -> Result<BenchLine, Failure> {
    let rig = Rig::new(options).await?;
    let engine = Arc::new(rig.engine(false)?);
    rig.wait_already(&engine, options.waiting.unwrap_or_default()).await?;
    let stopwatch = rig.stopwatch();
    let mut producers = JoinSet::new();
    for producer in 0..IN_FLIGHT {
        let engine = Arc::clone(&engine);
        let share = jobs / IN_FLIGHT + usize::from(producer < jobs % IN_FLIGHT);
        producers.spawn(async move {
            for _ in 0..share {
                engine.enqueue(job()).await?;
            }
            Ok::<(), Failure>(())
        });
    }
    while let Some(ended) = producers.join_next().await {
        ended??;
    }
    finish(Workload::Enqueue, jobs, rig, &engine, &stopwatch).await
}

pub(super) async fn run_in_bulk(jobs: usize, options: &RigOptions) -> Result<BenchLine, Failure> {
    let rig = Rig::new(options).await?;
    let engine = rig.engine(false)?;
    rig.wait_already(&engine, options.waiting.unwrap_or_default()).await?;
    let stopwatch = rig.stopwatch();
    let mut left = jobs;
    while left > 0 {
        let batch = left.min(BATCH);
        engine.enqueue_all((0..batch).map(|_| job()).collect()).await?;
        left -= batch;
    }
    finish(Workload::EnqueueBulk, jobs, rig, &engine, &stopwatch).await
}

fn job() -> NewJob {
    NewJob::new("bench.noop", Lane::Standard, vec![b'x'; PAYLOAD_BYTES])
}

async fn finish(
    workload: Workload,
    jobs: usize,
    rig: Rig,
    engine: &Engine,
    stopwatch: &super::stopwatch::Stopwatch,
) -> Result<BenchLine, Failure> {
    let mut line = BenchLine::new(workload, jobs).took(stopwatch.seconds());
    line.notes =
        format!("{} {} owed={}", rig.setting(), stopwatch.shares(), engine.ledger().totals().await?.owed);
    engine.shutdown().await;
    rig.clear().await?;
    Ok(line)
}
