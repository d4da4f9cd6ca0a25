//! Assessments: which results are a crisis, and which begin a high-risk period (003: clinical crisis triggers).

use keepwell_workers::clock::UnixMs;
use serde::{Deserialize, Serialize};

use super::{
    crisis::{Severity, Signal, Source, resolved_time_ms, signal_time_ms},
    definitions::Definitions,
    facts::Facts,
    scores::{Score, Scores},
};

/// From this PHQ-9 score on depression is severe (003).
pub const PHQ9_CRISIS_SCORE: f64 = 20.0;

/// From this GAD-7 score on anxiety is severe (003).
pub const GAD7_CRISIS_SCORE: f64 = 15.0;

/// How severe a crisis is that a high score alone shows. 003 gives no severity; what the person says about suicide or
/// an emergency is worse than any number.
pub const HIGH_SCORE_SEVERITY: Severity = Severity::High;

/// How severe a crisis is that a rapid rise of scores alone shows: the mildest, for it says where things are going and
/// not yet where they are.
pub const DETERIORATION_SEVERITY: Severity = Severity::Moderate;

/// Which questionnaire was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Instrument {
    /// The nine questions of the Patient Health Questionnaire; 0 to 27 points.
    Phq9,
    /// The seven questions on generalised anxiety; 0 to 21 points.
    Gad7,
}

impl Instrument {
    /// The instrument called `name`; upper case, hyphens and underscores make no difference.
    pub fn from_name(name: &str) -> Option<Self> {
        let plain: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
        match plain.to_ascii_lowercase().as_str() {
            "phq9" => Some(Self::Phq9),
            "gad7" => Some(Self::Gad7),
            _ => None,
        }
    }

    /// The most points it can give.
    pub const fn points_max(self) -> f64 {
        match self {
            Instrument::Phq9 => 27.0,
            Instrument::Gad7 => 21.0,
        }
    }
}

/// A finished assessment.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Assessment {
    /// Which questionnaire, if it is a known one.
    pub instrument: Option<Instrument>,
    /// Its points.
    pub score: Option<f64>,
    /// Thoughts of suicide were mentioned.
    pub suicidal_ideation: bool,
    /// It was taken as an emergency assessment.
    pub emergency: bool,
}

impl Assessment {
    /// How severe a crisis it shows, if any: thoughts of suicide and emergencies are critical, whatever the score.
    pub fn crisis(&self) -> Option<Severity> {
        if self.suicidal_ideation || self.emergency {
            return Some(Severity::Critical);
        }
        let threshold = match self.instrument? {
            Instrument::Phq9 => PHQ9_CRISIS_SCORE,
            Instrument::Gad7 => GAD7_CRISIS_SCORE,
        };
        (self.score? >= threshold).then_some(HIGH_SCORE_SEVERITY)
    }

    /// Whether a high-risk period begins with it: with an elevated score, and with every crisis.
    pub fn is_high_risk(&self, definitions: &Definitions) -> bool {
        let elevated = |instrument, score| {
            let threshold = match instrument {
                Instrument::Phq9 => definitions.high_risk_phq9_score,
                Instrument::Gad7 => definitions.high_risk_gad7_score,
            };
            score >= f64::from(threshold)
        };
        self.crisis().is_some()
            || self.instrument.zip(self.score).is_some_and(|(instrument, score)| elevated(instrument, score))
    }

    /// Whether it may be the end of a rapid deterioration, as far as that can be said without the scores before it: its
    /// score is high enough, and there is room for such a rise below it.
    pub fn may_be_deterioration(&self, definitions: &Definitions) -> bool {
        let Some(score) = self.score("", 0) else { return false };
        let points = definitions.deterioration_points(score.instrument);
        score.points >= f64::from(definitions.deterioration_score_min.max(points))
    }

    /// Its score, if it is one that the instrument can give.
    fn score(&self, id: &str, taken_ms: UnixMs) -> Option<Score> {
        let (instrument, points) = self.instrument.zip(self.score)?;
        let possible = (0.0..=instrument.points_max()).contains(&points);
        possible.then(|| Score { id: id.to_owned(), instrument, points, taken_ms, has_risen: false })
    }
}

