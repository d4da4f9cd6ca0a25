//! Grace periods: how long care goes on unchanged after something went wrong (crisis safety protocols, grace period
//! durations). A grace period is never shortened.

use chrono_tz::Tz;
use keepwell_workers::clock::UnixMs;
use serde::{Deserialize, Serialize};

use super::{crisis::Severity, home::local_day};

/// One day in milliseconds.
pub const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

/// After a payment failed.
pub const PAYMENT_FAILURE_DAYS: i64 = 7;
/// After a subscription ended.
pub const SUBSCRIPTION_CANCELED_DAYS: i64 = 7;
/// After one of our own faults.
pub const SYSTEM_ERROR_DAYS: i64 = 3;
/// Whenever no other number is given; also how far a grace period is extended that would end in a vulnerable time.
pub const DEFAULT_DAYS: i64 = 7;
/// Whatever the reason, during a critical crisis.
pub const CRITICAL_CRISIS_DAYS: i64 = 30;
/// Whatever the reason, during a high crisis.
pub const HIGH_CRISIS_DAYS: i64 = 21;
/// Whatever the reason, during a moderate crisis.
pub const MODERATE_CRISIS_DAYS: i64 = 14;

/// Why a grace period was granted. Of several, the first in this order is the one that is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GraceReason {
    /// The person was in a crisis.
    CrisisDetected,
    /// A payment failed.
    PaymentFailure,
    /// A subscription ended.
    SubscriptionCanceled,
    /// Something of ours failed.
    SystemError,
}

impl GraceReason {
    /// Every reason.
    pub const ALL: [GraceReason; 4] =
        [Self::CrisisDetected, Self::PaymentFailure, Self::SubscriptionCanceled, Self::SystemError];

    /// Its name in SQL and in the access document.
    pub const fn name(self) -> &'static str {
        match self {
            Self::CrisisDetected => "crisis_detected",
            Self::PaymentFailure => "payment_failure",
            Self::SubscriptionCanceled => "subscription_canceled",
            Self::SystemError => "system_error",
        }
    }

    /// The reason called `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.name() == name)
    }
}

/// How many days are granted for `reason`, and more in a crisis.
pub const fn days(reason: GraceReason, crisis: Option<Severity>) -> i64 {
    match (crisis, reason) {
        (Some(Severity::Critical), _) => CRITICAL_CRISIS_DAYS,
        (Some(Severity::High), _) => HIGH_CRISIS_DAYS,
        (Some(Severity::Moderate), _) => MODERATE_CRISIS_DAYS,
        (None, GraceReason::PaymentFailure) => PAYMENT_FAILURE_DAYS,
        (None, GraceReason::SubscriptionCanceled) => SUBSCRIPTION_CANCELED_DAYS,
        (None, GraceReason::SystemError) => SYSTEM_ERROR_DAYS,
        (None, GraceReason::CrisisDetected) => DEFAULT_DAYS,
    }
}

/// What happens to a grace period that is known already when its reason is told again (001, `gracePeriodHandling`).
/// None of them ever moves an end closer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GraceHandling {
    /// It goes on as it is: the tenth reminder of one unpaid invoice grants no more than the first.
    Preserve,
    /// It counts anew from the last time, because its cause may come back for ever.
    Extend,
    /// A crisis is open: it counts anew from now, with the days of the crisis, whatever the reason.
    ClinicalPriority,
}

impl GraceHandling {
    /// How a grace period for `reason` is handled.
    pub const fn of(reason: GraceReason, crisis: Option<Severity>) -> Self {
        match (crisis, reason) {
            (Some(_), _) => Self::ClinicalPriority,
            (None, GraceReason::CrisisDetected | GraceReason::SystemError) => Self::Extend,
            (None, GraceReason::PaymentFailure | GraceReason::SubscriptionCanceled) => Self::Preserve,
        }
    }

    /// Its name in the seeds' words.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Preserve => "preserve",
            Self::Extend => "extend",
            Self::ClinicalPriority => "clinical-priority",
        }
    }
}

/// Which grace period: a reason and what caused it (an invoice, a subscription), so that hearing of the same cause
/// twice grants one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct GraceKey {
    /// Why.
    pub reason: GraceReason,
    /// The id of what caused it.
    pub cause: String,
}

