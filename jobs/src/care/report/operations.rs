//! The operations report: how much was done, what failed and how often it was tried again, what is dead, what was
//! slowest, and whether what is to appear by itself appears.

use std::collections::BTreeMap;

use keepwell_workers::clock::UnixMs;
use serde::{Deserialize, Serialize};

use super::{
    charts::{LaneSeries, lanes},
    crisis::ReportPeriod,
    operations_facts::{OperationsFacts, ScheduleFact},
    period::Period,
};
use crate::care::document::UtcTime;

/// Errors, slow jobs and dead jobs that are listed, at most, each.
pub const LISTED_MAX: usize = 20;

/// How long a tick may wait to be decided on before its schedule is late, in milliseconds.
pub const SCHEDULE_LATE_MS: i64 = 5 * 60_000;

/// The report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OperationsReport {
    /// The time it is about: the jobs that were recorded in it.
    pub report_period: ReportPeriod,
    /// When it was made.
    pub generated_at: String,
    /// All jobs, by what has become of them.
    pub volumes: BTreeMap<String, u64>,
    /// Jobs by lane and part of the period.
    pub lanes: Vec<LaneSeries>,
    /// By kind, the most numerous first.
    pub kinds: Vec<KindFigures>,
    /// The most frequent errors.
    pub errors: Vec<ErrorFigures>,
    /// The jobs that took longest from recording to the end.
    pub slowest: Vec<SlowJob>,
    /// The newest jobs that are dead.
    pub dead: Vec<DeadJob>,
    /// How schedules stood when the report was made.
    pub schedules: Vec<ScheduleHealth>,
    /// What nobody can say, and why.
    pub not_measured: Vec<String>,
}

/// The jobs of one kind.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KindFigures {
    /// Which.
    pub kind: String,
    /// All of them.
    pub recorded: u64,
    /// By what has become of them.
    pub states: BTreeMap<String, u64>,
    /// Runs that failed: tried again, given up, or ended with their worker.
    pub failures: u64,
    /// Of these, runs that were tried again because of an error.
    pub retries: u64,
    /// Of these, runs whose worker died.
    pub crashes: u64,
    /// From recording to `done`, the mean, in milliseconds.
    pub average_ms: Option<f64>,
}

/// An error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ErrorFigures {
    /// The kind of the jobs.
    pub kind: String,
    /// What went wrong; errors hold nothing about a person.
    pub error: String,
    /// Runs that ended so.
    pub count: u64,
}

/// A job that took long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SlowJob {
    /// Which.
    pub job: String,
    /// Its kind.
    pub kind: String,
    /// Its lane.
    pub lane: String,
    /// What has become of it.
    pub state: String,
    /// From recording to the end, in milliseconds: what it waited, by intent too, is in it.
    pub took_ms: u64,
}

/// A job that is dead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeadJob {
    /// Which.
    pub job: String,
    /// Its kind.
    pub kind: String,
    /// Its lane.
    pub lane: String,
    /// Runs that have ended.
    pub attempts: u64,
    /// What went wrong last.
    pub error: Option<String>,
}

/// How a schedule stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScheduleHealth {
    /// What it is called.
    pub name: String,
    /// `on_time`, `held_back` (it leaves out its ticks, because the job of an earlier one is still owed), `late`,
    /// `paused` or `unseen` (no process has ticked it yet).
    pub health: String,
    /// The last tick that fired, RFC 3339.
    pub last_tick: Option<String>,
    /// The first tick that is not decided on, RFC 3339.
    pub next_tick: Option<String>,
    /// For how long that has been waiting, in milliseconds.
    pub overdue_ms: u64,
    /// Ticks that have fired, ever.
    pub fired: u64,
    /// Ticks that were left out, ever.
    pub skipped: u64,
}

