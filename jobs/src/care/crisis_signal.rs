//! Signs of a crisis: what each one comes from, and when it counts.

use keepwell_workers::clock::UnixMs;

use super::severity::Severity;

/// What makes somebody's crisis known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// The crisis button.
    Button,
    /// The result of an assessment (003: PHQ-9, GAD-7, suicidal ideation, emergency assessment).
    Assessment,
    /// Words that the app watches for.
    Keyword,
    /// A clinician.
    Clinician,
    /// A rapid deterioration of mood, noticed by the app or in the scores (003).
    Deterioration,
    /// The app named something else.
    Other,
    /// `crisisMode` in Stripe's metadata.
    Payment,
    /// A subscription ended (003: cancellation during an active crisis episode).
    Cancellation,
    /// A payment failed (003: failure during high-risk assessment periods).
    PaymentFailure,
    /// A payment failed again (003: multiple payment attempts during a crisis window).
    RepeatedFailure,
    /// A grace period came to its end (003: expiration during vulnerable periods).
    GraceExpiry,
    /// Something of ours in a crisis.
    System,
    /// A crisis was answered too late (003: processing delays during crisis episodes).
    SlowProcessing,
    /// A security threat (003).
    SecurityThreat,
    /// A tool failed that helps in a crisis, or calling for help did (003).
    ToolFailure,
    /// An elevated score: the begin of a high-risk period (003), and no sign of a crisis by itself.
    HighRisk,
}

/// What kind of trouble a crisis is (003: `crisisType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CrisisKind {
    /// Somebody is unwell.
    Clinical,
    /// Money makes it worse.
    Payment,
    /// Something of ours makes it worse.
    System,
    /// More than one of these.
    Combined,
}

impl CrisisKind {
    /// Its name in the access document.
    pub const fn name(self) -> &'static str {
        match self {
            CrisisKind::Clinical => "clinical",
            CrisisKind::Payment => "payment",
            CrisisKind::System => "system",
            CrisisKind::Combined => "combined",
        }
    }

    /// Both kinds together.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        if self == other { self } else { CrisisKind::Combined }
    }
}

/// When a sign counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Bearing {
    /// It makes a crisis by itself.
    ByItself,
    /// It adds to a crisis that is open, and makes one in a high-risk period.
    InHighRisk,
    /// It adds to a crisis that is open, and is nothing otherwise.
    InCrisis,
    /// It is no sign of a crisis; a high-risk period begins with it.
    Risk,
}

impl Source {
    /// Every source.
    pub const ALL: [Source; 16] = [
        Source::Button,
        Source::Assessment,
        Source::Keyword,
        Source::Clinician,
        Source::Deterioration,
        Source::Other,
        Source::Payment,
        Source::Cancellation,
        Source::PaymentFailure,
        Source::RepeatedFailure,
        Source::GraceExpiry,
        Source::System,
        Source::SlowProcessing,
        Source::SecurityThreat,
        Source::ToolFailure,
        Source::HighRisk,
    ];

    /// Those that the app may name in a `crisis.signal`.
    const OF_THE_APP: [Source; 5] =
        [Source::Button, Source::Assessment, Source::Keyword, Source::Clinician, Source::Deterioration];