/// A grace period.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grace {
    /// When we learned of the cause and applied it.
    pub started_ms: UnixMs,
    /// Until when it lasts; not included.
    pub ends_ms: UnixMs,
    /// Its end has come and was seen to.
    pub closed: bool,
    /// The subscription whose trouble it covers.
    pub subscription: Option<String>,
    /// When the newest event about the trouble was made, in seconds since the Unix epoch.
    pub trouble_s: Option<i64>,
}

impl Grace {
    /// One that starts at `started_ms` and lasts `days`.
    pub const fn starting(started_ms: UnixMs, days: i64) -> Self {
        let ends_ms = started_ms.saturating_add(days.saturating_mul(DAY_MS));
        Self { started_ms, ends_ms, closed: false, subscription: None, trouble_s: None }
    }

    /// Whether it has ended at `at_ms`, seen to or not.
    pub const fn is_over_at(&self, at_ms: UnixMs) -> bool {
        self.closed || self.ends_ms <= at_ms
    }

    /// Until when it lasts at `now_ms`: whoever is protected as it ends gets [`DEFAULT_DAYS`] more, and again, for as
    /// long as the protection lasts.
    pub fn ends_ms(&self, protected_until_ms: Option<UnixMs>, now_ms: UnixMs) -> UnixMs {
        let Some(until_ms) = protected_until_ms else { return self.ends_ms };
        // Whoever was protected until the very end of it is no longer.
        let over_ms = now_ms.min(until_ms.saturating_sub(1)).saturating_sub(self.ends_ms);
        if self.closed || over_ms < 0 {
            return self.ends_ms;
        }
        let extension_ms = DEFAULT_DAYS * DAY_MS;
        let extensions = over_ms / extension_ms + 1;
        self.ends_ms.saturating_add(extensions.saturating_mul(extension_ms))
    }

    /// Takes in what another event about the same cause says. The start stays, the end only moves away. In a crisis
    /// what was closed begins anew.
    pub fn take_in(&mut self, other: Self, handling: GraceHandling) {
        if self.closed && handling == GraceHandling::ClinicalPriority {
            return self.restart(other);
        }
        self.ends_ms = match handling {
            GraceHandling::Preserve => {
                let days_ms = other.ends_ms.saturating_sub(other.started_ms);
                let started_ms = self.started_ms.min(other.started_ms);
                self.ends_ms.max(started_ms.saturating_add(days_ms))
            }
            GraceHandling::Extend | GraceHandling::ClinicalPriority => self.ends_ms.max(other.ends_ms),
        };
        self.started_ms = self.started_ms.min(other.started_ms);
        self.merge_trouble(other.subscription, other.trouble_s);
    }

    /// Begins anew at another event's start, keeping the later end.
    pub fn restart(&mut self, other: Self) {
        self.started_ms = other.started_ms;
        self.ends_ms = self.ends_ms.max(other.ends_ms);
        self.closed = false;
        self.merge_trouble(other.subscription, other.trouble_s);
    }

    fn merge_trouble(&mut self, subscription: Option<String>, trouble_s: Option<i64>) {
        self.trouble_s = self.trouble_s.max(trouble_s);
        if subscription > self.subscription {
            self.subscription = subscription;
        }
    }
}

