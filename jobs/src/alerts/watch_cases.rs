//! Every rule of the table, driven to be seen and to be gone again.

use std::fmt::Write as _;

use super::{
    figure::{Figure, Series},
    rule::{Bound, Rule, When},
    rules::{self, RULES},
    samples::Samples,
    threshold::Thresholds,
    watch::{Seen, Watch},
};

/// How often it is looked, in seconds.
const STEP_S: u32 = 15;

fn line(text: &mut String, series: &Series, more: Option<&str>, value: f64) {
    let labels: Vec<String> =
        series.labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
    let more = more.map(|label| format!("{label}=\"x\""));
    let labels: Vec<String> = labels.into_iter().chain(more).collect();
    writeln!(text, "{}{{{}}} {value}", series.name, labels.join(",")).unwrap();
}

/// `/metrics` at the look number `look`; counters have grown until the look number `until`.
fn metrics(rule: &Rule, is_wrong: bool, look: u32, until: u32) -> String {
    let When::Figure(figure, bound) = &rule.when else { panic!("{} is not measured", rule.name) };
    let (mut text, counted) = (String::new(), f64::from(look.min(until)) * 1_000.0);
    for growth in figure.growths() {
        growth.plus.iter().for_each(|series| line(&mut text, series, Some("other"), counted));
        growth.minus.iter().for_each(|series| line(&mut text, series, None, 0.0));
    }
    let gauge = match bound {
        Bound::Above(bound) => bound + if is_wrong { 1.0 } else { 0.0 },
        Bound::Below(bound) => bound - if is_wrong { 1.0 } else { 0.0 },
    };
    match figure {
        Figure::Highest { of, by } => line(&mut text, of, *by, gauge),
        Figure::Lowest(of) => line(&mut text, of, None, gauge),
        Figure::Ratio { part, of } => {
            line(&mut text, part, None, if is_wrong { 9.0 } else { 8.0 });
            line(&mut text, of, None, 10.0);
        }
        Figure::Load { of, .. } => line(&mut text, of, None, 2.0),
        Figure::Growth(_) | Figure::Share { .. } => {}
    }
    text
}

/// What has been wrong for long enough.
fn ripe(watch: &mut Watch, text: &str, now_ms: i64) -> Vec<Seen> {
    watch.look(&Samples::read(text), now_ms).into_iter().filter(|seen| seen.is_ripe).collect()
}

/// At which looks `rule` is seen.
fn seen(rule: &'static Rule, wrong_from: u32, wrong_to: u32, looks: u32) -> Vec<u32> {
    let mut watch = Watch::new([rule], Thresholds::default(), 0);
    let mut seen = Vec::new();
    for look in 1..=looks {
        let is_wrong = (wrong_from..wrong_to).contains(&look);
        // Counters begin to grow with what is wrong, and never fall.
        let text = metrics(rule, is_wrong, look.saturating_sub(wrong_from - 1), wrong_to - wrong_from);
        let found = ripe(&mut watch, &text, i64::from(look * STEP_S) * 1_000);
        if let [found] = &found[..] {
            assert_eq!((found.rule.name, found.cause.as_str()), (rule.name, rule.by().map_or("", |_| "x")));
            seen.push(look);
        }
    }
    seen
}

#[test]
fn every_rule_is_seen_when_it_has_held_for_long_enough_and_is_gone_when_it_holds_no_more() {
    let (from, to, looks) = (4, 40, 400);
    for rule in RULES.into_iter().filter(|rule| matches!(rule.when, When::Figure(..))) {
        let seen = seen(rule, from, to, looks);
        let first = from + rule.for_s.div_ceil(STEP_S);
        // What has to grow over its whole window first is seen later.
        let latest =
            if matches!(rule.when, When::Figure(Figure::Load { .. }, _)) { first + 20 } else { first };
        assert!((first..=latest).contains(&seen[0]), "{}: {seen:?}", rule.name);
        let last = *seen.last().unwrap();
        let When::Figure(figure, _) = &rule.when else { continue };
        let window_s = figure.growths().iter().map(|growth| growth.window_s).max().unwrap_or(0);
        let gone = to + window_s / STEP_S;
        assert!((to - 1..=gone).contains(&last), "{}: gone after {last}, not {gone}", rule.name);
        assert_eq!(seen.len() as u32, last - seen[0] + 1, "{} is seen without a gap", rule.name);
        assert!(self::seen(rule, looks, looks, looks).is_empty(), "{} is well", rule.name);
    }
}

