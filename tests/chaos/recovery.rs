//! How long it took until what a fault had interrupted was done, from the history.

use std::collections::HashMap;

use super::history::{History, Ms, Span};

/// Times of one kind, in milliseconds.
#[derive(Debug, Clone)]
pub struct Recovery {
    pub what: &'static str,
    /// What the project promises; `None` where it promises nothing.
    pub limit_ms: Option<f64>,
    times_ms: Vec<f64>,
}

impl Recovery {
    fn new(what: &'static str, limit_ms: Option<f64>, mut times_ms: Vec<f64>) -> Self {
        times_ms.sort_by(f64::total_cmp);
        Self { what, limit_ms, times_ms }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.times_ms.len()
    }

    /// The time that so many in a hundred did not exceed.
    pub fn percentile(&self, percent: usize) -> f64 {
        let place = (self.times_ms.len() * percent).div_ceil(100).max(1) - 1;
        self.times_ms.get(place).copied().unwrap_or(0.0)
    }
}

/// Everything that can be measured; kinds that did not occur are left out.
pub fn measure(history: &History) -> Vec<Recovery> {
    let finished: HashMap<&str, Ms> =
        history.rows.iter().filter_map(|row| Some((row.key.as_str(), row.finished_ms?))).collect();
    let jobs: Vec<(Ms, Ms)> = history
        .events
        .iter()
        .filter_map(|event| Some((event.taken_ms?, *finished.get(event.key.as_str())?)))
        .collect();
    let troubles = &history.troubles;
    let absent: Vec<Span> = troubles.absences.clone();
    let (away, there): (Vec<_>, Vec<_>) = history.canaries.iter().partition(|canary| {
        let pressed = Span { from_ms: canary.sent_ms, until_ms: canary.sent_ms };
        troubles.redis_away.iter().any(|away| away.touches(&pressed))
    });
    let latencies = |canaries: &[&super::history::Canary]| {
        canaries.iter().map(|canary| canary.seen_after_ms).collect::<Vec<f64>>()
    };
    let kinds = [
        Recovery::new(
            "node gone -> done elsewhere",
            Some(15_000.0),
            after(&absent, &jobs, |gone| gone.from_ms),
        ),
        Recovery::new(
            "restarted -> done",
            None,
            after(&troubles.restarts, &jobs, |restart| restart.until_ms),
        ),
        Recovery::new("redis back -> done", None, after(&troubles.redis_away, &jobs, |away| away.until_ms)),
        Recovery::new("crisis seen, redis away", Some(200.0), latencies(&away)),
        Recovery::new("crisis seen, redis there", None, latencies(&there)),
    ];
    kinds.into_iter().filter(|kind| kind.count() > 0).collect()
}

/// For every job that was taken before one of `faults` and not done when it began: from `moment` to its end, or to the
/// next fault of the kind, if that interrupted it again.
fn after(faults: &[Span], jobs: &[(Ms, Ms)], moment: impl Fn(&Span) -> Ms) -> Vec<f64> {
    let mut times = Vec::new();
    for (number, fault) in faults.iter().enumerate() {
        let next_ms = faults.get(number + 1).map_or(Ms::MAX, |next| next.from_ms);
        let interrupted = jobs
            .iter()
            .filter(|(taken_ms, finished_ms)| taken_ms <= &fault.from_ms && finished_ms > &fault.from_ms);
        let ended = interrupted.map(|(_, finished_ms)| (*finished_ms).min(next_ms));
        times.extend(ended.map(|ended_ms| (ended_ms - moment(fault)).max(0) as f64));
    }
    times
}

#[test]
fn percentiles_are_times_that_were_measured() {
    let recovery = Recovery::new("", None, (1..=200).map(f64::from).collect());
    assert_eq!([50, 99, 100].map(|percent| recovery.percentile(percent)), [100.0, 198.0, 200.0]);
    assert_eq!(Recovery::new("", None, vec![7.0]).percentile(50), 7.0);
}

#[test]
fn only_what_a_fault_interrupted_is_measured_and_only_until_the_next_one() {
    let faults = [Span { from_ms: 10, until_ms: 20 }, Span { from_ms: 100, until_ms: 110 }];
    // Done before; taken after; interrupted once; interrupted twice.
    let jobs = [(1, 9), (11, 30), (5, 45), (6, 130)];
    assert_eq!(after(&faults, &jobs, |fault| fault.until_ms), [25.0, 80.0, 20.0]);
}
