//! Whether the monitors themselves run, in the form that Prometheus reads: what watches must be watched.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError, atomic::AtomicU64},
};

use keepwell_workers::clock::{SharedClock, UnixMs};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};

/// What watches (003: crisis monitoring).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
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
    /// Which grace periods have ended, or end soon.
    Graces,
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
            Monitor::Graces => "graces",
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
    silences: Family<MonitorLabels, Gauge<f64, AtomicU64>>,
    known: Mutex<BTreeMap<Monitor, Known>>,
    clock: SharedClock,
}

/// What is known of a monitor that runs in this process.
#[derive(Debug, Clone, Copy)]
struct Known {
    every_ms: i64,
    success_ms: UnixMs,
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
        let (runs, successes) = (Family::default(), Family::default());
        let (wrong, silences) = (Family::default(), Family::default());
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
        registry.register(
            "monitor_silence_intervals",
            "How many times over the time between two looks of a monitor has passed since it last could look",
            Family::clone(&silences),
        );
        Self { runs, successes, wrong, silences, known: Mutex::default(), clock }
    }

    /// `monitor` runs in this process from now on, and looks every `every_ms`. That counts as its first success, with
    /// nothing found: an alert on the time since then needs no exception for a process that was just started.
    pub fn starts(&self, monitor: Monitor, every_ms: i64) {
        for looked in [Looked::Well, Looked::Wrong, Looked::Failed] {
            _ = self.runs.get_or_create(&run(monitor, looked));
        }
        let known = Known { every_ms: every_ms.max(1), success_ms: self.clock.now_ms() };
        self.lock().insert(monitor, known);
        self.succeeds(monitor, false);
    }

    /// Counts for how long each of them has been silent, for whoever reads the metrics now: one that hangs, or is no
    /// more, cannot count that itself.
    pub(super) fn look(&self) {
        let now_ms = self.clock.now_ms();
        for (monitor, Known { every_ms, success_ms }) in &*self.lock() {
            let silent_ms = now_ms.saturating_sub(*success_ms).max(0);
            let labels = MonitorLabels { monitor: monitor.name() };
            self.silences.get_or_create(&labels).set(silent_ms as f64 / *every_ms as f64);
        }
    }

    /// `monitor` looks, and is not through: a look that takes longer than its interval is no silence.
    pub fn goes_on(&self, monitor: Monitor) {
        self.was_there(monitor);
    }

    /// `monitor` has looked.
    pub fn ran(&self, monitor: Monitor, looked: Looked) {
        self.runs.get_or_create(&run(monitor, looked)).inc();
        if looked != Looked::Failed {
            self.succeeds(monitor, looked == Looked::Wrong);
        }
    }

    fn succeeds(&self, monitor: Monitor, is_wrong: bool) {
        let now_ms = self.was_there(monitor);
        let labels = MonitorLabels { monitor: monitor.name() };
        self.successes.get_or_create(&labels).set(now_ms / 1_000);
        self.wrong.get_or_create(&labels).set(i64::from(is_wrong));
    }

    fn was_there(&self, monitor: Monitor) -> UnixMs {
        let now_ms = self.clock.now_ms();
        if let Some(known) = self.lock().get_mut(&monitor) {
            known.success_ms = now_ms;
        }
        now_ms
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Monitor, Known>> {
        // Nothing that is done under it can be interrupted halfway.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
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
        runs.starts(Monitor::Access, 30_000);
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
        runs.starts(Monitor::Health, 300_000);
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

    #[test]
    fn a_monitor_that_hangs_or_is_no_more_is_silent_by_its_own_measure() {
        let (mut registry, clock) = (Registry::with_prefix("keepwell"), ManualClock::at(1_000_000));
        let runs = MonitorRuns::register(&mut registry, clock.clone());
        let silence = |monitor: &str| {
            runs.look();
            let mut text = String::new();
            encode(&mut text, &registry).unwrap();
            let series = format!("keepwell_monitor_silence_intervals{{monitor=\"{monitor}\"}} ");
            text.lines().find_map(|line| line.strip_prefix(&series)?.parse::<f64>().ok())
        };
        assert_eq!(silence("compliance"), None, "it does not run in this process");
        runs.starts(Monitor::Compliance, 3_600_000);
        runs.starts(Monitor::Access, 30_000);
        clock.advance_ms(4 * 3_600_000);
        runs.ran(Monitor::Access, Looked::Wrong);
        runs.ran(Monitor::Compliance, Looked::Failed);
        assert_eq!((silence("compliance"), silence("access")), (Some(4.0), Some(0.0)));
        runs.ran(Monitor::Compliance, Looked::Well);
        clock.advance_ms(45_000);
        assert_eq!(silence("access"), Some(1.5));
        runs.goes_on(Monitor::Access);
        assert_eq!(silence("access"), Some(0.0), "its look takes long");
        clock.advance_ms(-3_600_000);
        assert_eq!(silence("access"), Some(0.0), "a clock that was set back makes nobody silent");
    }
}