#[test]
fn a_bound_that_was_chosen_stands_in_the_place_of_the_tables() {
    let chosen = Thresholds::new([("LaneWaiting", 60.0), ("NoWorkers", 2.0)]).unwrap();
    let rules = [&rules::LANE_WAITING, &rules::NO_WORKERS, &rules::CRISIS_WAITING];
    let (mut chosen, mut table) = (Watch::new(rules, chosen, 0), Watch::new(rules, Thresholds::default(), 0));
    let text = "keepwell_lane_oldest_waiting_seconds{lane=\"standard\"} 61\nkeepwell_nodes 1\n\
                keepwell_lane_oldest_waiting_seconds{lane=\"crisis\"} 3\n";
    let names = |watch: &mut Watch| -> Vec<&str> {
        watch.look(&Samples::read(text), 1_000).iter().map(|seen| seen.rule.name).collect()
    };
    assert_eq!(names(&mut chosen), ["LaneWaiting", "NoWorkers", "CrisisWaiting"]);
    assert_eq!(names(&mut table), ["CrisisWaiting"]);
}

#[test]
fn what_was_wrong_for_a_moment_only_is_not_seen() {
    for rule in [&rules::MEMORY_HIGH, &rules::THERAPEUTIC_WAITING, &rules::AUDIT_TRAIL_BROKEN] {
        let moment = 4 + rule.for_s / STEP_S;
        assert!(seen(rule, 4, moment, 100).is_empty(), "{}", rule.name);
    }
}

#[test]
fn what_happened_before_the_first_look_counts_and_a_process_that_is_young_knows_all_it_has_seen() {
    let mut watch = Watch::new([&rules::CRISIS_ANSWERED_LATE], Thresholds::default(), 0);
    let text = "keepwell_crisis_response_violations_total 1\n";
    let found = ripe(&mut watch, text, 1_000);
    assert_eq!(found.iter().map(|seen| seen.value).collect::<Vec<_>>(), [Some(1.0)]);
}

#[test]
fn a_share_of_hardly_anything_is_no_share() {
    let mut watch = Watch::new([&rules::WEBHOOK_FAILURE_RATE_HIGH], Thresholds::default(), 0);
    let text = |failed: u32| {
        format!(
            "keepwell_webhook_blocked_total{{reason=\"not_recorded\"}} {failed}\nkeepwell_webhook_recorded_total 0\n"
        )
    };
    for (look, failed, expected) in [(1, 19, 0), (120, 19, 0), (180, 20, 0), (240, 20, 1)] {
        let found = ripe(&mut watch, &text(failed), look * 1_000);
        assert_eq!(found.len(), expected, "{look}");
    }
}

#[test]
fn a_clock_that_is_set_back_makes_nothing_wait_for_the_future() {
    let rules = [&rules::MEMORY_HIGH, &rules::CRISIS_ANSWERED_LATE];
    let mut watch = Watch::new(rules, Thresholds::default(), 1_000_000);
    let wrong = "keepwell_process_memory_used_bytes 9\nkeepwell_process_memory_total_bytes 10\n\
                 keepwell_crisis_response_violations_total 0\n";
    assert!(ripe(&mut watch, wrong, 2_000_000).is_empty());
    assert!(ripe(&mut watch, wrong, 0).is_empty());
    let later = wrong.replace("violations_total 0", "violations_total 1");
    let found = ripe(&mut watch, &later, 60_000);
    let names: Vec<&str> = found.iter().map(|seen| seen.rule.name).collect();
    assert_eq!(names, ["MemoryHigh", "CrisisAnsweredLate"]);
}
