//! How severe a crisis is, and what follows from it: how fast it has to be answered, how long a sign of it counts, and
//! what it opens.

use std::time::Duration;

use super::grace::{CRITICAL_CRISIS_DAYS, DAY_MS, HIGH_CRISIS_DAYS, MODERATE_CRISIS_DAYS};

/// How severe a crisis is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Needs attention.
    Moderate,
    /// Needs it soon.
    High,
    /// Needs it now.
    Critical,
}

/// How long data for a call to the hotline may take, in milliseconds (003: `HOTLINE_ACCESS_LIMIT`).
pub const HOTLINE_LIMIT_MS: u64 = 50;

/// How long a response may take in a critical crisis, in milliseconds (003: `EMERGENCY_RESPONSE_LIMIT`).
pub const CRITICAL_LIMIT_MS: u64 = 100;

/// How long a response may take in a high crisis, and in one whose severity is unknown, in milliseconds (003:
/// `CRISIS_RESPONSE_LIMIT`).
pub const HIGH_LIMIT_MS: u64 = 200;

/// How long a response may take in a moderate crisis, in milliseconds (003: one and a half times that of a high one).
pub const MODERATE_LIMIT_MS: u64 = HIGH_LIMIT_MS * 3 / 2;

/// Whether an answer that took `took` is late where it may take `limit`: whatever takes exactly that long is in time.
/// Counted in whole microseconds, as answers are noted. The one place that says so: the watch, the metrics, the canary,
/// a rehearsal and the reports ask here, so that none of them calls late what another one calls in time.
pub const fn is_late(took: Duration, limit: Duration) -> bool {
    took.as_micros() > limit.as_micros()
}

impl Severity {
    /// Every severity, the mildest first.
    pub const ALL: [Severity; 3] = [Severity::Moderate, Severity::High, Severity::Critical];

    /// Its name in SQL, in signals and in the access document.
    pub const fn name(self) -> &'static str {
        match self {
            Severity::Moderate => "moderate",
            Severity::High => "high",
            Severity::Critical => "critical",
        }
    }

    /// The severity called `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|severity| severity.name() == name)
    }

    /// How long the response may take, in milliseconds (003: response time monitoring).
    pub const fn response_limit_ms(self) -> u64 {
        match self {
            Severity::Critical => CRITICAL_LIMIT_MS,
            Severity::High => HIGH_LIMIT_MS,
            Severity::Moderate => MODERATE_LIMIT_MS,
        }
    }

    /// How long a sign of this severity counts if nobody says that the crisis is over, in milliseconds. 003 says how
    /// long such a crisis is a reason for grace; a crisis that nobody has mentioned for that long has ended without
    /// anybody saying so. It leaves its grace period behind.
    pub const fn counts_for_ms(self) -> i64 {
        DAY_MS
            * match self {
                Severity::Critical => CRITICAL_CRISIS_DAYS,
                Severity::High => HIGH_CRISIS_DAYS,
                Severity::Moderate => MODERATE_CRISIS_DAYS,
            }
    }

    /// What the person may use while the crisis is open (001: `accessLevel`).
    pub const fn emergency_level(self) -> EmergencyLevel {
        match self {
            Severity::Critical => EmergencyLevel::Full,
            Severity::High => EmergencyLevel::Essential,
            Severity::Moderate => EmergencyLevel::CrisisOnly,
        }
    }
}

/// What emergency access opens, each level with all of the one before (001: `accessLevel`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EmergencyLevel {
    /// The emergency features of the crisis safety protocols.
    CrisisOnly,
    /// And what the tier of grace periods opens.
    Essential,
    /// And everything that the best tier opens.
    Full,
}

impl EmergencyLevel {
    /// Every level, the smallest first.
    pub const ALL: [EmergencyLevel; 3] =
        [EmergencyLevel::CrisisOnly, EmergencyLevel::Essential, EmergencyLevel::Full];

    /// Its name in the access document.
    pub const fn name(self) -> &'static str {
        match self {
            EmergencyLevel::CrisisOnly => "crisis_only",
            EmergencyLevel::Essential => "essential",
            EmergencyLevel::Full => "full",
        }
    }
}

/// Opened by every emergency access, beside the floor, which holds the rest of 003's `emergencyFeatureSet`: there is
/// `crisis_assessment` in it and, among what it keeps going, `moodTrackingAccess`.
pub const EMERGENCY_FEATURES: [&str; 2] = ["crisis_assessment", "mood_tracking"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::care::grace::{GraceReason, days};

    #[test]
    fn late_is_what_takes_longer_than_it_may_by_a_microsecond_or_more() {
        let limit = Duration::from_millis(100);
        for (took, late) in [
            (Duration::ZERO, false),
            (Duration::from_millis(100), false),
            (Duration::from_nanos(100_000_999), false),
            (Duration::from_micros(100_001), true),
            (Duration::from_millis(101), true),
        ] {
            assert_eq!(is_late(took, limit), late, "{took:?}");
        }
    }

    #[test]
    fn the_time_limits_are_those_of_the_protocols() {
        assert_eq!(Severity::ALL.map(Severity::response_limit_ms), [300, 200, 100]);
        assert_eq!(HOTLINE_LIMIT_MS, 50);
    }

    #[test]
    fn every_severity_and_level_keeps_its_name() {
        for severity in Severity::ALL {
            assert_eq!(Severity::from_name(severity.name()), Some(severity));
        }
        assert_eq!(Severity::from_name("CRITICAL"), None);
        let levels = Severity::ALL.map(|severity| severity.emergency_level().name());
        assert_eq!(levels, ["crisis_only", "essential", "full"]);
        assert_eq!(EmergencyLevel::ALL.map(EmergencyLevel::name), levels);
    }

    #[test]
    fn a_sign_counts_no_longer_than_the_grace_that_comes_with_it() {
        for severity in Severity::ALL {
            let grace_ms = days(GraceReason::CrisisDetected, Some(severity)) * DAY_MS;
            assert_eq!(severity.counts_for_ms(), grace_ms);
        }
    }
}
