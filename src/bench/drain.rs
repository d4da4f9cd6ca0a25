//! Waiting no-op jobs, drained.

use keepwell_workers::{job::NewJob, lane::Lane};

use super::{
    BenchLine, Failure, Workload,
    rig::{PAYLOAD_BYTES, Rig, RigOptions},
};

pub(super) async fn run(jobs: usize, options: &RigOptions) -> Result<BenchLine, Failure> {
    let rig = Rig::new(options).await?;
    let recorder = rig.engine(false)?;
    rig.backlog(&recorder, jobs, || NewJob::new("bench.noop", Lane::Standard, vec![b'x'; PAYLOAD_BYTES]))
        .await?;
    recorder.shutdown().await;

    let stopwatch = rig.stopwatch();
    let engine = rig.engine(true)?;
    rig.drained(&engine, jobs).await?;
    let mut line = BenchLine::new(Workload::Drain, jobs).took(stopwatch.seconds());
    line.notes = format!("{} {}", rig.setting(), stopwatch.shares());
    engine.shutdown().await;
    rig.clear().await?;
    Ok(line)
}