/// Teaches `facts` what the assessment `id` means that was finished at `stated_ms`, as far as is known, in the light of
/// the person's other `scores`. One that means nothing leaves nothing behind but its score. Answers with the signs of a
/// crisis that it is, each under its id.
pub fn assessed(
    facts: &mut Facts,
    scores: &mut Scores,
    id: &str,
    assessment: &Assessment,
    stated_ms: Option<UnixMs>,
    learned_ms: UnixMs,
) -> Vec<(String, Signal)> {
    let (definitions, mut signs) = (facts.definitions, Vec::new());
    // A clinical sign counts from when it is known, a high-risk period from when the person felt so.
    let taken_ms = resolved_time_ms(stated_ms, learned_ms);
    let sign = |source, severity, stated_ms| Signal {
        source,
        severity,
        at_ms: signal_time_ms(stated_ms, learned_ms),
        only_in_crisis: false,
    };
    if assessment.is_high_risk(&definitions) && definitions.high_risk_ends_ms(taken_ms) > learned_ms {
        let risk = Signal {
            source: Source::HighRisk,
            severity: Severity::Moderate,
            at_ms: taken_ms,
            only_in_crisis: true,
        };
        facts.signalled(format!("{id}:risk"), risk, learned_ms);
    }
    if let Some(severity) = assessment.crisis() {
        signs.push((id.to_owned(), sign(Source::Assessment, severity, stated_ms)));
    }
    if let Some(score) = assessment.score(id, taken_ms) {
        for worse in scores.learn(score, &definitions) {
            let sign = sign(Source::Deterioration, DETERIORATION_SEVERITY, Some(worse.taken_ms));
            signs.push((format!("{}:rise", worse.id), sign));
        }
    }
    for (id, sign) in &signs {
        facts.signalled(id.clone(), sign.clone(), learned_ms);
    }
    scores.forget_old(&definitions, learned_ms);
    signs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scored(instrument: &str, score: f64) -> Option<Severity> {
        let instrument = Instrument::from_name(instrument);
        Assessment { instrument, score: Some(score), ..Assessment::default() }.crisis()
    }

    #[test]
    fn the_thresholds_are_20_of_phq9_and_15_of_gad7() {
        assert_eq!((scored("phq9", 19.0), scored("phq9", 20.0)), (None, Some(Severity::High)));
        assert_eq!((scored("GAD-7", 14.0), scored("GAD-7", 15.0)), (None, Some(Severity::High)));
        assert_eq!((scored("phq9", 15.0), scored("who5", 99.0)), (None, None));
    }

    #[test]
    fn a_high_risk_period_begins_with_an_elevated_score_and_with_every_crisis() {
        let definitions = Definitions::default();
        let of = |instrument, score| Assessment { instrument, score: Some(score), ..Assessment::default() };
        for (assessment, high_risk) in [
            (of(Some(Instrument::Phq9), 14.0), false),
            (of(Some(Instrument::Phq9), 15.0), true),
            (of(Some(Instrument::Gad7), 9.0), false),
            (of(Some(Instrument::Gad7), 10.0), true),
            (of(None, 99.0), false),
            (Assessment { suicidal_ideation: true, ..Assessment::default() }, true),
        ] {
            assert_eq!(assessment.is_high_risk(&definitions), high_risk, "{assessment:?}");
        }
        let strict = Definitions { high_risk_phq9_score: 10, high_risk_gad7_score: 5, ..definitions };
        assert!(of(Some(Instrument::Phq9), 10.0).is_high_risk(&strict));
        assert!(of(Some(Instrument::Gad7), 5.0).is_high_risk(&strict));
    }

    #[test]
    fn whatever_scores_come_before_a_deterioration_was_thought_possible() {
        let default = Definitions::default();
        let late = Definitions { deterioration_score_min: 20, deterioration_gad7_points: 21, ..default };
        for definitions in [default, late] {
            for instrument in [Instrument::Phq9, Instrument::Gad7] {
                for score in (0..=28).map(f64::from) {
                    let assessment = Assessment {
                        instrument: Some(instrument),
                        score: Some(score),
                        ..Assessment::default()
                    };
                    // From nothing is the steepest rise that there is.
                    let mut scores = Scores::default();
                    let shown = [0.0, score].map(|points| {
                        let score = Score {
                            id: points.to_string(),
                            instrument,
                            points,
                            taken_ms: points.trunc() as i64,
                            has_risen: false,
                        };
                        scores.learn(score, &definitions).len()
                    });
                    let possible = score <= instrument.points_max();
                    let may_be = assessment.may_be_deterioration(&definitions);
                    assert_eq!(may_be, possible && shown[1] > 0, "{assessment:?} {definitions:?}");
                }
            }
        }
        assert!(!Assessment { score: Some(20.0), ..Assessment::default() }.may_be_deterioration(&default));
    }

    #[test]
    fn a_score_that_no_instrument_gives_is_compared_with_nothing() {
        for (points, kept) in [(-0.5, 0), (0.0, 1), (27.0, 1), (27.5, 0), (f64::NAN, 0), (f64::INFINITY, 0)] {
            let (mut facts, mut scores) = (Facts::about("cus_1"), Scores::default());
            let score = Some(points);
            let assessment =
                Assessment { instrument: Some(Instrument::Phq9), score, ..Assessment::default() };
            assessed(&mut facts, &mut scores, "a", &assessment, None, 1);
            assert_eq!(scores.len(), kept, "{points}");
        }
    }

    #[test]
    fn thoughts_of_suicide_and_emergencies_are_critical_whatever_the_score() {
        let mut assessment = Assessment { suicidal_ideation: true, ..Assessment::default() };
        assert_eq!(assessment.crisis(), Some(Severity::Critical));
        assessment = Assessment { emergency: true, score: Some(0.0), ..Assessment::default() };
        assert_eq!(assessment.crisis(), Some(Severity::Critical));
    }
}