impl OperationsReport {
    /// What `facts` amount to.
    pub fn of(facts: &OperationsFacts) -> Self {
        let Period { from_ms, to_ms } = facts.period;
        let mut volumes: BTreeMap<String, u64> =
            ["done", "owed", "dead", "cancelled"].map(|state| (state.to_owned(), 0)).into();
        for fact in &facts.kinds {
            *volumes.entry(fact.state.to_owned()).or_default() += fact.count;
        }
        let mut errors = facts.errors.clone();
        errors.sort_by(|one, other| {
            (other.count, &one.kind, &one.error).cmp(&(one.count, &other.kind, &other.error))
        });
        errors.truncate(LISTED_MAX);
        let mut slowest = facts.slowest.clone();
        slowest.sort_by(|one, other| (other.took_ms, &one.job).cmp(&(one.took_ms, &other.job)));
        slowest.truncate(LISTED_MAX);
        let mut dead = facts.dead.clone();
        dead.truncate(LISTED_MAX);
        Self {
            report_period: ReportPeriod {
                start_date: UtcTime(from_ms).to_rfc3339(),
                end_date: UtcTime(to_ms).to_rfc3339(),
            },
            generated_at: UtcTime(facts.as_of_ms).to_rfc3339(),
            volumes,
            lanes: lanes(facts.period, &facts.lanes),
            kinds: kinds(facts),
            errors,
            slowest,
            dead,
            schedules: facts.schedules.iter().map(|fact| health(fact, facts.as_of_ms)).collect(),
            not_measured: not_measured(facts),
        }
    }
}

fn kinds(facts: &OperationsFacts) -> Vec<KindFigures> {
    let mut by_kind: BTreeMap<&str, (KindFigures, u64)> = BTreeMap::new();
    for fact in &facts.kinds {
        let (of, took_ms) = by_kind.entry(&fact.kind).or_default();
        of.recorded += fact.count;
        *of.states.entry(fact.state.to_owned()).or_default() += fact.count;
        if fact.state == "done" {
            *took_ms += fact.took_ms;
        }
    }
    for run in &facts.runs {
        let (of, _) = by_kind.entry(&run.kind).or_default();
        match run.outcome.as_str() {
            "retry" => of.retries += run.count,
            "crashed" => of.crashes += run.count,
            "dead" => {}
            // A snooze, a cancellation and a release are no failures.
            _ => continue,
        }
        of.failures += run.count;
    }
    let figures = |(kind, (of, took_ms)): (&str, (KindFigures, u64))| {
        let done = of.states.get("done").copied().unwrap_or(0);
        let average_ms = (done > 0).then(|| took_ms as f64 / done as f64);
        KindFigures { kind: kind.to_owned(), average_ms, ..of }
    };
    let mut kinds: Vec<KindFigures> = by_kind.into_iter().map(figures).collect();
    kinds.sort_by_key(|of| std::cmp::Reverse(of.recorded));
    kinds
}

fn health(fact: &ScheduleFact, now_ms: UnixMs) -> ScheduleHealth {
    let overdue_ms = fact.next_tick_ms.map_or(0, |next_ms| now_ms.saturating_sub(next_ms).max(0));
    let (health, overdue_ms) = match fact {
        ScheduleFact { known: false, .. } => ("unseen", 0),
        ScheduleFact { paused: true, .. } => ("paused", 0),
        _ if overdue_ms > SCHEDULE_LATE_MS => ("late", overdue_ms),
        ScheduleFact { held_back: true, .. } => ("held_back", overdue_ms),
        _ => ("on_time", overdue_ms),
    };
    let instant = |ms: Option<UnixMs>| ms.map(|ms| UtcTime(ms).to_rfc3339());
    ScheduleHealth {
        name: fact.name.clone(),
        health: health.to_owned(),
        last_tick: instant(fact.last_tick_ms),
        next_tick: instant(fact.next_tick_ms),
        overdue_ms: u64::try_from(overdue_ms).unwrap_or(0),
        fired: fact.fired,
        skipped: fact.skipped,
    }
}

fn not_measured(facts: &OperationsFacts) -> Vec<String> {
    let mut reasons = Vec::new();
    let since_ms = facts.ledger_since_ms;
    if since_ms > facts.period.from_ms {
        let since = UtcTime(since_ms).to_rfc3339();
        reasons.push(format!(
            "jobs that were finished before {since}: they are not kept for longer (`retention.done_days`)"
        ));
    }
    if facts.errors_cut {
        reasons.push("rare errors of hours in which there were more than fifty different ones".to_owned());
    }
    reasons.push(
        "work that lives in the lanes alone, such as wake-ups: the ledger does not know of it".to_owned(),
    );
    reasons
}

#[cfg(test)]
mod tests {
    use super::{
        super::operations_facts::{KindFact, RunFact},
        *,
    };

    const AS_OF_MS: i64 = 1_700_000_000_000;

