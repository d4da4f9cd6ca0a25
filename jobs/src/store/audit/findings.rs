//! Everything that is wrong with a trail: one thing that somebody did hides no other one.

use serde::{Deserialize, Serialize};

use super::finding::{Finding, Problem};

/// Findings that are named at most; of more it is said how many they are. Our number.
pub const FINDINGS_MAX: usize = 20;

/// What is wrong, in the order in which it was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Findings {
    /// The first thing that is wrong; `None` if nothing is.
    #[serde(rename = "finding")]
    pub first: Option<Finding>,
    /// What else is, up to [`FINDINGS_MAX`] in all.
    #[serde(rename = "further_findings")]
    pub further: Vec<Finding>,
    /// How many more there are.
    #[serde(rename = "more_findings")]
    pub more: u64,
}

impl Findings {
    /// Adds `finding`, unless it is there already: what concerns the whole trail is found with each piece of it, and a
    /// key that is not there with everything that it has sealed.
    pub fn add(&mut self, finding: Finding) {
        if self.named().any(|known| is_the_same(known, &finding)) {
            return;
        }
        if self.first.is_none() {
            self.first = Some(finding);
        } else if self.further.len() + 1 < FINDINGS_MAX {
            self.further.push(finding);
        } else {
            self.more += 1;
        }
    }

    /// Adds what was found in another piece.
    pub fn join(&mut self, others: Self) {
        self.more += others.more;
        for finding in others.first.into_iter().chain(others.further) {
            self.add(finding);
        }
    }

    /// Those that are named.
    pub fn named(&self) -> impl Iterator<Item = &Finding> {
        self.first.iter().chain(&self.further)
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.named().count() as u64 + self.more
    }
}

fn is_the_same(known: &Finding, finding: &Finding) -> bool {
    let is_about_a_key = matches!(finding.problem, Problem::KeyUnknown | Problem::KeyMissing);
    known == finding || is_about_a_key && (known.problem, &known.detail) == (finding.problem, &finding.detail)
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
        assert_eq!((named.len(), findings.more, findings.count()), (FINDINGS_MAX, 5, 25));
        let mut joined = Findings::default();
        joined.add(Finding::anywhere(Problem::HeadAltered, "the head"));
        joined.join(findings);
        assert_eq!((joined.named().count(), joined.count()), (FINDINGS_MAX, 25));
        assert_eq!(Findings::default().count(), 0);
    }
}
