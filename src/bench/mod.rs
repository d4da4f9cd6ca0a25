//! `keepwell bench`: the engine on work whose size is known, on a Redis and a database of its own.
//!
//! Each workload ends in one JSON line, in the shape in which the queues that keepwell is measured beside report
//! theirs. Nothing here is timed inside a test.

mod crisis;
mod drain;
mod enqueue;
mod handlers;
mod line;
mod memory;
mod rig;
mod usage;

use std::{error::Error, time::Duration};

pub use line::BenchLine;
pub use rig::RigOptions;

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workload {
    /// Waiting no-op jobs of 1 KiB, one process: jobs per second until the ledger has them all done.
    Drain,
    /// One producer, one job per call, 64 calls in flight, each on disk before it is answered: jobs per second.
    Enqueue,
    /// Batches of 1 000, each on disk before it is answered: jobs per second.
    EnqueueBulk,
    /// A backlog of jobs that sleep 5 ms, every slot busy, and a crisis job every 20 ms: from the call that enqueues
    /// it to the start of its handler.
    Crisis,
    /// Bytes of Redis per waiting job.
    Memory,
}

impl Workload {
    /// All of them, with the names of the command line.
    pub const ALL: [(&'static str, Workload); 5] = [
        ("drain", Workload::Drain),
        ("enqueue", Workload::Enqueue),
        ("enqueue-bulk", Workload::EnqueueBulk),
        ("crisis", Workload::Crisis),
        ("memory", Workload::Memory),
    ];

    /// The name on the command line and in the JSON line.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, workload)| *workload == self).map_or("", |(name, _)| name)
    }

    /// Jobs, if nobody says otherwise: what the peers were measured with.
    const fn jobs(self) -> usize {
        match self {
            Workload::Drain | Workload::Crisis | Workload::Memory => 100_000,
            Workload::Enqueue | Workload::EnqueueBulk => 50_000,
        }
    }
}

/// What may be changed about a run.
#[derive(Debug, Clone, Default)]
pub struct BenchOptions {
    /// How many jobs.
    pub jobs: Option<usize>,
    /// Where.
    pub rig: RigOptions,
}

/// Nothing may take longer than this; a workload that does has failed.
const PATIENCE: Duration = Duration::from_secs(1_800);

/// Runs `workload` once.
pub async fn run(
    workload: Workload,
    options: &BenchOptions,
) -> Result<BenchLine, Box<dyn Error + Send + Sync>> {
    let jobs = options.jobs.unwrap_or(workload.jobs());
    let running = async {
        match workload {
            Workload::Drain => drain::run(jobs, &options.rig).await,
            Workload::Enqueue => enqueue::run_one_by_one(jobs, &options.rig).await,
            Workload::EnqueueBulk => enqueue::run_in_bulk(jobs, &options.rig).await,
            Workload::Crisis => crisis::run(jobs, &options.rig).await,
            Workload::Memory => memory::run(jobs, &options.rig).await,
        }
    };
    tokio::time::timeout(PATIENCE, running).await?
}
