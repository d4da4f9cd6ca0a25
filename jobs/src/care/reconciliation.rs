//! What is known of a subscription, compared with what Stripe's list shows of it.
//!
//! A list takes nothing away and grants nothing: where it differs, Stripe is asked for that one subscription, and the
//! answer counts as every other one does (see [`super::confirmation`]). A subscription that is known here and not on
//! the list stays as it is: Stripe keeps what has ended, so the key is rather another account's.

use super::subscription::SubscriptionSnapshot;

/// How a subscription on Stripe's list was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reconciled {
    /// It is known as it is.
    Same,
    /// It is known otherwise, or something that was told of it was never confirmed.
    Changed,
    /// Nobody has told of it.
    Unknown,
    /// It cannot be read.
    Failed,
}

impl Reconciled {
    /// All of them, in the order of their numbers.
    pub const ALL: [Reconciled; 4] =
        [Reconciled::Same, Reconciled::Changed, Reconciled::Unknown, Reconciled::Failed];

    /// The word for metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Reconciled::Same => "same",
            Reconciled::Changed => "changed",
            Reconciled::Unknown => "unknown",
            Reconciled::Failed => "failed",
        }
    }

    /// How `shown` was found, of which `known` is known; `claimed` if something that was told of it waits to be
    /// confirmed.
    pub fn compare(
        known: Option<&SubscriptionSnapshot>,
        claimed: bool,
        shown: &SubscriptionSnapshot,
    ) -> Self {
        let Some(known) = known else { return Self::Unknown };
        // By which event it was told, and when, says nothing about what it is.
        let (event_created_s, event_id) = (known.event_created_s, known.event_id.clone());
        let same = SubscriptionSnapshot { event_created_s, event_id, ..shown.clone() } == *known;
        if same && !claimed { Self::Same } else { Self::Changed }
    }

    /// Whether Stripe is to be asked for that one. What ended before anybody told of it gives nothing to anybody.
    pub fn is_to_be_asked(self, shown: &SubscriptionSnapshot) -> bool {
        match self {
            Self::Changed => true,
            Self::Unknown => !shown.status.is_final(),
            Self::Same | Self::Failed => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::subscription::SubscriptionStatus, *};

    fn snapshot(status: &str) -> SubscriptionSnapshot {
        SubscriptionSnapshot {
            id: "sub_1".into(),
            status: SubscriptionStatus::from_name(status),
            prices: vec!["price_premium_monthly".into()],
            period_end_s: Some(9),
            cancel_at_s: None,
            latest_invoice: Some("in_1".into()),
            event_created_s: 1,
            event_id: "evt_1".into(),
        }
    }

    #[test]
    fn only_what_a_subscription_is_makes_a_difference() {
        let known = snapshot("active");
        let compare = |shown: SubscriptionSnapshot| Reconciled::compare(Some(&known), false, &shown);
        let told_by = SubscriptionSnapshot { event_created_s: 7, event_id: String::new(), ..known.clone() };
        assert_eq!(compare(told_by), Reconciled::Same);
        for other in [
            SubscriptionSnapshot { prices: vec![], ..known.clone() },
            SubscriptionSnapshot { period_end_s: Some(10), ..known.clone() },
            SubscriptionSnapshot { cancel_at_s: Some(9), ..known.clone() },
            SubscriptionSnapshot { latest_invoice: None, ..known.clone() },
            snapshot("past_due"),
        ] {
            assert_eq!(compare(other.clone()), Reconciled::Changed, "{other:?}");
        }
        assert_eq!(
            Reconciled::compare(Some(&known), true, &known),
            Reconciled::Changed,
            "a claim that waits"
        );
    }

    #[test]
    fn what_ended_before_anybody_told_of_it_is_nobodys_concern() {
        for (status, asked) in [("active", true), ("past_due", true), ("canceled", false)] {
            let found = Reconciled::compare(None, false, &snapshot(status));
            assert_eq!((found, found.is_to_be_asked(&snapshot(status))), (Reconciled::Unknown, asked));
        }
        assert!(!Reconciled::Same.is_to_be_asked(&snapshot("active")));
        assert!(Reconciled::Changed.is_to_be_asked(&snapshot("canceled")));
    }

    #[test]
    fn every_finding_keeps_its_word() {
        assert_eq!(Reconciled::ALL.map(Reconciled::name), ["same", "changed", "unknown", "failed"]);
    }
}
