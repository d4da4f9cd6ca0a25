//! Crises: what signals one, how severe it is, and whether it is still open.
//!
//! A crisis is open if the newest signal is at or after the newest "resolved". Some things are a sign of crisis only
//! for somebody who is already in one (a cancellation, a failed payment, a failing tool): they make it more severe.
//! All of it follows from the set of signals alone, so the order in which they arrive makes no difference.

use keepwell_workers::clock::UnixMs;

/// How severe a crisis is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Needs attention.
    Moderate,
    /// Needs it soon.
    High,
    /// Needs it now.
    Critical,
}

/// How long data for a call to the hotline may take, in milliseconds (crisis safety protocols, response time
/// monitoring).
pub const HOTLINE_LIMIT_MS: u64 = 50;

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

    /// How long the response may take, in milliseconds (crisis safety protocols, response time monitoring).
    pub const fn response_limit_ms(self) -> u64 {
        match self {
            Severity::Critical => 100,
            Severity::High => 200,
            Severity::Moderate => 300,
        }
    }

    /// What the person may use while the crisis is open.
    pub const fn emergency_level(self) -> EmergencyLevel {
        match self {
            Severity::Critical => EmergencyLevel::Full,
            Severity::High => EmergencyLevel::Essential,
            Severity::Moderate => EmergencyLevel::CrisisOnly,
        }
    }
}

/// What emergency access opens, each level with all of the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum EmergencyLevel {
    /// The emergency features of the crisis safety protocols.
    CrisisOnly,
    /// And what the tier of grace periods opens.
    Essential,
    /// And everything that the best tier opens.
    Full,
}

impl EmergencyLevel {
    /// Its name in the access document.
    pub const fn name(self) -> &'static str {
        match self {
            EmergencyLevel::CrisisOnly => "crisis_only",
            EmergencyLevel::Essential => "essential",
            EmergencyLevel::Full => "full",
        }
    }
}

/// Opened by every emergency access, beside the floor (crisis safety protocols, emergency access).
pub const EMERGENCY_FEATURES: [&str; 2] = ["crisis_assessment", "mood_tracking"];

/// What makes somebody's crisis known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The crisis button.
    Button,
    /// The result of an assessment.
    Assessment,
    /// Words that the app watches for.
    Keyword,
    /// A clinician.
    Clinician,
    /// A rapid deterioration of mood.
    Deterioration,
    /// `crisisMode` in Stripe's metadata, or payment trouble in a crisis.
    Payment,
    /// A threat or a failing tool in a crisis.
    System,
    /// The app named something else.
    Other,
}

impl Source {
    /// Every source.
    pub const ALL: [Source; 8] = [
        Source::Button,
        Source::Assessment,
        Source::Keyword,
        Source::Clinician,
        Source::Deterioration,
        Source::Payment,
        Source::System,
        Source::Other,
    ];

    /// Its name in SQL and in signals.
    pub const fn name(self) -> &'static str {
        match self {
            Source::Button => "button",
            Source::Assessment => "assessment",
            Source::Keyword => "keyword",
            Source::Clinician => "clinician",
            Source::Deterioration => "deterioration",
            Source::Payment => "payment",
            Source::System => "system",
            Source::Other => "other",
        }
    }

    /// The source called `name`, or [`Source::Other`].
    pub fn from_name(name: &str) -> Self {
        Self::ALL.into_iter().find(|source| source.name() == name).unwrap_or(Source::Other)
    }
}

/// One sign of a crisis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signal {
    /// What makes it known.
    pub source: Source,
    /// How severe.
    pub severity: Severity,
    /// When (see [`signal_time_ms`]).
    pub at_ms: UnixMs,
    /// Counts only for somebody who is in a crisis for another reason at that time.
    pub only_in_crisis: bool,
}

/// A signal that is at most this late counts at its own time; see [`signal_time_ms`].
pub const LATE_MS: i64 = 15 * 60 * 1_000;

