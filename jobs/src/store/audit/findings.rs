//! Everything that is wrong with a trail: one thing that somebody did hides no other one.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::finding::{Finding, Problem};

/// Findings that are named at most; of more it is said how many they are. Our number.
pub const FINDINGS_MAX: usize = 20;

/// Keys that are in no ring and are named at most, beside those findings: who can write the database can name as many
/// keys as they like, and would use up the names with them. Our number.
pub const UNKNOWN_KEYS_MAX: usize = 5;

/// What is wrong, in the order in which it was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Findings {
    /// The first thing that is wrong; `None` if nothing is.
    #[serde(rename = "finding")]
    pub first: Option<Finding>,
    /// What else is, up to [`FINDINGS_MAX`] in all and [`UNKNOWN_KEYS_MAX`] keys.
    #[serde(rename = "further_findings", default)]
    pub further: Vec<Finding>,
    /// How many more there are, keys that are not there not counted.
    #[serde(rename = "more_findings", default)]
    pub more: u64,
    /// How many more there are of what is sealed with a key that is not there.
    #[serde(rename = "more_unknown_keys", default)]
    pub more_unknown_keys: u64,
    /// What is wrong as well and somebody has acknowledged, up to [`FINDINGS_MAX`]; it is in none of the others.
    #[serde(rename = "acknowledged_findings", default)]
    pub acknowledged: Vec<Finding>,
    /// How many more of that there are.
    #[serde(rename = "more_acknowledged", default)]
    pub more_acknowledged: u64,
}

impl Findings {
    /// Adds `finding`, unless it is there already: what concerns the whole trail is found with each piece of it, and a
    /// key that is not there with everything that it has sealed.
    pub fn add(&mut self, finding: Finding) {
        if finding.acknowledged.is_some() {
            return self.add_acknowledged(finding);
        }
        let mut named = self.first.iter_mut().chain(&mut self.further);
        if let Some(known) = named.find(|known| is_the_same(known, &finding)) {
            if let (Some(entries), Some(others)) = (&mut known.entries, finding.entries) {
                *entries += others;
            }
            return;
        }
        let is_key = |finding: &Finding| finding.problem == Problem::KeyUnknown;
        let (bound, more) = if is_key(&finding) {
            (UNKNOWN_KEYS_MAX, &mut self.more_unknown_keys)
        } else {
            (FINDINGS_MAX, &mut self.more)
        };
        let named = self.first.iter().chain(&self.further);
        if named.filter(|known| is_key(known) == is_key(&finding)).count() >= bound {
            *more += 1;
        } else if self.first.is_none() {
            self.first = Some(finding);
        } else {
            self.further.push(finding);
        }
    }

    fn add_acknowledged(&mut self, finding: Finding) {
        if self.acknowledged.contains(&finding) {
            return;
        }
        if self.acknowledged.len() < FINDINGS_MAX {
            self.acknowledged.push(finding);
        } else {
            self.more_acknowledged += 1;
        }
    }

    /// Adds what was found in another piece.
    pub fn join(&mut self, others: Self) {
        self.more += others.more;
        self.more_unknown_keys += others.more_unknown_keys;
        self.more_acknowledged += others.more_acknowledged;
        for finding in others.first.into_iter().chain(others.further).chain(others.acknowledged) {
            self.add(finding);
        }
    }

    /// Takes out those named ones that have one of these fingerprints, because somebody has acknowledged them since;
    /// says how many. One about a key stands for all that it has sealed, of which the fingerprint names but one: it
    /// stays until all of them are looked through again.
    pub fn take_out(&mut self, fingerprints: &BTreeSet<String>) -> u64 {
        let all: Vec<Finding> = self.first.take().into_iter().chain(self.further.drain(..)).collect();
        let before = all.len();
        let mut left = all
            .into_iter()
            .filter(|finding| is_about_a_key(finding) || !fingerprints.contains(&finding.fingerprint));
        self.first = left.next();
        self.further = left.collect();
        (before - self.named().count()) as u64
    }

    /// Those that are named and that nobody has acknowledged.
    pub fn named(&self) -> impl Iterator<Item = &Finding> {
        self.first.iter().chain(&self.further)
    }

    /// How many there are that nobody has acknowledged.
    pub fn count(&self) -> u64 {
        self.named().count() as u64 + self.more + self.more_unknown_keys
    }

    /// How many there are that somebody has acknowledged.
    pub fn acknowledged_count(&self) -> u64 {
        self.acknowledged.len() as u64 + self.more_acknowledged
    }
}

fn is_the_same(known: &Finding, finding: &Finding) -> bool {
    known == finding
        || is_about_a_key(finding) && (known.problem, &known.detail) == (finding.problem, &finding.detail)
}

fn is_about_a_key(finding: &Finding) -> bool {
    matches!(finding.problem, Problem::KeyUnknown | Problem::KeyMissing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_found_is_named_once_and_counted_beyond_a_bound() {
        let mut findings = Findings::default();
        for block in 0..FINDINGS_MAX as i64 + 3 {
            for _ in 0..2 {
                findings.add(Finding::anywhere(Problem::HeadAltered, "the head"));
            }
            findings.add(Finding::at_block(Problem::BlockAltered, block, "altered"));
            findings.add(Finding::at_block(Problem::KeyUnknown, block, "key `b`"));
        }
        let named: Vec<_> = findings.named().map(|finding| (finding.problem, finding.block)).collect();
        let head = (Problem::HeadAltered, None);
        assert_eq!(named[..3], [head, (Problem::BlockAltered, Some(0)), (Problem::KeyUnknown, Some(0))]);
        assert_eq!((named.len(), findings.more, findings.count()), (FINDINGS_MAX + 1, 4, 25));
        let mut joined = Findings::default();
        joined.add(Finding::anywhere(Problem::HeadAltered, "the head"));
        joined.join(findings);
        assert_eq!((joined.named().count(), joined.count()), (FINDINGS_MAX + 1, 25));
        assert_eq!(Findings::default().count(), 0);
    }

    #[test]
    fn made_up_keys_use_up_no_names_of_other_findings() {
        let mut findings = Findings::default();
        for block in 0..30 {
            findings.add(Finding::at_block(Problem::KeyUnknown, block, format!("key `{block}`")));
        }
        findings.add(Finding::at_block(Problem::BlockAltered, 30, "altered"));
        assert_eq!((findings.more, findings.more_unknown_keys), (0, 30 - UNKNOWN_KEYS_MAX as u64));
        assert_eq!((findings.named().count(), findings.count()), (UNKNOWN_KEYS_MAX + 1, 31));
        let mut joined = Findings::default();
        joined.join(findings.clone());
        assert_eq!(joined, findings);
    }

    #[test]
    fn what_an_older_daemon_answers_is_read() {
        let read: Findings = serde_json::from_str(r#"{"finding":null,"blocks":3}"#).unwrap();
        assert_eq!(read, Findings::default());
    }
}
