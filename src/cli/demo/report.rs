//! What the demo has shown, and whether it went well.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use serde::Serialize;

/// The numbers. Times are in milliseconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(super) struct Report {
    pub(super) sent: usize,
    pub(super) answered_2xx: usize,
    pub(super) distinct: usize,
    pub(super) recorded: u64,
    pub(super) duplicates: usize,
    pub(super) done: u64,
    pub(super) dead: u64,
    pub(super) crises: usize,
    pub(super) crises_seen: usize,
    pub(super) crisis_p50_ms: Option<f64>,
    pub(super) crisis_p99_ms: Option<f64>,
    pub(super) crisis_max_ms: Option<f64>,
    /// Requests per second until the last one was answered.
    pub(super) requests_per_second: f64,
    /// From the first request until everything was done.
    pub(super) seconds_until_done: f64,
    /// People by what they may use now.
    pub(super) tiers: BTreeMap<String, usize>,
}

impl Report {
    /// Fills in what `sorted`, the times of the crises, amount to.
    pub(super) fn set_crisis_times(&mut self, sorted: &[Duration]) {
        let at = |share: f64| {
            let rank = (sorted.len() as f64 * share).ceil() as usize;
            sorted.get(rank.saturating_sub(1)).map(|time| (time.as_micros() as f64 / 100.0).round() / 10.0)
        };
        self.crises_seen = sorted.len();
        self.crisis_p50_ms = at(0.5);
        self.crisis_p99_ms = at(0.99);
        self.crisis_max_ms = at(1.0);
    }

    /// What went wrong; empty if everything is there once and done.
    pub(super) fn complaints(&self) -> Vec<String> {
        let mut complaints = Vec::new();
        let mut expect = |what: &str, found: u64, expected: usize| {
            if found != expected as u64 {
                complaints.push(format!("{what}: {found} instead of {expected}"));
            }
        };
        expect("answered 2xx", self.answered_2xx as u64, self.sent);
        expect("recorded", self.recorded, self.distinct);
        expect("answered as a duplicate", self.duplicates as u64, self.sent - self.distinct.min(self.sent));
        expect("done", self.done, self.distinct);
        expect("dead", self.dead, 0);
        expect("crises seen", self.crises_seen as u64, self.crises);
        complaints
    }

    /// The numbers as a table for people.
    pub(super) fn text(&self) -> String {
        let ms = |ms: Option<f64>| ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.1} ms"));
        let lines = [
            ("sent", self.sent.to_string()),
            ("answered 2xx", self.answered_2xx.to_string()),
            ("recorded", format!("{} of {} different ones", self.recorded, self.distinct)),
            ("duplicates", format!("{} recognised", self.duplicates)),
            ("done", self.done.to_string()),
            ("dead", self.dead.to_string()),
            ("crises", format!("{} of {} seen in the access document", self.crises_seen, self.crises)),
            ("  p50", ms(self.crisis_p50_ms)),
            ("  p99", ms(self.crisis_p99_ms)),
            ("  max", ms(self.crisis_max_ms)),
            ("rate", format!("{:.0} requests/s", self.requests_per_second)),
            ("all done after", format!("{:.1} s", self.seconds_until_done)),
        ];
        let mut text = String::new();
        for (name, value) in lines {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{name:<20}{value}");
        }
        for (tier, people) in &self.tiers {
            let _ = writeln!(text, "{:<20}{people} people", format!("tier {tier}"));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Report {
        let mut report = Report {
            sent: 105,
            answered_2xx: 105,
            distinct: 102,
            recorded: 102,
            duplicates: 3,
            done: 102,
            crises: 2,
            requests_per_second: 1_234.5,
            seconds_until_done: 1.26,
            tiers: BTreeMap::from([("basic".to_owned(), 7), ("premium".to_owned(), 3)]),
            ..Report::default()
        };
        report.set_crisis_times(&[Duration::from_micros(4_210), Duration::from_micros(9_990)]);
        report
    }

    #[test]
    fn the_numbers_are_shown_one_below_the_other() {
        assert_eq!(
            good().text(),
            "sent                105\n\
             answered 2xx        105\n\
             recorded            102 of 102 different ones\n\
             duplicates          3 recognised\n\
             done                102\n\
             dead                0\n\
             crises              2 of 2 seen in the access document\n\
             \x20 p50               4.2 ms\n\
             \x20 p99               10.0 ms\n\
             \x20 max               10.0 ms\n\
             rate                1234 requests/s\n\
             all done after      1.3 s\n\
             tier basic          7 people\n\
             tier premium        3 people\n"
        );
        assert!(good().complaints().is_empty());
    }

    #[test]
    fn anything_missing_or_done_twice_is_a_complaint() {
        for (report, complaint) in [
            (Report { answered_2xx: 104, ..good() }, "answered 2xx: 104 instead of 105"),
            (Report { recorded: 103, ..good() }, "recorded: 103 instead of 102"),
            (Report { duplicates: 2, ..good() }, "answered as a duplicate: 2 instead of 3"),
            (Report { done: 101, ..good() }, "done: 101 instead of 102"),
            (Report { dead: 1, ..good() }, "dead: 1 instead of 0"),
            (Report { crises_seen: 1, ..good() }, "crises seen: 1 instead of 2"),
        ] {
            assert_eq!(report.complaints(), [complaint]);
        }
    }
}
