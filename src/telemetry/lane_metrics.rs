//! How the lanes and the ledger stand, read when somebody asks for metrics. While the lanes cannot be read, nothing is
//! said of them but what is held up: what they were is no fact any more, and alerts go by it. What the ledger owes
//! keeps its last value.

use std::{
    fmt,
    sync::{Arc, Mutex as StdMutex, PoisonError, atomic::AtomicU64},
    time::Duration,
};

use keepwell_workers::{
    engine::Engine,
    lane::Lane,
    lanes::{LaneStats, NodeStats, RebuildProgress},
    ledger::LedgerTotals,
};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric},
    metrics::{
        MetricType,
        family::Family,
        gauge::{ConstGauge, Gauge},
    },
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
    nodes: Nodes,
    rebuild_compared: Gauge,
    rebuild_owed: Gauge,
    /// Held by whoever reads; everybody else makes do with the values there are.
    reading: Mutex<()>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabels {
    state: &'static str,
}

/// How many nodes there are; `None` while nobody knows.
#[derive(Debug, Clone, Default)]
struct Nodes(Arc<StdMutex<Option<i64>>>);

impl Nodes {
    fn set(&self, nodes: Option<i64>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = nodes;
    }
}

impl Collector for Nodes {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let nodes = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(nodes) = nodes else { return Ok(()) };
        let help = "Worker processes that share the lanes";
        ConstGauge::new(nodes).encode(encoder.encode_descriptor("nodes", help, None, MetricType::Gauge)?)
    }
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
            "How long the job in front of the lane has waited since its time had come",
            Unit::Seconds,
            metrics.oldest_waiting.clone(),
        );
        registry.register(
            "ledger_jobs",
            "Jobs in the ledger that are not finished",
            metrics.ledger_jobs.clone(),
        );
        registry.register_collector(Box::new(metrics.nodes.clone()));
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
    pub(crate) async fn read(&self, engine: &Engine) {
        let Ok(_reading) = self.reading.try_lock() else { return };
        self.set_rebuild(engine.lanes().rebuild_progress());
        let (stats, totals) = tokio::join!(
            timeout(READ_TIMEOUT, engine.standing()),
            timeout(READ_TIMEOUT, engine.ledger().totals())
        );
        if let Ok(Ok((lanes, nodes))) = stats {
            self.set_lanes(&lanes, &nodes);
        } else {
            self.forget_lanes();
            if let Ok(Ok(paused)) = timeout(READ_TIMEOUT, engine.paused()).await {
                self.set_paused(&paused);
            }
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
        self.nodes.set(Some(nodes.len() as i64));
    }

    fn set_paused(&self, paused: &[(Lane, String)]) {
        for lane in Lane::ALL {
            let is_paused = paused.iter().any(|(held_up, _)| *held_up == lane);
            self.paused.get_or_create(&LaneLabels::of(lane)).set(i64::from(is_paused));
        }
    }

    fn forget_lanes(&self) {
        // What was held up stays so unless the ledger says otherwise, which tells Redis as soon as that is back.
        for family in [&self.waiting, &self.running, &self.later] {
            family.clear();
        }
        self.oldest_waiting.clear();
        self.nodes.set(None);
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
    use keepwell_jobs::alerts::{rules, samples::Samples, threshold::Thresholds, watch::Watch};
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
            oldest: None,
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
            "keepwell_nodes 0\n",
            "keepwell_rebuild_compared 4\n",
            "keepwell_rebuild_owed 9\n",
            "keepwell_ledger_jobs{state=\"owed\"} 10\n",
            "keepwell_ledger_jobs{state=\"dead\"} 3\n",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }

    #[test]
    fn lanes_that_cannot_be_read_have_no_numbers_and_are_no_reason_for_an_alert() {
        let mut registry = Registry::with_prefix("keepwell");
        let metrics = LaneMetrics::register(&mut registry);
        let by_lanes = [&rules::NO_WORKERS, &rules::CRISIS_WAITING, &rules::CRISIS_LANE_PAUSED];
        let seen = || {
            let mut text = String::new();
            encode(&mut text, &registry).unwrap();
            let wrong = Watch::new(by_lanes, Thresholds::default(), 0).look(&Samples::read(&text), 0);
            (text, wrong.into_iter().map(|seen| seen.rule.name).collect::<Vec<_>>())
        };
        assert_eq!(seen().1, [""; 0], "nobody has ever read them");
        let crisis = LaneStats {
            lane: Lane::Crisis,
            paused: Some("a drill".to_owned()),
            waiting: 1,
            running: 0,
            later: 0,
            oldest: None,
            oldest_waiting_ms: Some(9_000),
        };
        metrics.set_lanes(&[crisis], &[]);
        assert_eq!(seen().1, ["NoWorkers", "CrisisWaiting", "CrisisLanePaused"]);
        metrics.set_totals(LedgerTotals { owed: 10, dead: 3 });
        metrics.forget_lanes();
        let (text, wrong) = seen();
        assert_eq!(wrong, ["CrisisLanePaused"], "a pause outlives redis");
        assert_eq!(text.matches("lane=").count(), 1, "{text}");
        assert!(text.contains("keepwell_ledger_jobs{state=\"dead\"} 3"), "{text}");
        metrics.set_paused(&[(Lane::Standard, "a bad release".to_owned())]);
        let (text, wrong) = seen();
        assert_eq!(wrong, [""; 0], "it was let go while redis was away");
        assert!(text.contains("keepwell_lane_paused{lane=\"standard\"} 1"), "{text}");
    }
}
