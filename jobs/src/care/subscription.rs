//! Subscriptions: what each status means, and which of two snapshots of one subscription counts.
//!
//! What a status means is a table, [`STATUSES`]; everything that asks about a status looks it up there.

use super::grace::GraceReason;

/// A subscription's status, in Stripe's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SubscriptionStatus {
    /// The first payment is still to come; Stripe gives it 23 hours.
    Incomplete,
    /// The first payment never came. Final.
    IncompleteExpired,
    /// Before the first payment is due.
    Trialing,
    /// Paid.
    Active,
    /// A renewal failed and is being retried.
    PastDue,
    /// Over. Final.
    Canceled,
    /// Retrying a renewal was given up.
    Unpaid,
    /// The trial ended without a payment method, or collecting payments is paused and the service with it
    /// ([`SubscriptionStatus::paused_by`]).
    Paused,
    /// A status that Stripe did not have when this was written.
    Unknown(String),
}

/// What a status lets a person use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grants {
    /// The tier of its prices.
    Tier,
    /// The tier of trials.
    Trial,
    /// The tier of grace periods: what a status means that nobody knows yet must not end somebody's care.
    GracePeriod,
    /// Nothing by itself; a grace period or the floor counts.
    Nothing,
}

impl Grants {
    /// Its name in the documentation.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tier => "the tier of its prices",
            Self::Trial => "`trial`",
            Self::GracePeriod => "`grace_period`",
            Self::Nothing => "nothing",
        }
    }
}

/// What a status means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatusRule {
    /// Its name in Stripe's words.
    pub name: &'static str,
    /// What it lets a person use.
    pub grants: Grants,
    /// The grace period that it begins.
    pub begins: Option<GraceReason>,
    /// Whether a payment is all that is missing, so that learning of the payment makes it active.
    pub waits_for_payment: bool,
    /// Whether a subscription never leaves it again.
    pub is_final: bool,
    /// Which of two statuses of the same second counts: the higher, which is the one that grants more.
    pub rank: u8,
}

const fn rule(name: &'static str, rank: u8, grants: Grants, begins: Option<GraceReason>) -> StatusRule {
    StatusRule { name, grants, begins, waits_for_payment: false, is_final: false, rank }
}

const fn waiting(rule: StatusRule) -> StatusRule {
    StatusRule { waits_for_payment: true, ..rule }
}

const fn last(rule: StatusRule) -> StatusRule {
    StatusRule { is_final: true, ..rule }
}

/// Every status that Stripe has, and at the end what counts for one that it did not have when this was written.
pub const STATUSES: [StatusRule; 9] = [
    rule("active", 8, Grants::Tier, None),
    rule("trialing", 7, Grants::Trial, None),
    waiting(rule("past_due", 5, Grants::Nothing, Some(GraceReason::PaymentFailure))),
    waiting(rule("unpaid", 4, Grants::Nothing, Some(GraceReason::PaymentFailure))),
    rule("paused", 3, Grants::Nothing, Some(GraceReason::PaymentFailure)),
    waiting(rule("incomplete", 2, Grants::Nothing, None)),
    last(rule("canceled", 1, Grants::Nothing, Some(GraceReason::SubscriptionCanceled))),
    last(rule("incomplete_expired", 0, Grants::Nothing, None)),
    rule("any other", 6, Grants::GracePeriod, None),
];

impl SubscriptionStatus {
    /// The status called `name`.
    pub fn from_name(name: &str) -> Self {
        match name {
            "incomplete" => Self::Incomplete,
            "incomplete_expired" => Self::IncompleteExpired,
            "trialing" => Self::Trialing,
            "active" => Self::Active,
            "past_due" => Self::PastDue,
            "canceled" => Self::Canceled,
            "unpaid" => Self::Unpaid,
            "paused" => Self::Paused,
            other => Self::Unknown(other.to_owned()),
        }
    }

    /// Its name in Stripe's words.
    pub fn name(&self) -> &str {
        match self {
            Self::Unknown(name) => name,
            known => STATUSES[known.place()].name,
        }
    }

    /// What it means.
    pub fn rule(&self) -> &'static StatusRule {
        &STATUSES[self.place()]
    }

    /// Its row in [`STATUSES`].
    const fn place(&self) -> usize {
        match self {
            Self::Active => 0,
            Self::Trialing => 1,
            Self::PastDue => 2,
            Self::Unpaid => 3,
            Self::Paused => 4,
            Self::Incomplete => 5,
            Self::Canceled => 6,
            Self::IncompleteExpired => 7,
            Self::Unknown(_) => 8,
        }
    }

    /// What it is while collecting payments is paused (`pause_collection`) in the way `behavior`. Stripe keeps the
    /// status as it was; of the three ways only `void` means that there is no service meanwhile, and care goes on free
    /// of charge in the others.
    #[must_use]
    pub fn paused_by(self, behavior: Option<&str>) -> Self {
        match self {
            Self::Active | Self::Trialing | Self::PastDue if behavior == Some("void") => Self::Paused,
            status => status,
        }
    }

    /// What it lets a person use.
    pub fn grants(&self) -> Grants {
        self.rule().grants
    }

    /// Whether a subscription never leaves it again.
    pub fn is_final(&self) -> bool {
        self.rule().is_final
    }

    /// Whether nothing was ever paid.
    pub const fn never_began(&self) -> bool {
        matches!(self, Self::Incomplete | Self::IncompleteExpired)
    }

    /// Whether it says that a payment is missing which had been expected to come; this begins a grace period.
    pub fn is_payment_trouble(&self) -> bool {
        self.rule().begins == Some(GraceReason::PaymentFailure)
    }

    /// Whether a payment is all that is missing, so that learning of the payment makes it active.
    pub fn waits_for_payment(&self) -> bool {
        self.rule().waits_for_payment
    }
}

