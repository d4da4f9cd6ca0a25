//! Whether the monitors themselves run, in the form that Prometheus reads: what watches must be watched.

use keepwell_workers::clock::SharedClock;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};

/// What watches (003: crisis monitoring).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Monitor {
    /// Sends a crisis of nobody and measures its answer.
    Canary,
    /// How crises were answered of late.
    Responses,
    /// Whether everybody in need has what that calls for.
    Access,
    /// Whether a crisis would be answered.
    Health,
    /// The figures of the compliance report.
    Compliance,
}

impl Monitor {
    /// Its name in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Monitor::Canary => "canary",
            Monitor::Responses => "responses",
            Monitor::Access => "access",
            Monitor::Health => "health",
            Monitor::Compliance => "compliance",
        }
    }
}

/// How a look ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Looked {
    /// All is as it should be.
    Well,
    /// Something is not.
    Wrong,
    /// Nobody knows: it could not be looked.
    Failed,
}

impl Looked {
    /// Its name in metrics.
    const fn name(self) -> &'static str {
        match self {
            Looked::Well => "ok",
            Looked::Wrong => "wrong",
            Looked::Failed => "failed",
        }
    }
}

/// The runs of the monitors of this process.
#[derive(Debug)]
pub struct MonitorRuns {
    runs: Family<RunLabels, Counter>,
    successes: Family<MonitorLabels, Gauge>,
    wrong: Family<MonitorLabels, Gauge>,
    clock: SharedClock,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RunLabels {
    monitor: &'static str,
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MonitorLabels {
    monitor: &'static str,
}

impl MonitorRuns {
    pub(super) fn register(registry: &mut Registry, clock: SharedClock) -> Self {
        let (runs, successes, wrong) = (Family::default(), Family::default(), Family::default());
        registry.register("monitor_runs", "Looks of the monitors of this process", Family::clone(&runs));
        registry.register_with_unit(
            "monitor_last_success_timestamp",
            "When a monitor of this process last could look, whatever it saw; at first, when it was started",
            Unit::Seconds,
            Family::clone(&successes),
        );
        registry.register(
            "monitor_wrong",
            "1 if something was not as it should be when a monitor of this process last could look",
            Family::clone(&wrong),
        );
        Self { runs, successes, wrong, clock }
    }

    /// `monitor` runs in this process from now on. That counts as its first success, with nothing found: an alert on
    /// the time since then needs no exception for a process that was just started.
    pub fn starts(&self, monitor: Monitor) {
        for looked in [Looked::Well, Looked::Wrong, Looked::Failed] {
            _ = self.runs.get_or_create(&run(monitor, looked));
        }
        self.succeeds(monitor, false);
    }

    /// `monitor` has looked.
    pub fn ran(&self, monitor: Monitor, looked: Looked) {
        self.runs.get_or_create(&run(monitor, looked)).inc();
        if looked != Looked::Failed {
            self.succeeds(monitor, looked == Looked::Wrong);
        }
    }

    fn succeeds(&self, monitor: Monitor, is_wrong: bool) {
        let labels = MonitorLabels { monitor: monitor.name() };
        self.successes.get_or_create(&labels).set(self.clock.now_ms() / 1_000);
        self.wrong.get_or_create(&labels).set(i64::from(is_wrong));
    }
}

const fn run(monitor: Monitor, looked: Looked) -> RunLabels {
    RunLabels { monitor: monitor.name(), result: looked.name() }
}

#[cfg(test)]
mod tests {
    use keepwell_workers::clock::ManualClock;
    use prometheus_client::encoding::text::encode;

    use super::*;

    #[test]
    fn a_monitor_that_could_not_look_has_no_success_and_one_that_does_not_run_is_nowhere() {
        let (mut registry, clock) = (Registry::with_prefix("keepwell"), ManualClock::at(1_000_000));
        let runs = MonitorRuns::register(&mut registry, clock.clone());
        let text = |registry: &Registry| {
            let mut text = String::new();
            encode(&mut text, registry).unwrap();
            text
        };
        assert!(!text(&registry).contains("monitor="));
        runs.starts(Monitor::Access);
        clock.advance_ms(5_000);
        runs.ran(Monitor::Access, Looked::Failed);
        let success = "keepwell_monitor_last_success_timestamp_seconds{monitor=\"access\"}";
        assert!(text(&registry).contains(&format!("{success} 1000\n")), "{}", text(&registry));
        runs.ran(Monitor::Access, Looked::Wrong);
        let text = text(&registry);
        assert!(text.contains(&format!("{success} 1005\n")), "{text}");
        for (result, count) in [("ok", 0), ("wrong", 1), ("failed", 1)] {
            let line =
                format!("keepwell_monitor_runs_total{{monitor=\"access\",result=\"{result}\"}} {count}\n");
            assert!(text.contains(&line), "{line} in {text}");
        }
        assert!(!text.contains("monitor=\"canary\""));
    }
    #[test]
    fn what_a_monitor_found_stands_until_it_can_look_again() {
        let mut registry = Registry::with_prefix("keepwell");
        let runs = MonitorRuns::register(&mut registry, ManualClock::at(1_000_000));
        runs.starts(Monitor::Health);
        let mut is_wrong = vec![wrong(&registry)];
        for looked in [Looked::Wrong, Looked::Failed, Looked::Well] {
            runs.ran(Monitor::Health, looked);
            is_wrong.push(wrong(&registry));
        }
        assert_eq!(is_wrong, [false, true, true, false]);
    }

    fn wrong(registry: &Registry) -> bool {
        let mut text = String::new();
        encode(&mut text, registry).unwrap();
        text.contains("keepwell_monitor_wrong{monitor=\"health\"} 1\n")
    }
}