/// When a signal counts that says `stated_ms` and came at `received_ms`. A clock that is ahead is set back. What comes
/// later than [`LATE_MS`] counts as of now: a "resolved" in between may not have known of it, and doubt favours care.
pub const fn signal_time_ms(stated_ms: Option<UnixMs>, received_ms: UnixMs) -> UnixMs {
    match stated_ms {
        Some(stated_ms) if stated_ms <= received_ms && received_ms.saturating_sub(stated_ms) <= LATE_MS => {
            stated_ms
        }
        _ => received_ms,
    }
}

/// When a "resolved" counts that says `stated_ms` and came at `received_ms`: at its own time however late it comes, but
/// never in the future, where it would hide signals to come.
pub const fn resolved_time_ms(stated_ms: Option<UnixMs>, received_ms: UnixMs) -> UnixMs {
    match stated_ms {
        Some(stated_ms) if stated_ms < received_ms => stated_ms,
        _ => received_ms,
    }
}

/// An open crisis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crisis {
    /// The highest of its signals.
    pub severity: Severity,
    /// When its first signal came.
    pub since_ms: UnixMs,
}

/// The open crisis that `signals` show, unless they all came before the newest "resolved".
pub fn open_crisis<'s>(
    signals: impl Iterator<Item = &'s Signal> + Clone,
    resolved_ms: Option<UnixMs>,
) -> Option<Crisis> {
    let open = signals.filter(|signal| resolved_ms.is_none_or(|resolved_ms| signal.at_ms >= resolved_ms));
    let since_ms = open.clone().filter(|signal| !signal.only_in_crisis).map(|signal| signal.at_ms).min()?;
    let severity = open.filter(|signal| signal.at_ms >= since_ms).map(|signal| signal.severity).max()?;
    Some(Crisis { severity, since_ms })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signal(severity: Severity, at_ms: UnixMs, only_in_crisis: bool) -> Signal {
        Signal { source: Source::Button, severity, at_ms, only_in_crisis }
    }

    #[test]
    fn a_crisis_is_open_until_a_later_resolved() {
        let signals = [signal(Severity::Moderate, 10, false), signal(Severity::High, 20, false)];
        let open = |resolved_ms| open_crisis(signals.iter(), resolved_ms);
        assert_eq!(open(None), Some(Crisis { severity: Severity::High, since_ms: 10 }));
        assert_eq!(open(Some(11)), Some(Crisis { severity: Severity::High, since_ms: 20 }));
        assert_eq!(open(Some(20)), Some(Crisis { severity: Severity::High, since_ms: 20 }));
        assert_eq!(open(Some(21)), None);
    }

    #[test]
    fn payment_trouble_alone_is_no_crisis_but_makes_one_more_severe() {
        let trouble = signal(Severity::High, 15, true);
        assert_eq!(open_crisis([trouble.clone()].iter(), None), None);
        let button = signal(Severity::Moderate, 10, false);
        assert_eq!(
            open_crisis([trouble.clone(), button].iter(), None),
            Some(Crisis { severity: Severity::High, since_ms: 10 })
        );
        let later = signal(Severity::Moderate, 16, false);
        assert_eq!(
            open_crisis([trouble, later].iter(), None),
            Some(Crisis { severity: Severity::Moderate, since_ms: 16 })
        );
    }

    #[test]
    fn a_late_signal_counts_as_of_now_and_a_late_resolved_does_not() {
        assert_eq!(signal_time_ms(Some(1_000), 1_000 + LATE_MS), 1_000);
        assert_eq!(signal_time_ms(Some(1_000), 1_001 + LATE_MS), 1_001 + LATE_MS);
        assert_eq!((signal_time_ms(Some(9), 5), signal_time_ms(None, 5)), (5, 5));
        assert_eq!(signal_time_ms(Some(i64::MIN), i64::MAX), i64::MAX);
        assert_eq!((resolved_time_ms(Some(1), 9 * LATE_MS), resolved_time_ms(Some(9), 5)), (1, 5));
    }

    #[test]
    fn names_and_limits_are_those_of_the_protocols() {
        assert_eq!(Severity::ALL.map(Severity::response_limit_ms), [300, 200, 100]);
        assert!(Severity::ALL.iter().all(|severity| Severity::from_name(severity.name()) == Some(*severity)));
        assert!(Source::ALL.iter().all(|source| Source::from_name(source.name()) == *source));
        assert_eq!(Source::from_name("telepathy"), Source::Other);
    }
}
