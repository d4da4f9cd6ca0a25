//! Subscriptions: what each status grants, and which of two snapshots of one subscription counts.

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
    /// The trial ended without a payment method.
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
            Self::Incomplete => "incomplete",
            Self::IncompleteExpired => "incomplete_expired",
            Self::Trialing => "trialing",
            Self::Active => "active",
            Self::PastDue => "past_due",
            Self::Canceled => "canceled",
            Self::Unpaid => "unpaid",
            Self::Paused => "paused",
            Self::Unknown(name) => name,
        }
    }

    /// What it lets a person use.
    pub const fn grants(&self) -> Grants {
        match self {
            Self::Active => Grants::Tier,
            Self::Trialing => Grants::Trial,
            Self::Unknown(_) => Grants::GracePeriod,
            _ => Grants::Nothing,
        }
    }

    /// Whether a subscription never leaves it again.
    pub const fn is_final(&self) -> bool {
        matches!(self, Self::Canceled | Self::IncompleteExpired)
    }

    /// Whether it says that a payment is missing which had been expected to come; this begins a grace period.
    pub const fn is_payment_trouble(&self) -> bool {
        matches!(self, Self::PastDue | Self::Unpaid | Self::Paused)
    }

    /// Whether a payment is all that is missing, so that learning of the payment makes it active.
    pub const fn waits_for_payment(&self) -> bool {
        matches!(self, Self::Incomplete | Self::PastDue | Self::Unpaid)
    }

    /// Which of two statuses of the same second counts: the one that grants more.
    const fn rank(&self) -> u8 {
        match self {
            Self::Active => 8,
            Self::Trialing => 7,
            Self::Unknown(_) => 6,
            Self::PastDue => 5,
            Self::Unpaid => 4,
            Self::Paused => 3,
            Self::Incomplete => 2,
            Self::Canceled => 1,
            Self::IncompleteExpired => 0,
        }
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

    fn key(&self) -> (bool, i64, u8, Option<i64>, &str) {
        (self.status.is_final(), self.event_created_s, self.status.rank(), self.period_end_s, &self.event_id)
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
    fn a_status_that_nobody_knows_ends_nobodys_care() {
        let status = SubscriptionStatus::from_name("hibernating");
        assert_eq!(status.grants(), Grants::GracePeriod);
        assert!(!status.is_final() && !status.is_payment_trouble());
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
