//! `keepwell bench`: the engine on work whose size is known, on a Redis and a database of its own.
//!
//! Each workload ends in one JSON line, in the shape in which the queues that keepwell is measured beside report
//! theirs. Nothing here is timed inside a test.

mod crash;
mod crisis;
mod drain;
mod enqueue;
mod grace;
mod handlers;
mod ingest;
mod line;
mod memory;
mod rig;
mod stopwatch;

use std::{error::Error, time::Duration};

pub use line::{BenchLine, Times};
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
    /// A worker killed in the middle of its work: how long until its jobs run again, and whether each took effect once.
    Crash,
    /// Grace periods of which many are due at once, and a crisis every 20 ms: how long until all that are due are seen
    /// to, and how long the crises take beside it and alone.
    Grace,
    /// Signed events of 2 KiB over HTTP into the daemon, 64 connections: answers per second, each event on disk first.
    Ingest,
    /// What people may use, read over HTTP a thousand times a second while 300 events a second come in and are run.
    Access,
    /// Events of the standard lane that wait in a real daemon, every general slot busy with them, and crises over HTTP,
    /// one after the other: from sending one until the access document says so.
    Flood,
}

impl Workload {
    /// All of them, with the names of the command line.
    pub const ALL: [(&'static str, Workload); 10] = [
        ("drain", Workload::Drain),
        ("enqueue", Workload::Enqueue),
        ("enqueue-bulk", Workload::EnqueueBulk),
        ("crisis", Workload::Crisis),
        ("memory", Workload::Memory),
        ("crash", Workload::Crash),
        ("grace", Workload::Grace),
        ("ingest", Workload::Ingest),
        ("access", Workload::Access),
        ("flood", Workload::Flood),
    ];

    /// The name on the command line and in the JSON line.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, workload)| *workload == self).map_or("", |(name, _)| name)
    }

    /// Whether jobs of another kind can wait already while it is measured.
    pub const fn has_a_backlog(self) -> bool {
        !matches!(self, Workload::Memory | Workload::Crash | Workload::Grace | Workload::Flood)
    }

    /// Whether crises are sent.
    pub const fn has_crises(self) -> bool {
        matches!(self, Workload::Crisis | Workload::Grace | Workload::Flood)
    }

    /// Jobs, if nobody says otherwise: what the peers were measured with.
    const fn jobs(self) -> usize {
        match self {
            Workload::Drain | Workload::Crisis | Workload::Memory | Workload::Ingest | Workload::Flood => {
                100_000
            }
            Workload::Enqueue | Workload::EnqueueBulk => 50_000,
            Workload::Access => 30_000,
            Workload::Crash => 2_000,
            Workload::Grace => 1_000_000,
        }
    }
}

/// What may be changed about a run.
#[derive(Debug, Clone, Default)]
pub struct BenchOptions {
    /// How many jobs.
    pub jobs: Option<usize>,
    /// How many grace periods are due at once.
    pub due: Option<usize>,
    /// How many crises are sent: all of `crisis` and `flood`, and of `grace` those before anything is due.
    pub crises: Option<usize>,
    /// Where.
    pub rig: RigOptions,
}

/// Why a workload could not be run.
pub type Failure = Box<dyn Error + Send + Sync>;

/// Nothing may take longer than this; a workload that does has failed.
const PATIENCE: Duration = Duration::from_secs(1_800);

/// Runs `workload` as often as `runs` says, tells of each run, and answers the one in the middle: that by the rate, or
/// by the slowest of the jobs where there is no rate.
pub async fn run(
    workload: Workload,
    options: &BenchOptions,
    runs: usize,
    tell: impl Fn(&BenchLine),
) -> Result<BenchLine, Failure> {
    let mut lines = Vec::with_capacity(runs);
    for _ in 0..runs.max(1) {
        let line = run_once(workload, options).await?;
        tell(&line);
        lines.push(line);
    }
    lines.sort_by(|one, other| one.measure().total_cmp(&other.measure()));
    let mut line = lines.swap_remove(lines.len() / 2);
    line.runs = runs.max(1);
    Ok(line)
}

async fn run_once(workload: Workload, options: &BenchOptions) -> Result<BenchLine, Failure> {
    let jobs = options.jobs.unwrap_or(workload.jobs());
    let running = async {
        match workload {
            Workload::Drain => drain::run(jobs, &options.rig).await,
            Workload::Enqueue => enqueue::run_one_by_one(jobs, &options.rig).await,
            Workload::EnqueueBulk => enqueue::run_in_bulk(jobs, &options.rig).await,
            Workload::Crisis => {
                crisis::run(jobs, options.crises.unwrap_or(crisis::CRISES), &options.rig).await
            }
            Workload::Memory => memory::run(jobs, &options.rig).await,
            Workload::Crash => crash::run(jobs, &options.rig).await,
            Workload::Grace => {
                let due = options.due.unwrap_or(grace::DUE);
                grace::run(jobs, due, options.crises.unwrap_or(grace::CRISES_ALONE), &options.rig).await
            }
            Workload::Ingest => ingest::run(jobs, &options.rig).await,
            Workload::Access => ingest::access::run(jobs, &options.rig).await,
            Workload::Flood => {
                let crises = options.crises.unwrap_or(ingest::flood::CRISES);
                ingest::flood::run(jobs, crises, &options.rig).await
            }
        }
    };
    tokio::time::timeout(PATIENCE, running).await?
}

/// Runs jobs for a `crash` workload, as its child process, until killed.
pub async fn crash_worker() -> Result<(), Failure> {
    crash::work().await
}