    fn facts() -> OperationsFacts {
        let period = Period { from_ms: AS_OF_MS - 86_400_000, to_ms: AS_OF_MS };
        let of =
            |kind: &str, state, count, took_ms| KindFact { kind: kind.to_owned(), state, count, took_ms };
        let run = |kind: &str, outcome: &str, count| RunFact {
            kind: kind.to_owned(),
            outcome: outcome.to_owned(),
            count,
        };
        let error = |kind: &str, error: &str, count| ErrorFigures {
            kind: kind.to_owned(),
            error: error.to_owned(),
            count,
        };
        let slow = |n: u64| SlowJob {
            job: format!("job {n}"),
            kind: "b".to_owned(),
            lane: "standard".to_owned(),
            state: "done".to_owned(),
            took_ms: n,
        };
        OperationsFacts {
            period,
            as_of_ms: AS_OF_MS,
            ledger_since_ms: 0,
            lanes: Vec::new(),
            kinds: vec![
                of("a", "done", 4, 10),
                of("b", "done", 5, 50),
                of("b", "dead", 1, 900),
                of("b", "done", 5, 10),
            ],
            runs: vec![
                run("b", "retry", 7),
                run("b", "dead", 1),
                run("b", "crashed", 2),
                run("a", "snooze", 9),
            ],
            errors: vec![error("b", "late", 2), error("b", "away", 5), error("a", "late", 2)],
            errors_cut: false,
            slowest: (0..30).map(slow).collect(),
            dead: Vec::new(),
            schedules: Vec::new(),
        }
    }

    #[test]
    fn jobs_failures_and_retries_are_counted_by_kind() {
        let report = OperationsReport::of(&facts());
        let expected = [("cancelled", 0), ("dead", 1), ("done", 14), ("owed", 0)];
        let volumes: Vec<_> = report.volumes.iter().map(|(state, count)| (state.as_str(), *count)).collect();
        assert_eq!(volumes, expected);
        let b = &report.kinds[0];
        assert_eq!((b.kind.as_str(), b.recorded, b.average_ms), ("b", 11, Some(6.0)));
        assert_eq!((b.failures, b.retries, b.crashes), (10, 7, 2));
        let a = &report.kinds[1];
        assert_eq!((a.failures, a.average_ms), (0, Some(2.5)), "a snooze is no failure");
        let errors: Vec<_> = report.errors.iter().map(|it| (it.kind.as_str(), it.error.as_str())).collect();
        assert_eq!(errors, [("b", "away"), ("a", "late"), ("b", "late")], "the most frequent first");
        assert_eq!((report.slowest.len(), report.slowest[0].took_ms), (LISTED_MAX, 29));
        assert_eq!(report.not_measured.len(), 1);
        let all = OperationsFacts { ledger_since_ms: facts().period.from_ms, ..facts() };
        assert_eq!(OperationsReport::of(&all).not_measured.len(), 1);
        let dead = KindFact { kind: "c".to_owned(), state: "dead", count: 20, took_ms: 9 };
        let report = OperationsReport::of(&OperationsFacts { kinds: vec![dead], ..facts() });
        assert_eq!((report.kinds[0].recorded, report.kinds[0].average_ms), (20, None), "none was done");
        let short = OperationsFacts { ledger_since_ms: AS_OF_MS - 5, errors_cut: true, ..facts() };
        assert_eq!(OperationsReport::of(&short).not_measured.len(), 3);
    }

    #[test]
    fn a_schedule_is_late_when_nobody_decides_on_its_tick() {
        let schedule = |next_ago_ms: i64, paused, known| ScheduleFact {
            name: "x".to_owned(),
            last_tick_ms: None,
            next_tick_ms: Some(AS_OF_MS - next_ago_ms),
            fired: 1,
            skipped: 2,
            paused,
            held_back: false,
            known,
        };
        let held_back = |fact: ScheduleFact| ScheduleFact { held_back: true, ..fact };
        for (fact, expected) in [
            (schedule(-1_000, false, true), ("on_time", 0)),
            (held_back(schedule(-1_000, false, true)), ("held_back", 0)),
            (held_back(schedule(SCHEDULE_LATE_MS + 1, false, true)), ("late", 300_001)),
            (held_back(schedule(0, true, true)), ("paused", 0)),
            (schedule(SCHEDULE_LATE_MS, false, true), ("on_time", 300_000)),
            (schedule(SCHEDULE_LATE_MS + 1, false, true), ("late", 300_001)),
            (schedule(SCHEDULE_LATE_MS + 1, true, true), ("paused", 0)),
            (schedule(SCHEDULE_LATE_MS + 1, false, false), ("unseen", 0)),
        ] {
            let report = OperationsReport::of(&OperationsFacts { schedules: vec![fact.clone()], ..facts() });
            let of = &report.schedules[0];
            assert_eq!((of.health.as_str(), of.overdue_ms), expected, "{fact:?}");
        }
    }
}