    /// Its name in SQL and in signals.
    pub const fn name(self) -> &'static str {
        match self {
            Source::Button => "button",
            Source::Assessment => "assessment",
            Source::Keyword => "keyword",
            Source::Clinician => "clinician",
            Source::Deterioration => "deterioration",
            Source::Other => "other",
            Source::Payment => "payment",
            Source::Cancellation => "cancellation",
            Source::PaymentFailure => "payment_failure",
            Source::RepeatedFailure => "repeated_payment_failure",
            Source::GraceExpiry => "grace_expiry",
            Source::System => "system",
            Source::SlowProcessing => "slow_processing",
            Source::SecurityThreat => "security_threat",
            Source::ToolFailure => "tool_failure",
            Source::HighRisk => "high_risk",
        }
    }

    /// The source called `name`, or [`Source::Other`].
    pub fn from_name(name: &str) -> Self {
        Self::ALL.into_iter().find(|source| source.name() == name).unwrap_or(Source::Other)
    }

    /// The source that the app calls `name`: whatever it says is a sign of a crisis by itself, so what has a meaning of
    /// its own here is [`Source::Other`] there.
    pub fn said_by_the_app(name: &str) -> Self {
        Self::OF_THE_APP.into_iter().find(|source| source.name() == name).unwrap_or(Source::Other)
    }

    /// What kind of trouble it tells of.
    pub const fn kind(self) -> CrisisKind {
        match self {
            Source::Payment
            | Source::Cancellation
            | Source::PaymentFailure
            | Source::RepeatedFailure
            | Source::GraceExpiry => CrisisKind::Payment,
            Source::System | Source::SlowProcessing | Source::SecurityThreat | Source::ToolFailure => {
                CrisisKind::System
            }
            _ => CrisisKind::Clinical,
        }
    }

    /// Whether it is a failed payment.
    pub const fn is_payment_failure(self) -> bool {
        matches!(self, Source::PaymentFailure | Source::RepeatedFailure)
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
    /// Makes no crisis by itself.
    pub only_in_crisis: bool,
}

impl Signal {
    /// When it counts.
    pub const fn bearing(&self) -> Bearing {
        match self.source {
            Source::HighRisk => Bearing::Risk,
            _ if !self.only_in_crisis => Bearing::ByItself,
            Source::PaymentFailure | Source::RepeatedFailure | Source::GraceExpiry => Bearing::InHighRisk,
            _ => Bearing::InCrisis,
        }
    }
}

/// By which road an event of Stripe's came.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Road {
    /// A webhook brought it.
    #[default]
    Brought,
    /// Nobody had brought it, and Stripe was asked for what it keeps: it may be thirty days old.
    Fetched,
}

impl Road {
    /// When a sign counts that an event is which was made in the second `created_s`, came by this road and was received
    /// at `received_ms`. What was fetched counts when it was made, however long ago that is.
    pub const fn event_time_ms(self, created_s: i64, received_ms: UnixMs) -> UnixMs {
        match self {
            Road::Brought => event_time_ms(created_s, received_ms),
            Road::Fetched => past_event_time_ms(created_s, received_ms),
        }
    }
}

impl Signal {
    /// The sign of a crisis that the metadata of an event of Stripe's are, made in the second `created_s` and received
    /// at `received_ms`. It counts as high: metadata cannot say more. Of an event that was fetched it counts when the
    /// event was made, however long ago that is: nobody is in a crisis anew because of what stands in a history.
    pub const fn of_metadata(road: Road, created_s: i64, received_ms: UnixMs) -> Self {
        let at_ms = road.event_time_ms(created_s, received_ms);
        Self { source: Source::Payment, severity: Severity::High, at_ms, only_in_crisis: false }
    }
}

/// A signal that is at most this late counts at its own time, in milliseconds; see [`signal_time_ms`].
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

/// When a signal counts that an event of Stripe's is, made in the second `created_s` and received at `received_ms`: at
/// the end of that second, for it may have been made then, and what it is a part of may have begun in it.
pub const fn event_time_ms(created_s: i64, received_ms: UnixMs) -> UnixMs {
    let begin_ms = created_s.saturating_mul(1_000);
    // A late one, and one of a clock that is ahead, counts as of now.
    if signal_time_ms(Some(begin_ms), received_ms) == begin_ms {
        begin_ms.saturating_add(999)
    } else {
        received_ms
    }
}

/// When an event of Stripe's counts that is over: at the end of the second `created_s` in which it was made, however
/// late it is received. One of a clock that is ahead counts as of now.
pub const fn past_event_time_ms(created_s: i64, received_ms: UnixMs) -> UnixMs {
    let begin_ms = created_s.saturating_mul(1_000);
    if begin_ms <= received_ms { begin_ms.saturating_add(999) } else { received_ms }
}

