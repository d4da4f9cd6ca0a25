//! Waiting no-op jobs, drained.

use std::error::Error;

use keepwell_workers::{job::NewJob, lane::Lane};

use super::{
    BenchLine, Workload,
    rig::{PAYLOAD_BYTES, Rig, RigOptions},
};

pub(super) async fn run(
    jobs: usize,
    options: &RigOptions,
) -> Result<BenchLine, Box<dyn Error + Send + Sync>> {
    let rig = Rig::new(options).await?;
    let recorder = rig.engine(false)?;
    rig.backlog(&recorder, jobs, || NewJob::new("bench.noop", Lane::Standard, vec![b'x'; PAYLOAD_BYTES]))
        .await?;
    recorder.shutdown().await;

    let stopwatch = rig.stopwatch();
    let engine = rig.engine(true)?;
    rig.drained(&engine).await?;
    let mut line = BenchLine::new(Workload::Drain, jobs).took(stopwatch.seconds());
    line.notes = format!("{} {}", rig.setting(), stopwatch.shares());
    engine.shutdown().await;
    rig.clear().await?;
    Ok(line)
}
