//! Looking through the whole trail beside the work, a bounded piece at a time, over and over: what somebody did to it
//! is found by itself, not only when somebody asks.

use std::{collections::BTreeSet, time::Duration};

use keepwell_jobs::store::audit::{Finding, Findings, Problem, Report};
use tokio::time::Instant;

use super::{Trail, waiting::KEY_UNKNOWN_MAX};

/// Between two pieces.
const EVERY: Duration = Duration::from_secs(5);

/// Blocks in a piece: 276 000 a day, three times as many as there are if something is sealed every second.
const BLOCKS: i64 = 16;

/// How far the present pass has come, and what it and the last one found. A pass goes on behind what it finds, or who
/// did one thing would hide all others with it.
#[derive(Debug)]
pub(super) struct Inspection {
    due: Instant,
    next: Option<i64>,
    found: Findings,
    last: Findings,
    /// Since when pass after pass has met something that is sealed with a key that is not in the ring.
    locked_since: Option<Instant>,
    is_locked: bool,
}

impl Inspection {
    pub(super) fn new() -> Self {
        let (found, last) = (Findings::default(), Findings::default());
        Self { due: Instant::now(), next: None, found, last, locked_since: None, is_locked: false }
    }

    /// Whether nothing was found that no later pass has found mended.
    pub(super) fn is_whole(&self) -> bool {
        self.found.count() == 0 && self.last.count() == 0
    }

    /// How many findings of the last passes somebody has acknowledged.
    pub(super) fn acknowledged(&self) -> u64 {
        self.last.acknowledged_count().max(self.found.acknowledged_count())
    }

    /// Looks through the next piece if it is time for it.
    pub(super) async fn step(&mut self, trail: &Trail) {
        let now = Instant::now();
        if now < self.due {
            return;
        }
        self.due = now + EVERY;
        self.forgive(trail).await;
        match trail.verify(self.next, BLOCKS).await {
            Ok(report) => self.saw(report, now),
            Err(error) => tracing::debug!(
                error = &*error as &(dyn std::error::Error + 'static),
                "the audit trail cannot be looked through now"
            ),
        }
    }

    /// Lets go what somebody has acknowledged since it was found: until the next pass comes there may be weeks. What is
    /// only counted is let go by that.
    async fn forgive(&mut self, trail: &Trail) {
        let named = self.found.named().chain(self.last.named());
        let prints = named.map(|finding| finding.fingerprint.clone()).filter(|print| !print.is_empty());
        let prints: BTreeSet<String> = prints.collect();
        if prints.is_empty() {
            return;
        }
        if let Ok(acknowledged) = trail.acknowledged_of(&prints).await {
            self.found.more_acknowledged += self.found.take_out(&acknowledged);
            self.last.more_acknowledged += self.last.take_out(&acknowledged);
        }
    }

    fn saw(&mut self, report: Report, now: Instant) {
        let Report { findings, next, .. } = report;
        let Findings { first, further, more, more_unknown_keys, acknowledged, more_acknowledged } = findings;
        self.found.more_acknowledged += more_acknowledged;
        for finding in acknowledged {
            self.found.add(finding);
        }
        for finding in first.into_iter().chain(further) {
            match finding.problem {
                // They say what is now, which the keeper asks every second, and a pass may take weeks.
                Problem::Unsealed | Problem::NoteUnreadable => continue,
                // Whoever has that key looks, but not for ever: who can write the database can name any key.
                Problem::KeyUnknown if self.may_be_locked(now) => continue,
                _ => {}
            }
            let named = self.found.named().count();
            let is_known = self.last.named().any(|known| is_known(known, &finding));
            self.found.add(finding);
            // What is beyond the bound is counted, or a log could be filled with it.
            if let Some(news) = self.found.named().nth(named).filter(|_| !is_known) {
                tracing::error!(
                    problem = ?news.problem, block = news.block, position = news.position,
                    "the audit trail is not whole; `keepwell audit verify` says more"
                );
            }
        }
        self.found.more += more;
        if more_unknown_keys > 0 && !self.may_be_locked(now) {
            self.found.more_unknown_keys += more_unknown_keys;
        }
        self.next = next;
        if next.is_none() {
            self.last = std::mem::take(&mut self.found);
            if !std::mem::take(&mut self.is_locked) {
                self.locked_since = None;
            }
        }
    }

    /// Notes that something is sealed with a key that is not in the ring; says whether that is still in order.
    fn may_be_locked(&mut self, now: Instant) -> bool {
        self.is_locked = true;
        now.duration_since(*self.locked_since.get_or_insert(now)) < KEY_UNKNOWN_MAX
    }
}

/// Whether `known` is what was found, in however many entries.
fn is_known(known: &Finding, finding: &Finding) -> bool {
    let said = |finding: &Finding| (finding.problem, finding.block, finding.position);
    said(known) == said(finding)
        && (&known.fingerprint, &known.detail) == (&finding.fingerprint, &finding.detail)
}

#[cfg(test)]
mod tests {
    use keepwell_jobs::store::audit::{Acknowledged, ChainEnd};

