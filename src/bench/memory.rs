//! What a waiting job takes of Redis.

use keepwell_workers::{job::NewJob, lane::Lane};

use super::{
    BenchLine, Failure, Workload,
    rig::{PAYLOAD_BYTES, Rig, RigOptions},
};

pub(super) async fn run(jobs: usize, options: &RigOptions) -> Result<BenchLine, Failure> {
    let rig = Rig::new(options).await?;
    let engine = rig.engine(false)?;
    let before = engine.lanes().used_memory_bytes().await?;
    let stopwatch = rig.stopwatch();
    // Every job with a turn of its own: the most that a waiting job can take.
    let turns = std::cell::Cell::new(0_u64);
    rig.backlog(&engine, jobs, || {
        turns.set(turns.get() + 1);
        NewJob::new("bench.noop", Lane::Standard, vec![b'x'; PAYLOAD_BYTES]).turn(turns.get().to_string())
    })
    .await?;
    let mut line = BenchLine::new(Workload::Memory, jobs).took(stopwatch.seconds());
    let after = engine.lanes().used_memory_bytes().await?;
    line.redis_bytes_per_job = Some(after.saturating_sub(before) as f64 / jobs as f64);
    line.notes = format!("{} {}", rig.setting(), stopwatch.shares());
    engine.shutdown().await;
    rig.clear().await?;
    Ok(line)
}