/// When a "resolved" counts that says `stated_ms` and came at `received_ms`, and when an assessment was taken: at its
/// own time however late it comes, but never in the future, where a "resolved" would hide signals to come.
pub const fn resolved_time_ms(stated_ms: Option<UnixMs>, received_ms: UnixMs) -> UnixMs {
    match stated_ms {
        Some(stated_ms) if stated_ms < received_ms => stated_ms,
        _ => received_ms,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_signal_counts_as_of_now_and_a_late_resolved_does_not() {
        assert_eq!(LATE_MS, 900_000);
        assert_eq!(signal_time_ms(Some(1_000), 1_000 + LATE_MS), 1_000);
        assert_eq!(signal_time_ms(Some(1_000), 1_001 + LATE_MS), 1_001 + LATE_MS);
        assert_eq!((signal_time_ms(Some(9), 5), signal_time_ms(None, 5)), (5, 5));
        assert_eq!(signal_time_ms(Some(i64::MIN), i64::MAX), i64::MAX);
        assert_eq!((event_time_ms(7, 7_001), event_time_ms(7, 7_000 + LATE_MS)), (7_999, 7_999));
        assert_eq!((event_time_ms(7, 7_001 + LATE_MS), event_time_ms(9, 7_001)), (7_001 + LATE_MS, 7_001));
        assert_eq!(event_time_ms(i64::MAX, i64::MAX), i64::MAX);
        assert_eq!((resolved_time_ms(Some(1), 9 * LATE_MS), resolved_time_ms(Some(9), 5)), (1, 5));
    }

    #[test]
    fn what_metadata_say_counts_when_the_event_was_made_if_it_was_fetched_and_as_of_now_if_it_was_brought() {
        let at_ms = |road, created_s, received_ms| Signal::of_metadata(road, created_s, received_ms).at_ms;
        let weeks_ms = 21 * 24 * 60 * 60 * 1_000;
        for (since_ms, brought_ms) in [(0, 7_999), (LATE_MS, 7_999), (LATE_MS + 1, 7_001 + LATE_MS)] {
            assert_eq!(at_ms(Road::Brought, 7, 7_000 + since_ms), brought_ms);
            assert_eq!(at_ms(Road::Fetched, 7, 7_000 + since_ms), 7_999);
        }
        assert_eq!(at_ms(Road::Brought, 7, 7_000 + weeks_ms), 7_000 + weeks_ms);
        assert_eq!(at_ms(Road::Fetched, 7, 7_000 + weeks_ms), 7_999);
        assert_eq!(at_ms(Road::Fetched, 9, 7_001), 7_001, "of a clock that is ahead");
        let signal = Signal::of_metadata(Road::default(), 7, 7_001);
        assert_eq!((signal.severity, signal.bearing()), (Severity::High, Bearing::ByItself));
    }

    #[test]
    fn every_source_keeps_its_name_and_the_app_says_only_what_is_its_own() {
        for source in Source::ALL {
            assert_eq!(Source::from_name(source.name()), source);
            let said = Source::said_by_the_app(source.name());
            assert_eq!(said.kind(), CrisisKind::Clinical, "{source:?}");
            assert_ne!(said, Source::HighRisk);
        }
        assert_eq!(Source::said_by_the_app("keyword"), Source::Keyword);
        assert_eq!(Source::from_name("telepathy"), Source::Other);
    }

    #[test]
    fn only_what_the_protocols_call_a_payment_or_system_trigger_is_one() {
        use CrisisKind::{Clinical, Payment, System};
        let names = [Clinical, Payment, System, CrisisKind::Combined].map(CrisisKind::name);
        assert_eq!(names, ["clinical", "payment", "system", "combined"]);
        let kinds = Source::ALL.map(Source::kind);
        let of = |kind| kinds.iter().filter(|found| **found == kind).count();
        assert_eq!((of(Clinical), of(Payment), of(System)), (7, 5, 4));
        assert_eq!((Clinical.with(Clinical), Payment.with(System)), (Clinical, CrisisKind::Combined));
    }
}