    use super::*;

    fn report(findings: impl IntoIterator<Item = (Problem, i64)>, next: Option<i64>) -> Report {
        let mut all = Findings::default();
        for (problem, block) in findings {
            all.add(Finding { block: Some(block), ..Finding::anywhere(problem, format!("{block}")) });
        }
        let end = ChainEnd { block: 99, hash: String::new() };
        Report { findings: all, blocks: 0, entries: 0, unsealed: 0, unsealed_since_ms: None, next, end }
    }

    #[test]
    fn a_pass_goes_on_behind_what_it_finds_and_the_trail_is_broken_as_long_as_a_pass_finds_something() {
        let (mut inspection, now) = (Inspection::new(), Instant::now());
        inspection.saw(report([], Some(17)), now);
        assert!(inspection.is_whole());
        inspection.saw(report([(Problem::EntryRemoved, 17)], Some(33)), now);
        assert_eq!((inspection.next, inspection.is_whole()), (Some(33), false));
        inspection.saw(report([(Problem::BlockAltered, 34)], None), now);
        assert_eq!((inspection.next, inspection.is_whole()), (None, false));
        assert_eq!(inspection.last.count(), 2);
        inspection.saw(report([], Some(17)), now);
        assert!(!inspection.is_whole(), "it has not come there yet");
        inspection.saw(report([], None), now);
        assert!(inspection.is_whole());
    }

    #[test]
    fn what_somebody_has_acknowledged_is_counted_and_breaks_nothing() {
        let (mut inspection, now) = (Inspection::new(), Instant::now());
        let acknowledged = |report: Report| {
            let mut findings = Findings::default();
            if let Some(finding) = report.findings.first {
                let reason = "a broken disk".to_owned();
                let known = Acknowledged { by: "uid 7".to_owned(), at: String::new(), reason };
                findings.add(Finding { acknowledged: Some(Box::new(known)), ..finding });
            }
            Report { findings, ..report }
        };
        inspection.saw(acknowledged(report([(Problem::EntryRemoved, 17)], Some(33))), now);
        assert_eq!((inspection.is_whole(), inspection.acknowledged()), (true, 1));
        inspection.saw(report([(Problem::EntryRemoved, 34)], None), now);
        assert_eq!((inspection.is_whole(), inspection.acknowledged()), (false, 1));
    }

    #[test]
    fn a_key_that_nobody_brings_is_no_place_to_hide_behind() {
        let (mut inspection, begin) = (Inspection::new(), Instant::now());
        let locked = || report([(Problem::KeyUnknown, 3)], None);
        inspection.saw(locked(), begin);
        inspection.saw(locked(), begin + KEY_UNKNOWN_MAX - EVERY);
        assert!(inspection.is_whole(), "a new key is brought to one node after another");
        inspection.saw(locked(), begin + KEY_UNKNOWN_MAX);
        assert!(!inspection.is_whole());
        inspection.saw(report([], None), begin + KEY_UNKNOWN_MAX);
        inspection.saw(locked(), begin + 2 * KEY_UNKNOWN_MAX);
        assert!(inspection.is_whole(), "it is another time");
        let both = report([(Problem::KeyUnknown, 3), (Problem::EntryAltered, 4)], None);
        inspection.saw(both, begin + 2 * KEY_UNKNOWN_MAX);
        assert!(!inspection.is_whole());
    }

    #[test]
    fn made_up_keys_hide_nothing_else_that_was_done() {
        let (mut inspection, now) = (Inspection::new(), Instant::now());
        let keys = || (1..=40).map(|block| (Problem::KeyUnknown, block));
        inspection.saw(report(keys(), None), now);
        assert!(inspection.is_whole());
        let both = report(keys().chain([(Problem::EntryAltered, 41)]), None);
        inspection.saw(both, now);
        let named: Vec<_> = inspection.last.named().map(|finding| finding.block).collect();
        assert_eq!((inspection.is_whole(), named), (false, vec![Some(41)]));
        inspection.saw(report(keys(), None), now + KEY_UNKNOWN_MAX);
        assert_eq!((inspection.is_whole(), inspection.last.count()), (false, 40));
    }

    #[test]
    fn what_was_only_for_a_moment_is_no_finding_of_a_pass() {
        let (mut inspection, now) = (Inspection::new(), Instant::now());
        let moment = [(Problem::Unsealed, 1), (Problem::NoteUnreadable, 1)];
        inspection.saw(report(moment, Some(17)), now);
        assert!(inspection.is_whole());
    }
}
