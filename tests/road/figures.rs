//! What `/metrics` says while rules are broken, and while all is well.

use std::collections::BTreeSet;

use keepwell_jobs::alerts::{
    figure::{Figure, Series},
    rule::{Bound, Rule, When},
};

/// One sample, with a label more if it is named.
fn sample(series: &Series, more: Option<&str>, value: f64) -> String {
    let labels = series.labels.iter().map(|(name, value)| format!("{name}=\"{value}\""));
    let labels: Vec<String> = labels.chain(more.map(|label| format!("{label}=\"x\""))).collect();
    format!("{}{{{}}} {value}\n", series.name, labels.join(","))
}

fn samples(rule: &Rule, is_wrong: bool, counted: f64) -> Vec<String> {
    let When::Figure(figure, bound) = &rule.when else { return Vec::new() };
    let gauge = match (bound, is_wrong) {
        (Bound::Above(bound) | Bound::Below(bound), false) => *bound,
        (Bound::Above(bound), true) => bound + 1.0,
        (Bound::Below(bound), true) => bound - 1.0,
    };
    let mut samples = Vec::new();
    for growth in figure.growths() {
        samples.extend(growth.plus.iter().map(|series| sample(series, Some("other"), counted)));
        samples.extend(growth.minus.iter().map(|series| sample(series, None, 0.0)));
    }
    match figure {
        Figure::Highest { of, by } => samples.push(sample(of, *by, gauge)),
        Figure::Lowest(of) => samples.push(sample(of, None, gauge)),
        Figure::Ratio { part, of } => {
            samples.push(sample(part, None, if is_wrong { 9.0 } else { 8.0 }));
            samples.push(sample(of, None, 10.0));
        }
        Figure::Load { of, .. } => samples.push(sample(of, None, 1.0)),
        Figure::Growth(_) | Figure::Share { .. } => {}
    }
    samples
}

/// What is measured when all `rules` are broken, or none. What is counted has come to `counted`.
pub fn figures(rules: &[&Rule], is_wrong: bool, counted: f64) -> String {
    // Each series once, though several rules look at it.
    let samples: BTreeSet<String> = rules.iter().flat_map(|rule| samples(rule, is_wrong, counted)).collect();
    samples.into_iter().collect()
}
