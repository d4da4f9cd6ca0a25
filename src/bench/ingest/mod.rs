//! Signed events over HTTP into the real daemon: 64 connections, each event on disk before it is answered.
//!
//! The daemon is a child process, so that its share of the processors and the senders' are told apart. By default it
//! only receives, as the queues that this is measured beside do; with `--run-jobs` it runs the jobs at the same time.

pub(super) mod access;
mod answered;
mod daemon;
mod events;
pub(super) mod flood;
mod load;

use super::{
    BenchLine, Failure, Workload,
    rig::{Rig, RigOptions},
};
use daemon::ChildDaemon;

/// Connections that send at the same time.
const CONNECTIONS: usize = 64;

pub(super) async fn run(jobs: usize, options: &RigOptions) -> Result<BenchLine, Failure> {
    let rig = Rig::new(options).await?;
    if let Some(waiting) = options.waiting {
        let recorder = rig.engine(false)?;
        rig.wait_already(&recorder, waiting).await?;
        recorder.shutdown().await;
    }
    let mut daemon = ChildDaemon::start(&rig, options.run_jobs).await?;
    let deliveries = events::signed(jobs)?;

    let stopwatch = rig.stopwatch().beside("daemon", daemon.pid());
    let load = load::send(daemon.address, deliveries, CONNECTIONS, None).await?;
    let mut line = BenchLine::new(Workload::Ingest, load.taken).took(stopwatch.seconds());
    line.set_times(&load.times);
    let shares = stopwatch.shares();
    let mut all_done = String::new();
    let engine = rig.engine(false)?;
    if options.run_jobs {
        rig.nothing_owed(&engine).await?;
        all_done = format!(" seconds_until_all_done={:.2}", stopwatch.seconds());
    }
    let owed = engine.ledger().totals().await?.owed;
    line.notes = format!(
        "{} connections={CONNECTIONS} event_bytes={} 2xx={} other={} owed={owed} run_jobs={}{all_done} {shares} \
         (cpu_keepwell is that of the senders)",
        rig.setting(),
        events::EVENT_BYTES,
        load.taken,
        load.refused,
        options.run_jobs,
    );
    engine.shutdown().await;
    daemon.stop().await?;
    rig.clear().await?;
    Ok(line)
}
