//! How long it took until what a fault had interrupted was done, from the history.

use std::collections::{HashMap, HashSet};

use super::history::{Canary, Death, History, Ms, Row, Span};

/// Times of one kind, in milliseconds.
#[derive(Debug, Clone)]
pub struct Recovery {
    pub what: &'static str,
    /// What the project promises; `None` where it promises nothing.
    pub limit_ms: Option<f64>,
    times_ms: Vec<f64>,
    /// How many of them the next death ended, and not the job.
    pub cut_off: usize,
}

impl Recovery {
    fn new(what: &'static str, limit_ms: Option<f64>, mut times_ms: Vec<f64>) -> Self {
        times_ms.sort_by(f64::total_cmp);
        Self { what, limit_ms, times_ms, cut_off: 0 }
    }

    fn in_hands(what: &'static str, limit_ms: Option<f64>, (times_ms, cut_off): (Vec<f64>, usize)) -> Self {
        Self { cut_off, ..Self::new(what, limit_ms, times_ms) }
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
    let troubles = &history.troubles;
    let waited = |canary: &Canary| {
        let until_ms = canary.sent_ms + canary.seen_after_ms as Ms;
        Span { from_ms: canary.sent_ms, until_ms }
    };
    let (down, up): (Vec<&Canary>, Vec<&Canary>) = history
        .canaries
        .iter()
        .partition(|canary| troubles.down.iter().any(|(_, down)| down.touches(&waited(canary))));
    let (away, there): (Vec<&Canary>, Vec<&Canary>) = up
        .into_iter()
        .partition(|canary| troubles.redis_away.iter().any(|away| away.touches(&waited(canary))));
    let latencies = |canaries: &[&Canary]| canaries.iter().map(|canary| canary.seen_after_ms).collect();
    let [elsewhere, suspects_elsewhere] = in_hands(&troubles.absences, &history.rows, |gone| gone.from_ms);
    let [again, suspects_again] = in_hands(&troubles.restarts, &history.rows, |gone| gone.until_ms);
    let kinds = [
        Recovery::in_hands("daemon gone -> its jobs done", Some(15_000.0), elsewhere),
        Recovery::in_hands("gone again -> suspects done", None, suspects_elsewhere),
        Recovery::in_hands("daemon back -> its jobs done", Some(1_000.0), again),
        Recovery::in_hands("back again -> suspects done", None, suspects_again),
        Recovery::new("redis back -> next job done", None, next_after(&troubles.redis_away, history)),
        Recovery::new("crisis seen, redis away", Some(200.0), latencies(&away)),
        Recovery::new("crisis seen, redis there", None, latencies(&there)),
        Recovery::new("crisis seen, daemon down", None, latencies(&down)),
    ];
    kinds.into_iter().filter(|kind| kind.count() > 0).collect()
}

/// For every job that a daemon had in its hands as it died: from `moment` to the job's end, or to the next death, if
/// that came before, and how often it did. Those that an earlier death had interrupted as well come second: they are
/// suspected of killing whoever runs them, and wait until nobody has died for a while.
fn in_hands(deaths: &[Death], rows: &[Row], moment: impl Fn(&Span) -> Ms) -> [(Vec<f64>, usize); 2] {
    let finished: HashMap<&str, Ms> =
        rows.iter().filter_map(|row| Some((row.id.as_str(), row.finished_ms?))).collect();
    let mut interrupted = HashSet::new();
    let mut kinds = [(Vec::new(), 0), (Vec::new(), 0)];
    for (number, death) in deaths.iter().enumerate() {
        let next_ms = deaths.get(number + 1).map_or(Ms::MAX, |next| next.span.from_ms);
        for id in &death.claimed {
            // Some were done, and only the lanes had not been told.
            let Some(ended_ms) = finished.get(id.as_str()).filter(|ended_ms| **ended_ms > death.span.from_ms)
            else {
                continue;
            };
            let (times, cut_off) = &mut kinds[usize::from(!interrupted.insert(id.as_str()))];
            *cut_off += usize::from(*ended_ms > next_ms);
            times.push(((*ended_ms).min(next_ms) - moment(&death.span)).max(0) as f64);
        }
    }
    kinds
}

/// For every fault: from its end to the next end of a job that had been taken before it and is no crisis.
fn next_after(faults: &[Span], history: &History) -> Vec<f64> {
    let taken: HashMap<&str, Ms> =
        history.events.iter().filter_map(|event| Some((event.key.as_str(), event.taken_ms?))).collect();
    let next = |fault: &Span| {
        let waiting = history.rows.iter().filter(|row| {
            row.lane != "crisis"
                && taken.get(row.key.as_str()).is_some_and(|taken_ms| *taken_ms <= fault.until_ms)
        });
        let ended =
            waiting.filter_map(|row| row.finished_ms).filter(|finished_ms| *finished_ms > fault.until_ms);
        Some((ended.min()? - fault.until_ms) as f64)
    };
    faults.iter().filter_map(next).collect()
}

#[test]
#[allow(clippy::float_cmp)] // They are taken, not calculated.
fn percentiles_are_times_that_were_measured() {
    let recovery = Recovery::new("", None, (1..=200).map(f64::from).collect());
    let percentiles = [50, 99, 100].map(|percent| recovery.percentile(percent) as u32);
    assert_eq!(percentiles, [100, 198, 200]);
    assert_eq!(Recovery::new("", None, vec![7.0]).percentile(50) as u32, 7);
}

#[test]
fn only_what_a_daemon_had_in_its_hands_is_measured_and_only_until_the_next_death() {
    let row = |id: &str, finished_ms| Row {
        id: id.into(),
        key: id.into(),
        state: "done".into(),
        lane: "realtime".into(),
        subject: None,
        attempts: 1,
        failed: 0,
        finished_ms: Some(finished_ms),
    };
    let death = |from_ms, claimed: &[&str]| Death {
        span: Span { from_ms, until_ms: from_ms + 10 },
        claimed: claimed.iter().map(ToString::to_string).collect(),
    };
    let deaths = [death(10, &["told late", "once", "twice"]), death(100, &["twice"])];
    let rows = [row("told late", 9), row("once", 45), row("twice", 130), row("free", 60)];
    assert_eq!(in_hands(&deaths, &rows, |death| death.until_ms), [(vec![25.0, 80.0], 1), (vec![20.0], 0)]);
}
