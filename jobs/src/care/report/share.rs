//! Shares, compared exactly and never rounded up.

use serde::{Deserialize, Serialize};

/// So many of so many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// Those that kept what was asked of them.
    pub kept: u64,
    /// All of them.
    pub of: u64,
}

impl Share {
    /// In percent, rounded down to hundredths, so that nothing short of all of them is ever called 100; `None` of
    /// nothing.
    pub fn percent(self) -> Option<f64> {
        let hundredths = (u128::from(self.kept) * 10_000).checked_div(u128::from(self.of))?;
        Some(hundredths as f64 / 100.0)
    }

    /// How it stands against a target of `target_percent`.
    pub fn status(self, target_percent: u64) -> Status {
        if self.of == 0 {
            return Status::NoEvents;
        }
        let meets = u128::from(self.kept) * 100 >= u128::from(self.of) * u128::from(target_percent);
        if meets { Status::Compliant } else { Status::NonCompliant }
    }
}

/// How something stands against what is asked of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// As it has to be.
    Compliant,
    /// Not as it has to be.
    NonCompliant,
    /// Nothing happened that could have been one or the other.
    NoEvents,
    /// Nobody can say.
    NotMeasured,
}

impl Status {
    /// In words.
    pub const fn words(self) -> &'static str {
        match self {
            Status::Compliant => "compliant",
            Status::NonCompliant => "not compliant",
            Status::NoEvents => "no events",
            Status::NotMeasured => "not measured",
        }
    }

    /// Of something that is known to be so, known not to be, or not known.
    pub const fn of(known: Option<bool>) -> Self {
        match known {
            Some(true) => Status::Compliant,
            Some(false) => Status::NonCompliant,
            None => Status::NotMeasured,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_compared_exactly_and_never_rounded_up() {
        let share = |kept, of| Share { kept, of };
        for (share, percent, at_95, at_100) in [
            (share(0, 0), None, Status::NoEvents, Status::NoEvents),
            (share(95, 100), Some(95.0), Status::Compliant, Status::NonCompliant),
            (share(94_999, 100_000), Some(94.99), Status::NonCompliant, Status::NonCompliant),
            (share(999_999, 1_000_000), Some(99.99), Status::Compliant, Status::NonCompliant),
            (share(7, 7), Some(100.0), Status::Compliant, Status::Compliant),
            (share(0, 3), Some(0.0), Status::NonCompliant, Status::NonCompliant),
        ] {
            assert_eq!((share.percent(), share.status(95), share.status(100)), (percent, at_95, at_100));
        }
    }

    #[test]
    fn every_status_keeps_its_words() {
        let all = [Status::Compliant, Status::NonCompliant, Status::NoEvents, Status::NotMeasured];
        assert_eq!(all.map(Status::words), ["compliant", "not compliant", "no events", "not measured"]);
    }
}
