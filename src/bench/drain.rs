//! Waiting no-op jobs, drained.

use super::{
    BenchLine, Failure, Workload,
    rig::{Rig, RigOptions},
};

pub(super) async fn run(jobs: usize, options: &RigOptions) -> Result<BenchLine, Failure> {
    let rig = Rig::new(options).await?;
    let waiting = options.waiting.unwrap_or(jobs).max(jobs);
    let recorder = rig.engine(false)?;
    rig.wait_already(&recorder, waiting).await?;
    recorder.shutdown().await;

    let stopwatch = rig.stopwatch();
    let engine = rig.engine(true)?;
    rig.done(jobs).await;
    if waiting == jobs {
        // All of them: also those that were done twice or not at all would show.
        rig.nothing_owed(&engine).await?;
    }
    let mut line = BenchLine::new(Workload::Drain, jobs).took(stopwatch.seconds());
    line.notes = format!("{} {}", rig.setting(), stopwatch.shares());
    engine.shutdown().await;
    rig.clear().await?;
    Ok(line)
}