/// A subscription as one event showed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriptionSnapshot {
    /// The subscription's id.
    pub id: String,
    /// Its status.
    pub status: SubscriptionStatus,
    /// The ids of what is bought.
    pub prices: Vec<String>,
    /// When the paid period ends, in seconds since the Unix epoch.
    pub period_end_s: Option<i64>,
    /// When it will end because somebody asked for that, in seconds since the Unix epoch.
    pub cancel_at_s: Option<i64>,
    /// The newest invoice.
    pub latest_invoice: Option<String>,
    /// When the event was made, in seconds since the Unix epoch.
    pub event_created_s: i64,
    /// The event's id.
    pub event_id: String,
}

impl SubscriptionSnapshot {
    /// Keeps the one of the two that counts. Snapshots come in any order and more than once, and the kept one is the
    /// same after all of them: a final status counts before the others, then the newer event, then (Stripe's times
    /// are whole seconds) the status that grants more, then the later period, then the event's id, only to decide.
    pub fn merge(&mut self, other: Self) {
        if other.key() > self.key() {
            *self = other;
        }
    }

    /// What trouble with its payment is known by: the invoice, so that the failure which that reports itself grants
    /// nothing twice.
    pub(super) fn trouble(&self) -> &String {
        self.latest_invoice.as_ref().unwrap_or(&self.id)
    }

    fn key(&self) -> (bool, i64, u8, Option<i64>, &str) {
        (
            self.status.is_final(),
            self.event_created_s,
            self.status.rule().rank,
            self.period_end_s,
            &self.event_id,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(status: &str, event_created_s: i64, event_id: &str) -> SubscriptionSnapshot {
        SubscriptionSnapshot {
            id: "sub".into(),
            status: SubscriptionStatus::from_name(status),
            prices: vec![],
            period_end_s: None,
            cancel_at_s: None,
            latest_invoice: None,
            event_created_s,
            event_id: event_id.into(),
        }
    }

    #[test]
    fn every_status_keeps_its_name() {
        for name in [
            "incomplete",
            "incomplete_expired",
            "trialing",
            "active",
            "past_due",
            "canceled",
            "unpaid",
            "paused",
            "hibernating",
        ] {
            assert_eq!(SubscriptionStatus::from_name(name).name(), name);
        }
    }

    #[test]
    fn every_status_has_its_own_row_and_rank_in_the_table() {
        for (place, rule) in STATUSES.iter().enumerate() {
            assert_eq!(SubscriptionStatus::from_name(rule.name).place(), place);
            assert!(STATUSES.iter().filter(|other| other.rank == rule.rank).count() == 1, "{}", rule.name);
        }
        let by_rank =
            |grants| STATUSES.iter().filter(move |rule| rule.grants == grants).map(|rule| rule.rank);
        let nothing = by_rank(Grants::Nothing).max();
        for grants in [Grants::Tier, Grants::Trial, Grants::GracePeriod] {
            assert!(by_rank(grants).min() > nothing, "what grants something outranks what does not");
        }
    }

    #[test]
    fn only_a_pause_without_service_is_one() {
        for name in ["active", "trialing", "past_due"] {
            let status = || SubscriptionStatus::from_name(name);
            assert_eq!(status().paused_by(Some("void")), SubscriptionStatus::Paused);
            for behavior in [None, Some("keep_as_draft"), Some("mark_uncollectible"), Some("nap")] {
                assert_eq!(status().paused_by(behavior), status());
            }
        }
        for name in ["canceled", "unpaid", "incomplete", "hibernating"] {
            assert_eq!(SubscriptionStatus::from_name(name).paused_by(Some("void")).name(), name);
        }
    }

    #[test]
    fn a_status_that_nobody_knows_ends_nobodys_care() {
        let status = SubscriptionStatus::from_name("hibernating");
        assert_eq!(status.grants(), Grants::GracePeriod);
        assert!(!status.is_final() && !status.is_payment_trouble());
    }

    #[test]
    fn only_a_payment_is_missing_where_one_makes_it_active() {
        use SubscriptionStatus::{Incomplete, PastDue, Unpaid};
        let waiting = STATUSES.iter().map(|rule| SubscriptionStatus::from_name(rule.name));
        let waiting: Vec<_> = waiting.filter(SubscriptionStatus::waits_for_payment).collect();
        assert_eq!(waiting, [PastDue, Unpaid, Incomplete]);
    }

    #[test]
    fn the_kept_snapshot_does_not_depend_on_the_order() {
        for (left, right, kept) in [
            (snapshot("canceled", 1, "a"), snapshot("active", 9, "b"), "canceled"),
            (snapshot("past_due", 5, "a"), snapshot("active", 4, "b"), "past_due"),
            (snapshot("incomplete", 5, "b"), snapshot("active", 5, "a"), "active"),
            (snapshot("canceled", 5, "a"), snapshot("incomplete_expired", 6, "b"), "incomplete_expired"),
        ] {
            for (first, second) in [(&left, &right), (&right, &left)] {
                let mut merged = first.clone();
                merged.merge(second.clone());
                merged.merge(first.clone());
                assert_eq!(merged.status.name(), kept);
            }
        }
    }
}