/// Days left at `now_ms`, at least 1 until the end is there and 0 from then on. They are days of 24 hours, a started
/// one counted, because so many were granted. In a known `zone` the next one begins at midnight there and not in the
/// middle of the day: what ends tomorrow has 1 day left, all day long.
pub fn remaining_days(ends_ms: UnixMs, now_ms: UnixMs, zone: Option<Tz>) -> i64 {
    let left_ms = ends_ms.saturating_sub(now_ms);
    if left_ms <= 0 {
        return 0;
    }
    let days = (left_ms - 1) / DAY_MS + 1;
    // When as many days were left to the millisecond: at the start of the period, or at the same time of a later day.
    // Counted from there, an hour that summer time adds or takes on the way to the end makes no day more or less.
    let whole_ms = ends_ms.saturating_sub(days.saturating_mul(DAY_MS));
    let dates = zone.and_then(|zone| Some((local_day(whole_ms, zone)?, local_day(now_ms, zone)?)));
    let has_begun = dates.is_some_and(|(then, today)| then != today);
    days.saturating_sub(i64::from(has_begun)).max(1)
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            crisis::Road,
            facts::{Facts, PaymentFailure},
        },
        *,
    };

    #[test]
    fn durations_are_those_of_the_crisis_safety_protocols() {
        use GraceReason::{CrisisDetected, PaymentFailure, SubscriptionCanceled, SystemError};
        let without =
            [PaymentFailure, SubscriptionCanceled, CrisisDetected, SystemError].map(|r| days(r, None));
        assert_eq!(without, [7, 7, 7, 3]);
        for reason in GraceReason::ALL {
            let crisis = [Severity::Critical, Severity::High, Severity::Moderate];
            assert_eq!(crisis.map(|severity| days(reason, Some(severity))), [30, 21, 14]);
            assert_eq!(GraceReason::from_name(reason.name()), Some(reason));
        }
    }

    #[test]
    fn which_subscription_was_in_trouble_does_not_depend_on_the_order_of_news() {
        let learned = |order: [Option<&str>; 2]| {
            let mut facts = Facts::about("cus_1");
            for (subscription, number) in order.into_iter().zip(1..) {
                let failure = PaymentFailure {
                    invoice: "in_1".to_owned(),
                    subscription: subscription.map(str::to_owned),
                    attempt_count: 1,
                    event_created_s: 10,
                    event_id: format!("evt_{number}"),
                    road: Road::Brought,
                };
                facts.payment_failed(failure, 10_000);
            }
            facts.graces.into_values().map(|grace| grace.subscription).collect::<Vec<_>>()
        };
        let known = vec![Some("sub_1".to_owned())];
        assert_eq!(learned([Some("sub_1"), None]), known);
        assert_eq!(learned([None, Some("sub_1")]), known);
    }

    #[test]
    fn started_days_count() {
        let days = [0, 1, DAY_MS, DAY_MS + 1, 7 * DAY_MS].map(|left_ms| remaining_days(left_ms, 0, None));
        assert_eq!(days, [0, 1, 1, 2, 7]);
        assert_eq!(remaining_days(i64::MIN, i64::MAX, None), 0);
    }

    #[test]
    fn days_are_counted_on_the_calendar_of_the_persons_time_zone() {
        let ms = |text: &str| chrono::DateTime::parse_from_rfc3339(text).unwrap().timestamp_millis();
        let berlin = Some(chrono_tz::Europe::Berlin);
        // Summer time begins on the 29th of March: that day has 23 hours.
        let ends_ms = ms("2026-04-02T01:30:00+02:00");
        for (now, days) in [
            ("2026-03-26T01:30:00+01:00", 7),
            ("2026-03-26T23:59:59+01:00", 7),
            ("2026-03-27T00:00:00+01:00", 6),
            ("2026-04-01T00:00:00+02:00", 1),
            ("2026-04-01T23:59:59+02:00", 1),
            ("2026-04-02T00:30:00+02:00", 1),
            ("2026-04-02T01:30:00+02:00", 0),
        ] {
            assert_eq!(remaining_days(ends_ms, ms(now), berlin), days, "{now}");
        }
        // The same instants on the other side of the world.
        let honolulu = Some(chrono_tz::Pacific::Honolulu);
        assert_eq!(remaining_days(ends_ms, ms("2026-03-27T00:00:00+01:00"), honolulu), 6);
        assert_eq!(remaining_days(ends_ms, ms("2026-03-26T09:00:00+01:00"), honolulu), 7);
        assert_eq!(remaining_days(i64::MAX, 0, berlin), i64::MAX / DAY_MS + 1);
    }

    #[test]
    fn as_many_days_are_left_at_the_start_as_were_granted_whatever_summer_time_does() {
        let ms = |text: &str| chrono::DateTime::parse_from_rfc3339(text).unwrap().timestamp_millis();
        let berlin = Some(chrono_tz::Europe::Berlin);
        for start in [
            // The clock is set back on the 25th of October: seven days of 24 hours end before midnight.
            "2026-10-20T00:30:00+02:00",
            "2026-10-24T00:00:00+02:00",
            // It is set forward on the 29th of March: they end after it.
            "2026-03-25T23:30:00+01:00",
            "2026-07-01T00:30:00+02:00",
        ] {
            let start_ms = ms(start);
            for days in [3, 7, 14, 21, 30] {
                let ends_ms = start_ms + days * DAY_MS;
                assert_eq!(remaining_days(ends_ms, start_ms, berlin), days, "{start}");
                // From there it is a day less at a time, until the last one.
                let hours = (0..days * 24).map(|hour| start_ms + hour * 3_600_000);
                let left: Vec<i64> = hours.map(|at_ms| remaining_days(ends_ms, at_ms, berlin)).collect();
                assert!(left.windows(2).all(|two| (0..=1).contains(&(two[0] - two[1]))), "{start} {left:?}");
                assert_eq!(left.last(), Some(&1), "{start}");
            }
        }
    }

    #[test]
    fn a_closed_grace_period_begins_anew_when_its_cause_is_heard_of_in_a_crisis() {
        use GraceHandling::{ClinicalPriority, Preserve};
        for (handling, closed, started_ms) in [(ClinicalPriority, false, 9 * DAY_MS), (Preserve, true, 0)] {
            let mut grace = Grace { closed: true, ..Grace::starting(0, 7) };
            grace.take_in(Grace::starting(9 * DAY_MS, 30), handling);
            assert_eq!((grace.closed, grace.started_ms), (closed, started_ms), "{handling:?}");
        }
    }

    #[test]
    fn a_known_grace_period_is_preserved_extended_or_put_first_by_a_crisis() {
        use GraceHandling::{ClinicalPriority, Extend, Preserve};
        let of = |crisis| GraceReason::ALL.map(|reason| GraceHandling::of(reason, crisis));
        assert_eq!(of(None), [Extend, Preserve, Preserve, Extend]);
        assert_eq!(of(Some(Severity::Moderate)), [ClinicalPriority; 4]);
        let names = [Preserve, Extend, ClinicalPriority].map(GraceHandling::name);
        assert_eq!(names, ["preserve", "extend", "clinical-priority"]);
        for (handling, ends_ms) in [
            (Preserve, 7 * DAY_MS),
            (Extend, 2 * DAY_MS + 7 * DAY_MS),
            (ClinicalPriority, 2 * DAY_MS + 7 * DAY_MS),
        ] {
            let mut grace = Grace::starting(0, 7);
            grace.take_in(Grace::starting(2 * DAY_MS, 7), handling);
            assert_eq!((grace.started_ms, grace.ends_ms), (0, ends_ms), "{handling:?}");
            grace.take_in(Grace::starting(3 * DAY_MS, 1), handling);
            assert_eq!((grace.started_ms, grace.ends_ms), (0, ends_ms), "{handling:?}");
        }
    }

    #[test]
    fn hearing_of_a_cause_again_neither_moves_the_start_nor_shortens_the_end() {
        let mut grace = Grace::starting(1_000, 21);
        grace.take_in(Grace::starting(5_000, 7), GraceHandling::Preserve);
        assert_eq!((grace.started_ms, grace.ends_ms), (1_000, 1_000 + 21 * DAY_MS));
        grace.take_in(Grace::starting(6_000, 30), GraceHandling::Preserve);
        assert_eq!((grace.started_ms, grace.ends_ms), (1_000, 1_000 + 30 * DAY_MS));
        // What was learned earlier and is told later is the start from then on; the end stays where it is.
        grace.take_in(Grace::starting(500, 30), GraceHandling::Preserve);
        assert_eq!((grace.started_ms, grace.ends_ms), (500, 1_000 + 30 * DAY_MS));
    }

    #[test]
    fn a_grace_period_that_ends_in_a_vulnerable_time_goes_on() {
        let grace = Grace::starting(0, 7);
        assert_eq!(grace.ends_ms(Some(UnixMs::MAX), 7 * DAY_MS - 1), 7 * DAY_MS);
        assert_eq!(grace.ends_ms(Some(UnixMs::MAX), 7 * DAY_MS), 14 * DAY_MS);
        assert_eq!(grace.ends_ms(Some(UnixMs::MAX), 15 * DAY_MS), 21 * DAY_MS);
        assert_eq!(grace.ends_ms(None, 15 * DAY_MS), 7 * DAY_MS);
        // Protection that ends is not forgotten: what it has granted until then stays.
        assert_eq!(grace.ends_ms(Some(9 * DAY_MS), 100 * DAY_MS), 14 * DAY_MS);
        assert_eq!(grace.ends_ms(Some(6 * DAY_MS), 100 * DAY_MS), 7 * DAY_MS);
        // Protection that ends together with it leaves nothing to protect.
        assert_eq!(grace.ends_ms(Some(7 * DAY_MS), 7 * DAY_MS), 7 * DAY_MS);
        assert_eq!(grace.ends_ms(Some(7 * DAY_MS + 1), 7 * DAY_MS), 14 * DAY_MS);
        assert_eq!(grace.ends_ms(Some(14 * DAY_MS), 100 * DAY_MS), 14 * DAY_MS);
        let closed = Grace { closed: true, ..grace };
        assert_eq!(closed.ends_ms(Some(UnixMs::MAX), 15 * DAY_MS), 7 * DAY_MS);
    }
}
