//! Holds the figures of one process against the rules, again and again: what is wrong for long enough is seen.

use std::collections::{BTreeMap, VecDeque};

use keepwell_workers::clock::UnixMs;

use super::{
    figure::{Figure, Growth, Series},
    rule::{Rule, When},
    samples::Samples,
    telling::ToldAlert,
    threshold::Thresholds,
};

/// How often counters are remembered, in milliseconds. Bounds what is remembered: an hour of it is 240 rows.
const REMEMBER_EVERY_MS: i64 = 15_000;

/// Alerts of one rule, at most.
const CAUSES_MAX: usize = 64;

/// Something that is wrong now.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// The rule.
    pub rule: &'static Rule,
    /// What it is about, where a rule has several; else empty.
    pub cause: String,
    /// The figure.
    pub value: Option<f64>,
    /// Whether it has been wrong for as long as its rule asks. Until then no alert is opened; one that is open stays.
    pub is_ripe: bool,
}

impl Seen {
    /// Whether that is what `alert` tells of.
    pub fn is_of(&self, alert: &ToldAlert) -> bool {
        self.rule.name == alert.rule && self.cause == alert.cause
    }
}

/// What one process has seen of its figures.
#[derive(Debug)]
pub struct Watch {
    rules: Vec<&'static Rule>,
    thresholds: Thresholds,
    counters: Vec<Series>,
    window_max_ms: i64,
    /// How the counters stood, the oldest first.
    past: VecDeque<(UnixMs, Vec<f64>)>,
    /// Since when what is wrong.
    since: BTreeMap<(&'static str, String), UnixMs>,
}

impl Watch {
    /// A watch over `rules`, with these bounds, that begins at `now_ms`, when every counter is 0: a process counts from
    /// its start.
    pub fn new(
        rules: impl IntoIterator<Item = &'static Rule>,
        thresholds: Thresholds,
        now_ms: UnixMs,
    ) -> Self {
        let rules: Vec<&Rule> = rules.into_iter().collect();
        let growths = rules.iter().flat_map(|rule| match &rule.when {
            When::Figure(figure, _) => figure.growths(),
            When::Told { .. } => Vec::new(),
        });
        let growths: Vec<Growth> = growths.collect();
        let mut counters: Vec<Series> = Vec::new();
        for series in growths.iter().flat_map(|growth| growth.plus.iter().chain(growth.minus)) {
            if !counters.contains(series) {
                counters.push(*series);
            }
        }
        let window_max_ms =
            growths.iter().map(|growth| i64::from(growth.window_s) * 1_000).max().unwrap_or(0);
        let past = VecDeque::from([(now_ms, vec![0.0; counters.len()])]);
        Self { rules, thresholds, counters, window_max_ms, past, since: BTreeMap::new() }
    }

    /// What is wrong at `now_ms`, by these `samples`.
    pub fn look(&mut self, samples: &Samples<'_>, now_ms: UnixMs) -> Vec<Seen> {
        let now: Vec<f64> = self.counters.iter().map(|series| samples.sum(series)).collect();
        let mut wrong = BTreeMap::new();
        let mut seen = Vec::new();
        for rule in &self.rules {
            let (When::Figure(figure, _), Some(bound)) = (&rule.when, self.thresholds.bound(rule)) else {
                continue;
            };
            for (cause, value) in self.values(figure, samples, &now, now_ms) {
                if !bound.is_broken_by(value) {
                    continue;
                }
                let key = (rule.name, cause.to_owned());
                // A clock that was set back must not make anything wait for the future.
                let since_ms = self.since.get(&key).map_or(now_ms, |since_ms| now_ms.min(*since_ms));
                let is_ripe = now_ms - since_ms >= i64::from(rule.for_s) * 1_000;
                seen.push(Seen { rule, cause: cause.to_owned(), value: Some(value), is_ripe });
                wrong.insert(key, since_ms);
            }
        }
        self.since = wrong;
        self.remember(now, now_ms);
        seen
    }

    fn values<'t>(
        &self,
        figure: &Figure,
        samples: &Samples<'t>,
        now: &[f64],
        now_ms: UnixMs,
    ) -> Vec<(&'t str, f64)> {
        let grown = |growth: &Growth| self.grown(growth, now, now_ms);
        let value = match figure {
            Figure::Highest { of, by: Some(label) } => return samples.highest_by(of, label, CAUSES_MAX),
            Figure::Highest { of, by: None } => samples.highest(of),
            Figure::Lowest(of) => samples.lowest(of),
            Figure::Growth(growth) => Some(grown(growth)),
            Figure::Share { part, of, at_least } => {
                let all = grown(of);
                (all >= *at_least && all > 0.0).then(|| grown(part) / all)
            }
            Figure::Ratio { part, of } => {
                let of = samples.highest(of).filter(|of| *of > 0.0);
                samples.highest(part).zip(of).map(|(part, of)| part / of)
            }
            Figure::Load { part, of } => {
                let of = samples.highest(of).filter(|of| *of > 0.0);
                of.map(|of| grown(part) / f64::from(part.window_s) / of)
            }
        };
        value.map(|value| ("", value)).into_iter().collect()
    }

    /// By how much counters have grown in the window; in a shorter time, if the process is younger.
    fn grown(&self, growth: &Growth, now: &[f64], now_ms: UnixMs) -> f64 {
        let from_ms = now_ms - i64::from(growth.window_s) * 1_000;
        let begun = self.past.iter().rev().find(|(at_ms, _)| *at_ms <= from_ms).or(self.past.front());
        let change = |series: &Series| {
            let place = self.counters.iter().position(|known| known == series)?;
            let before = begun.map_or(0.0, |(_, counters)| counters[place]);
            Some((now[place] - before).max(0.0))
        };
        let sum = |series: &[Series]| series.iter().filter_map(change).sum::<f64>();
        sum(growth.plus) - sum(growth.minus)
    }

    fn remember(&mut self, counters: Vec<f64>, now_ms: UnixMs) {
        let last_ms = self.past.back().map_or(i64::MIN, |(at_ms, _)| *at_ms);
        if now_ms < last_ms {
            // A clock that was set back: what lies ahead of it was never.
            self.past.retain(|(at_ms, _)| *at_ms <= now_ms);
        } else if now_ms.saturating_sub(last_ms) < REMEMBER_EVERY_MS {
            return;
        }
        self.past.push_back((now_ms, counters));
        // The newest that is older than every window is where the longest one begins.
        while self.past.get(1).is_some_and(|(at_ms, _)| now_ms - at_ms >= self.window_max_ms) {
            self.past.pop_front();
        }
    }
}
