//! The order in which waiting lanes are served, seen through one slot.

use keepwell_workers::{database::Dialect, lane::Lane};

use super::bench::{Bench, nothing_owed, scripted};
use crate::support::eventually;

#[tokio::test]
async fn waiting_lanes_are_served_strictly_then_by_weight() {
    let bench = Bench::new(Dialect::Sqlite).await;
    let recorder = bench.engine_with(|options| options.runs_jobs = false);
    let mut lane_of = std::collections::HashMap::new();
    for lane in [Lane::Background, Lane::Standard, Lane::Realtime, Lane::Therapeutic, Lane::Crisis] {
        let jobs = (0..30).map(|_| scripted("ok", lane)).collect();
        for recorded in recorder.enqueue_all(jobs).await.unwrap() {
            lane_of.insert(recorded.id.to_string(), lane);
        }
    }
    eventually("all of them are in their lanes", async || {
        (recorder.lanes().held().await.ok()? >= 150).then_some(())
    })
    .await;
    let engine = bench.engine_with(|options| (options.slots, options.crisis_slots) = (1, 1));
    nothing_owed(&engine).await;

    let order: Vec<Lane> = bench.effects().await.iter().map(|id| lane_of[id]).collect();
    let last = |lane: Lane| order.iter().rposition(|served| *served == lane).unwrap();
    assert!(
        last(Lane::Crisis) < 32,
        "crisis first, but for one job of the general slot: {}",
        last(Lane::Crisis)
    );
    assert!(last(Lane::Therapeutic) < 62, "{}", last(Lane::Therapeutic));
    let shared: Vec<Lane> = order.iter().copied().filter(|lane| *lane > Lane::Therapeutic).take(40).collect();
    let count = |lane: Lane| shared.iter().filter(|served| **served == lane).count();
    let counts = [count(Lane::Realtime), count(Lane::Standard), count(Lane::Background)];
    // A job that was delivered twice takes a place in the pattern and leaves no effect, so one or two may be missing.
    for (served, expected) in counts.into_iter().zip([24_usize, 12, 4]) {
        assert!(served.abs_diff(expected) <= 2, "{counts:?}");
    }
    engine.shutdown().await;
    recorder.shutdown().await;
}
