//! Bounds that stand in the place of the table's.

use std::collections::BTreeMap;

use super::{
    rule::{Bound, Rule, When},
    rules::{RULES, rule},
};

/// The bounds that are in force: the table's, but for those that somebody has chosen.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Thresholds(BTreeMap<&'static str, f64>);

/// A bound that no rule can go by.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ThresholdError {
    /// Nobody is called so.
    #[error("no rule is called `{0}`; those that have a bound are {names}", names = bounded())]
    Unknown(String),
    /// The rule has none.
    #[error("nothing is measured for `{0}`, so it has no bound; those that have one are {names}", names = bounded())]
    Unmeasured(&'static str),
    /// The number is none that anything can be compared with.
    #[error("{1} is no bound of `{0}`: it has to be finite and not negative")]
    NoNumber(&'static str, f64),
}

impl Thresholds {
    /// The table's, but for these: rules by name, each with its bound.
    pub fn new<'n>(chosen: impl IntoIterator<Item = (&'n str, f64)>) -> Result<Self, ThresholdError> {
        let known = |(name, number): (&str, f64)| {
            let rule = rule(name).ok_or_else(|| ThresholdError::Unknown(name.chars().take(80).collect()))?;
            if !matches!(rule.when, When::Figure(..)) {
                return Err(ThresholdError::Unmeasured(rule.name));
            }
            if !number.is_finite() || number < 0.0 {
                return Err(ThresholdError::NoNumber(rule.name, number));
            }
            Ok((rule.name, number))
        };
        chosen.into_iter().map(known).collect::<Result<_, _>>().map(Self)
    }

    /// The bound of `rule` that is in force; `None` if nothing is measured for it.
    pub fn bound(&self, rule: &Rule) -> Option<Bound> {
        let When::Figure(_, bound) = rule.when else { return None };
        Some(self.0.get(rule.name).map_or(bound, |number| bound.at(*number)))
    }

    /// Whether it is another one than the table's.
    pub fn is_changed(&self, rule: &Rule) -> bool {
        self.bound(rule) != Self::default().bound(rule)
    }
}

/// The names of the rules that have a bound.
fn bounded() -> String {
    let bounded = RULES.iter().filter(|rule| matches!(rule.when, When::Figure(..)));
    bounded.map(|rule| rule.name).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::{super::rules, *};

    #[test]
    fn a_bound_keeps_its_direction_and_every_other_one_its_number() {
        let chosen =
            Thresholds::new([("MemoryHigh", 0.9), ("NoWorkers", 2.0), ("LaneWaiting", 900.0)]).unwrap();
        assert_eq!(chosen.bound(&rules::MEMORY_HIGH), Some(Bound::Above(0.9)));
        assert_eq!(chosen.bound(&rules::NO_WORKERS), Some(Bound::Below(2.0)));
        assert_eq!(chosen.bound(&rules::PROCESSOR_HIGH), Some(Bound::Above(0.7)));
        assert_eq!(chosen.bound(&rules::ALERT_TEST), None);
        let changed = RULES.into_iter().filter(|rule| chosen.is_changed(rule));
        assert_eq!(changed.map(|rule| rule.name).collect::<Vec<_>>(), ["NoWorkers", "MemoryHigh"]);
    }

    #[test]
    fn what_bounds_nothing_is_refused_with_the_names_of_what_can_be_bounded() {
        for (name, number, said) in [
            ("MemoryHi", 1.0, "no rule is called `MemoryHi`"),
            ("AlertTest", 1.0, "nothing is measured for `AlertTest`"),
            ("MemoryHigh", f64::NAN, "NaN is no bound of `MemoryHigh`"),
            ("MemoryHigh", f64::INFINITY, "inf is no bound"),
            ("MemoryHigh", -1.0, "-1 is no bound"),
        ] {
            let error = Thresholds::new([(name, number)]).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
            let names_all = error.contains("CrisisWaiting, ") && !error.contains("CrisisRehearsalFailed");
            assert!(names_all || name == "MemoryHigh", "{error}");
        }
    }
}
