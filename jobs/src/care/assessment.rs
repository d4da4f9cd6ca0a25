//! Assessments: which results are a crisis (crisis safety protocols, clinical crisis triggers).

use super::crisis::Severity;

/// From this PHQ-9 score on depression is severe.
pub const PHQ9_CRISIS_SCORE: f64 = 20.0;

/// From this GAD-7 score on anxiety is severe.
pub const GAD7_CRISIS_SCORE: f64 = 15.0;

/// Which questionnaire was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
        (self.score? >= threshold).then_some(Severity::High)
    }
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
    fn thoughts_of_suicide_and_emergencies_are_critical_whatever_the_score() {
        let mut assessment = Assessment { suicidal_ideation: true, ..Assessment::default() };
        assert_eq!(assessment.crisis(), Some(Severity::Critical));
        assessment = Assessment { emergency: true, score: Some(0.0), ..Assessment::default() };
        assert_eq!(assessment.crisis(), Some(Severity::Critical));
    }
}
