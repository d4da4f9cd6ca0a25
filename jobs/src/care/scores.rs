//! The scores of the last weeks, and the rapid deterioration that they show (003: clinical crisis triggers).
//!
//! Scores are kept for no other purpose and no longer than they are looked back upon: twice the time within which a
//! rise is rapid, because a device that was offline tells late.

use keepwell_workers::clock::UnixMs;
use serde::{Deserialize, Serialize};

use super::{assessment::Instrument, definitions::Definitions};

/// Scores that are remembered, the newest first: more than two a day over four weeks.
pub const SCORES_MAX: usize = 64;

/// The score of one finished assessment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// What brought it.
    pub id: String,
    /// Which questionnaire.
    pub instrument: Instrument,
    /// Its points.
    pub points: f64,
    /// When it was taken.
    pub taken_ms: UnixMs,
    /// It is known to be the end of a rapid deterioration. One that was resolved is not opened again by learning of
    /// another score before it.
    #[serde(default)]
    pub has_risen: bool,
}

/// The scores of one person, in the order in which they were taken.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Scores(Vec<Score>);

impl Scores {
    /// Learns of a score; answers with those that it shows to be the end of a rapid deterioration: itself, or later
    /// ones that had been told before. A score that is known already shows nothing new.
    pub fn learn(&mut self, mut score: Score, definitions: &Definitions) -> Vec<Score> {
        if self.0.iter().any(|known| known.id == score.id) {
            return Vec::new();
        }
        score.has_risen = self.0.iter().any(|known| is_rapid_deterioration(known, &score, definitions));
        let mut shown = Vec::from_iter(score.has_risen.then(|| score.clone()));
        for known in self.0.iter_mut().filter(|known| !known.has_risen) {
            known.has_risen = is_rapid_deterioration(&score, known, definitions);
            shown.extend(known.has_risen.then(|| known.clone()));
        }
        self.0.push(score);
        self.0.sort_by(|one, other| (one.taken_ms, &one.id).cmp(&(other.taken_ms, &other.id)));
        shown
    }

    /// Forgets what nothing will be compared with any more.
    pub fn forget_old(&mut self, definitions: &Definitions, now_ms: UnixMs) {
        let old_ms = now_ms.saturating_sub(2 * definitions.deterioration_ms());
        self.0.retain(|score| score.taken_ms >= old_ms);
        self.0.drain(..self.0.len().saturating_sub(SCORES_MAX));
    }

    /// How many are remembered.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none is remembered.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn is_rapid_deterioration(from: &Score, to: &Score, definitions: &Definitions) -> bool {
    let significant = definitions.deterioration_points(to.instrument);
    from.instrument == to.instrument
        && from.taken_ms < to.taken_ms
        && to.taken_ms.saturating_sub(from.taken_ms) <= definitions.deterioration_ms()
        && to.points - from.points >= f64::from(significant)
        && to.points >= f64::from(definitions.deterioration_score_min)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::care::grace::DAY_MS;

    const DEFINITIONS: fn() -> Definitions = Definitions::default;

    fn score(id: &str, instrument: Instrument, points: f64, day: i64) -> Score {
        Score { id: id.to_owned(), instrument, points, taken_ms: day * DAY_MS, has_risen: false }
    }

    fn shown(scores: &[Score]) -> Vec<String> {
        let mut known = Scores::default();
        let mut shown: Vec<String> = scores
            .iter()
            .flat_map(|score| known.learn(score.clone(), &DEFINITIONS()))
            .map(|score| score.id)
            .collect();
        shown.sort();
        shown.dedup();
        shown
    }

    #[test]
    fn a_significant_rise_within_two_weeks_is_a_rapid_deterioration() {
        use Instrument::{Gad7, Phq9};
        for (from, to, rapid) in [
            (score("a", Phq9, 6.0, 0), score("b", Phq9, 11.0, 14), true),
            (score("a", Phq9, 6.0, 0), score("b", Phq9, 11.0, 15), false),
            (score("a", Phq9, 6.0, 0), score("b", Phq9, 10.0, 3), false),
            // Up to mild is no reason for alarm, however fast.
            (score("a", Phq9, 0.0, 0), score("b", Phq9, 9.0, 1), false),
            (score("a", Phq9, 0.0, 0), score("b", Phq9, 10.0, 1), true),
            (score("a", Gad7, 6.0, 0), score("b", Gad7, 10.0, 1), true),
            (score("a", Gad7, 7.0, 0), score("b", Gad7, 10.0, 1), false),
            (score("a", Gad7, 0.0, 0), score("b", Phq9, 12.0, 1), false),
            // Getting better.
            (score("a", Phq9, 20.0, 0), score("b", Phq9, 10.0, 1), false),
            // At the same instant nothing can be said.
            (score("a", Phq9, 0.0, 1), score("b", Phq9, 15.0, 1), false),
        ] {
            let expected: &[&str] = if rapid { &["b"] } else { &[] };
            assert_eq!(shown(&[from.clone(), to.clone()]), expected, "{from:?} {to:?}");
            assert_eq!(shown(&[to, from]), expected, "told the other way round");
        }
    }

    #[test]
    fn what_was_told_before_shows_nothing_new() {
        let mut scores = Scores::default();
        let (low, high) = (score("a", Instrument::Phq9, 3.0, 0), score("b", Instrument::Phq9, 12.0, 1));
        assert_eq!(scores.learn(low.clone(), &DEFINITIONS()), []);
        let risen = Score { has_risen: true, ..high.clone() };
        assert_eq!(scores.learn(high.clone(), &DEFINITIONS()), [risen]);
        assert_eq!(scores.learn(high, &DEFINITIONS()), []);
        assert_eq!(scores.learn(low, &DEFINITIONS()), []);
        assert_eq!(scores.len(), 2);
        let told_late = score("c", Instrument::Phq9, 2.0, 0);
        assert_eq!(scores.learn(told_late, &DEFINITIONS()), [], "the same rise again");
    }

    #[test]
    fn scores_are_kept_no_longer_and_in_no_greater_number_than_needed() {
        let mut scores = Scores::default();
        for number in 0..SCORES_MAX as i64 + 9 {
            scores.learn(score(&number.to_string(), Instrument::Gad7, 1.0, number / 9), &DEFINITIONS());
        }
        scores.forget_old(&DEFINITIONS(), 28 * DAY_MS);
        assert_eq!(scores.len(), SCORES_MAX);
        scores.forget_old(&DEFINITIONS(), 36 * DAY_MS);
        assert!(!scores.is_empty());
        assert_eq!(scores.len(), 1, "of the eighth day, which is four weeks ago");
        scores.forget_old(&DEFINITIONS(), 36 * DAY_MS + 1);
        assert!(scores.is_empty());
    }
}
