//! What the charts of a report show, as numbers.

use std::collections::BTreeMap;

use keepwell_workers::state::State;
use serde::{Deserialize, Serialize};

use super::{
    facts::{CrisisFact, GraceFact, LaneFact, ReportFacts},
    latency::{Bucket, spread},
    period::Period,
};
use crate::care::{document::UtcTime, grace::GraceReason, severity::Severity};

/// The charts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Charts {
    /// How long answers took.
    pub latency: Vec<Bucket>,
    /// Crises and what went wrong with them, by part of the period.
    pub timeline: Vec<TimelinePart>,
    /// What became of grace periods, by reason.
    pub grace: Vec<GraceFunnel>,
    /// Jobs by lane and part of the period.
    pub lanes: Vec<LaneSeries>,
}

/// A part of the period.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TimelinePart {
    /// When it begins, RFC 3339.
    pub start: String,
    /// Crises that came in it.
    pub crises: u64,
    /// Of these, those that were answered late or not at all, by severity.
    pub violations: BTreeMap<String, u64>,
}

/// What became of the grace periods of one reason. Each number is a part of the one before it, save for the last two.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GraceFunnel {
    /// Why they began.
    pub reason: String,
    /// How many began.
    pub started: u64,
    /// Of these, those that are over.
    pub over: u64,
    /// Of these, those whose end came and was seen to: care went on as something else allowed, or ended.
    pub closed: u64,
    /// Of those that began, those that are still running.
    pub running: u64,
    /// The longest of them, in days, a started one counted.
    pub longest_days: i64,
}

/// The jobs of one lane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LaneSeries {
    /// The lane.
    pub lane: String,
    /// Jobs that were recorded, by part of the period.
    pub recorded: Vec<u64>,
    /// Of these, those that were done when the report was made. Reports that were made before this was told have none.
    #[serde(default)]
    pub done: Vec<u64>,
    /// All of them, by what has become of them.
    pub states: BTreeMap<String, u64>,
}

impl Charts {
    /// What the charts show of `facts`.
    pub fn of(facts: &ReportFacts) -> Self {
        let known: Vec<&CrisisFact> =
            facts.crises.iter().filter(|crisis| !crisis.is_pending(facts.as_of_ms)).collect();
        Self {
            latency: spread(known.iter().filter_map(|crisis| crisis.took_us())),
            timeline: timeline(facts, &known),
            grace: GraceReason::ALL.map(|reason| funnel(facts, reason)).into(),
            lanes: lanes(facts.period, &facts.lanes),
        }
    }
}

fn timeline(facts: &ReportFacts, crises: &[&CrisisFact]) -> Vec<TimelinePart> {
    let parts = facts.period.parts().into_iter();
    let empty = || Severity::ALL.map(|severity| (severity.name().to_owned(), 0)).into();
    let mut parts: Vec<TimelinePart> = parts
        .map(|part| TimelinePart {
            start: UtcTime(part.from_ms).to_rfc3339(),
            crises: 0,
            violations: empty(),
        })
        .collect();
    for crisis in crises {
        let Some(part) = facts.period.part_of(crisis.came_ms).and_then(|part| parts.get_mut(part)) else {
            continue;
        };
        part.crises += 1;
        if !crisis.is_in_time() {
            *part.violations.entry(crisis.severity.name().to_owned()).or_default() += 1;
        }
    }
    parts
}

fn funnel(facts: &ReportFacts, reason: GraceReason) -> GraceFunnel {
    const DAY_MS: i64 = crate::care::grace::DAY_MS;
    let of: Vec<&GraceFact> = facts.graces.iter().filter(|grace| grace.reason == reason).collect();
    let is_over = |grace: &&&GraceFact| grace.closed || grace.ends_ms <= facts.as_of_ms;
    let over = of.iter().filter(is_over).count() as u64;
    let days = |grace: &&GraceFact| (grace.ends_ms - grace.started_ms + DAY_MS - 1) / DAY_MS;
    GraceFunnel {
        reason: reason.name().to_owned(),
        started: of.len() as u64,
        over,
        closed: of.iter().filter(|grace| grace.closed).count() as u64,
        running: of.len() as u64 - over,
        longest_days: of.iter().map(days).max().unwrap_or(0),
    }
}

/// The jobs of `period` by lane.
pub(super) fn lanes(period: Period, facts: &[LaneFact]) -> Vec<LaneSeries> {
    let parts = period.parts().len();
    let mut series: Vec<LaneSeries> = Vec::new();
    for fact in facts {
        let place = series.iter().position(|known| known.lane == fact.lane).unwrap_or_else(|| {
            let states = BTreeMap::new();
            let lane = fact.lane.to_owned();
            series.push(LaneSeries { lane, recorded: vec![0; parts], done: vec![0; parts], states });
            series.len() - 1
        });
        let of = &mut series[place];
        if let Some(recorded) = of.recorded.get_mut(fact.part) {
            *recorded += fact.count;
        }
        if let Some(done) = of.done.get_mut(fact.part).filter(|_| fact.state == State::Done.name()) {
            *done += fact.count;
        }
        *of.states.entry(fact.state.to_owned()).or_default() += fact.count;
    }
    series
}
