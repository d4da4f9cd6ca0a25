//! Crisis jobs into a full house.

use std::time::Duration;

use hdrhistogram::Histogram;
use keepwell_workers::{job::NewJob, lane::Lane};
use tokio::time::{MissedTickBehavior, interval};

use super::{
    BenchLine, Failure, Workload,
    handlers::now_us,
    rig::{PAYLOAD_BYTES, Rig, RigOptions},
};

/// Crisis jobs in one run, if nobody says otherwise.
pub(super) const CRISES: usize = 750;

/// Between two of them.
const EVERY: Duration = Duration::from_millis(20);

/// General slots, as the peers had.
const SLOTS: usize = 64;

pub(super) async fn run(jobs: usize, crises: usize, options: &RigOptions) -> Result<BenchLine, Failure> {
    let options = RigOptions { slots: Some(options.slots.unwrap_or(SLOTS)), ..options.clone() };
    let mut rig = Rig::new(&options).await?;
    let recorder = rig.engine(false)?;
    let waiting = options.waiting.unwrap_or(jobs);
    rig.backlog(&recorder, waiting, || NewJob::new("bench.sleep", Lane::Standard, vec![b'x'; PAYLOAD_BYTES]))
        .await?;
    recorder.shutdown().await;

    let engine = rig.engine(true)?;
    let stopwatch = rig.stopwatch();
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for _ in 0..crises {
        ticks.tick().await;
        engine.enqueue(NewJob::new("bench.timed", Lane::Crisis, format!("{}", now_us()))).await?;
    }
    let mut times = Histogram::<u64>::new(3)?;
    for _ in 0..crises {
        if let Some(took_ms) = rig.timed.recv().await {
            times.record((took_ms * 1_000.0) as u64)?;
        }
    }
    let left = engine.ledger().totals().await?.owed;
    let mut line = BenchLine::new(Workload::Crisis, crises);
    line.seconds = Some(stopwatch.seconds());
    line.rate = Some((waiting as u64).saturating_sub(left) as f64 / stopwatch.seconds());
    line.set_times(&times);
    line.notes = format!(
        "{} {} backlog={waiting} left={left} p99.9={:.3} rate is of the standard jobs",
        rig.setting(),
        stopwatch.shares(),
        times.value_at_quantile(0.999) as f64 / 1_000.0
    );
    engine.shutdown().await;
    rig.clear().await?;
    Ok(line)
}
