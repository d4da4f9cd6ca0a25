//! How the lanes and the ledger stand, read when somebody asks for metrics. What cannot be read in time keeps
//! its last value.

use std::{sync::atomic::AtomicU64, time::Duration};

use keepwell_workers::{
    lanes::{LaneStats, Lanes, NodeStats, RebuildProgress},
    ledger::{Ledger, LedgerTotals},
};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};
use tokio::{sync::Mutex, time::timeout};

use super::job_metrics::LaneLabels;

/// How long reading may take. A scrape must not wait for a Redis that is away: it is wanted most just then.
const READ_TIMEOUT: Duration = Duration::from_millis(500);

/// How the lanes and the ledger stand.
#[derive(Debug, Default)]
pub(crate) struct LaneMetrics {
    waiting: Family<LaneLabels, Gauge>,
    running: Family<LaneLabels, Gauge>,
    later: Family<LaneLabels, Gauge>,
    paused: Family<LaneLabels, Gauge>,
    oldest_waiting: Family<LaneLabels, Gauge<f64, AtomicU64>>,
    ledger_jobs: Family<StateLabels, Gauge>,
    nodes: Gauge,
    rebuild_compared: Gauge,
    rebuild_owed: Gauge,
    /// Held by whoever reads; everybody else makes do with the values there are.
    reading: Mutex<()>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabels {
    state: &'static str,
}

impl LaneMetrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let lanes = [
            ("lane_waiting", "Jobs that could run now", &metrics.waiting),
            ("lane_running", "Jobs that a worker has claimed", &metrics.running),
            ("lane_later", "Jobs whose time has not come", &metrics.later),
            ("lane_paused", "1 if the lane is held up", &metrics.paused),
        ];
        for (name, help, family) in lanes {
            registry.register(name, help, family.clone());
        }
        registry.register_with_unit(
            "lane_oldest_waiting",
            "How long the job in front of the lane has waited",
            Unit::Seconds,
            metrics.oldest_waiting.clone(),
        );
        registry.register(
            "ledger_jobs",
            "Jobs in the ledger that are not finished",
            metrics.ledger_jobs.clone(),
        );
        registry.register("nodes", "Worker processes that share the lanes", metrics.nodes.clone());
        registry.register(
            "rebuild_compared",
            "Owed jobs that the comparison of the lanes with the ledger under way has looked at; 0 if none is",
            metrics.rebuild_compared.clone(),
        );
        registry.register(
            "rebuild_owed",
            "Owed jobs that it has to look at in all; 0 if none is under way",
            metrics.rebuild_owed.clone(),
        );
        metrics
    }

    /// Reads both, the one not waiting for the other, and each no longer than [`READ_TIMEOUT`].
    pub(crate) async fn read(&self, lanes: &Lanes, ledger: &Ledger) {
        let Ok(_reading) = self.reading.try_lock() else { return };
        self.set_rebuild(lanes.rebuild_progress());
        let (stats, totals) =
            tokio::join!(timeout(READ_TIMEOUT, lanes.stats()), timeout(READ_TIMEOUT, ledger.totals()));
        if let Ok(Ok((lanes, nodes))) = stats {
            self.set_lanes(&lanes, &nodes);
        }
        if let Ok(Ok(totals)) = totals {
            self.set_totals(totals);
        }
    }

    fn set_lanes(&self, lanes: &[LaneStats], nodes: &[NodeStats]) {
        for stats in lanes {
            let labels = LaneLabels::of(stats.lane);
            self.waiting.get_or_create(&labels).set(count(stats.waiting));
            self.running.get_or_create(&labels).set(count(stats.running));
            self.later.get_or_create(&labels).set(count(stats.later));
            self.paused.get_or_create(&labels).set(i64::from(stats.paused.is_some()));
            let oldest_ms = stats.oldest_waiting_ms.unwrap_or(0);
            self.oldest_waiting.get_or_create(&labels).set(oldest_ms as f64 / 1_000.0);
        }
        self.nodes.set(nodes.len() as i64);
    }

    fn set_rebuild(&self, progress: Option<RebuildProgress>) {
        let (compared, owed) = progress.map_or((0, 0), |progress| (progress.compared, progress.owed));
        self.rebuild_compared.set(count(compared));
        self.rebuild_owed.set(count(owed));
    }

    fn set_totals(&self, totals: LedgerTotals) {
        for (state, jobs) in [("owed", totals.owed), ("dead", totals.dead)] {
            self.ledger_jobs.get_or_create(&StateLabels { state }).set(count(jobs));
        }
    }
}

fn count(jobs: u64) -> i64 {
    i64::try_from(jobs).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use keepwell_workers::lane::Lane;
    use prometheus_client::encoding::text::encode;

    use super::*;

    #[test]
    fn a_lane_is_described_by_its_numbers() {
        let mut registry = Registry::with_prefix("keepwell");
        let metrics = LaneMetrics::register(&mut registry);
        let stats = LaneStats {
            lane: Lane::Standard,
            paused: Some("an upgrade".to_owned()),
            waiting: 7,
            running: 2,
            later: 1,
            oldest_waiting_ms: Some(1_500),
        };
        metrics.set_lanes(&[stats], &[]);
        metrics.set_totals(LedgerTotals { owed: 10, dead: 3 });
        metrics.set_rebuild(Some(RebuildProgress { started_ms: 1, compared: 4, placed: 2, owed: 9 }));
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for line in [
            "keepwell_lane_waiting{lane=\"standard\"} 7\n",
            "keepwell_lane_running{lane=\"standard\"} 2\n",
            "keepwell_lane_later{lane=\"standard\"} 1\n",
            "keepwell_lane_paused{lane=\"standard\"} 1\n",
            "keepwell_lane_oldest_waiting_seconds{lane=\"standard\"} 1.5\n",
            "keepwell_rebuild_compared 4\n",
            "keepwell_rebuild_owed 9\n",
            "keepwell_ledger_jobs{state=\"owed\"} 10\n",
            "keepwell_ledger_jobs{state=\"dead\"} 3\n",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }
}
