//! What a subscription's change does to access: it grants, keeps or takes away. Granting is never waited for; taking
//! away is confirmed with Stripe where Stripe can be asked ([`super::confirmation`]).

use std::fmt::Write as _;

use super::{
    grace::GraceReason,
    subscription::{STATUSES, SubscriptionStatus},
    tiers::Tiers,
};

/// What a change does to access.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// More may be used.
    Grants,
    /// As much as before.
    Keeps,
    /// Less may be used.
    TakesAway,
}

impl Change {
    /// What it does to come from a tier of rank `before` to one of rank `after`; `None` is no tier.
    pub fn between(before: Option<i64>, after: Option<i64>) -> Self {
        match after.cmp(&before) {
            std::cmp::Ordering::Greater => Self::Grants,
            std::cmp::Ordering::Equal => Self::Keeps,
            std::cmp::Ordering::Less => Self::TakesAway,
        }
    }

    /// Its name in the documentation.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Grants => "grants",
            Self::Keeps => "keeps",
            Self::TakesAway => "takes away",
        }
    }
}

/// One way from a status to a status that Stripe documents, for a subscription that has bought the best tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransitionRule {
    /// From this status; `None` from the beginning.
    pub from: Option<&'static str>,
    /// Because of this.
    pub because: &'static str,
    /// To this status, as [`SubscriptionStatus::paused_by`] reads it.
    pub to: &'static str,
    /// What it does to access.
    pub change: Change,
    /// The grace period that begins with it.
    pub begins: Option<GraceReason>,
}

const fn way(
    from: Option<&'static str>,
    because: &'static str,
    to: &'static str,
    change: Change,
    begins: Option<GraceReason>,
) -> TransitionRule {
    TransitionRule { from, because, to, change, begins }
}

const PAYMENT: Option<GraceReason> = Some(GraceReason::PaymentFailure);
const CANCELED: Option<GraceReason> = Some(GraceReason::SubscriptionCanceled);

/// Every way that Stripe documents. A way that is not here happens too (events are lost, statuses are new), and does
/// what [`Change::between`] says of the tiers at its two ends.
pub const TRANSITIONS: &[TransitionRule] = &[
    way(None, "it begins with a payment still to come", "incomplete", Change::Keeps, None),
    way(None, "it begins with a trial", "trialing", Change::Grants, None),
    way(None, "it begins paid", "active", Change::Grants, None),
    way(Some("incomplete"), "the first payment is made", "active", Change::Grants, None),
    way(
        Some("incomplete"),
        "the first payment is made, and a trial begins",
        "trialing",
        Change::Grants,
        None,
    ),
    way(
        Some("incomplete"),
        "the first payment is not made within 23 hours",
        "incomplete_expired",
        Change::Keeps,
        None,
    ),
    way(Some("trialing"), "the trial ends and is paid", "active", Change::Grants, None),
    way(Some("trialing"), "the trial ends and payment fails", "past_due", Change::TakesAway, PAYMENT),
    way(Some("trialing"), "the trial ends without a payment method", "paused", Change::TakesAway, PAYMENT),
    way(Some("trialing"), "canceled, or the trial ends so", "canceled", Change::TakesAway, CANCELED),
    way(Some("active"), "renewed, or canceled at the end of the period", "active", Change::Keeps, None),
    way(Some("active"), "a trial is given", "trialing", Change::TakesAway, None),
    way(Some("active"), "a renewal fails", "past_due", Change::TakesAway, PAYMENT),
    way(
        Some("active"),
        "a renewal fails, and Stripe is set up not to try again",
        "unpaid",
        Change::TakesAway,
        PAYMENT,
    ),
    way(
        Some("active"),
        "collecting is paused without service (`void`)",
        "paused",
        Change::TakesAway,
        PAYMENT,
    ),
    way(Some("active"), "canceled, now or at the end of the period", "canceled", Change::TakesAway, CANCELED),
    way(Some("past_due"), "paid", "active", Change::Grants, None),
    way(Some("past_due"), "trying is given up", "unpaid", Change::Keeps, PAYMENT),
    way(Some("past_due"), "trying is given up and Stripe cancels", "canceled", Change::Keeps, CANCELED),
    way(Some("unpaid"), "the newest invoice is paid", "active", Change::Grants, None),
    way(Some("unpaid"), "canceled", "canceled", Change::Keeps, CANCELED),
    way(Some("paused"), "resumed, and paid where that was due", "active", Change::Grants, None),
    way(Some("paused"), "resumed, and payment fails", "past_due", Change::Keeps, PAYMENT),
    way(Some("paused"), "canceled", "canceled", Change::Keeps, CANCELED),
];

/// The rank of the tier that a subscription opens which has bought `prices`; `None` for no tier.
pub fn rank(status: &SubscriptionStatus, prices: &[String], tiers: &Tiers) -> Option<i64> {
    tiers.granted(status.grants(), prices).map(|tier| tier.rank)
}

/// The statuses and the ways between them as Markdown tables, as they stand in `RULES.md`.
pub fn tables() -> String {
    let grace = |begins: Option<GraceReason>| begins.map_or("–", GraceReason::name);
    let mut text = String::from("| status | opens | begins grace | final |\n|---|---|---|---|\n");
    for rule in STATUSES {
        let last = if rule.is_final { "yes" } else { "no" };
        // Writing to a String cannot fail.
        let _ =
            writeln!(text, "| {} | {} | {} | {last} |", rule.name, rule.grants.name(), grace(rule.begins));
    }
    text.push_str("\n| from | because | to | access | begins grace |\n|---|---|---|---|---|\n");
    for way in TRANSITIONS {
        let from = way.from.unwrap_or("–");
        let (change, begins) = (way.change.name(), grace(way.begins));
        let _ = writeln!(text, "| {from} | {} | {} | {change} | {begins} |", way.because, way.to);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{super::tiers::shipped, *};

    fn ranked(name: Option<&str>) -> Option<i64> {
        let premium = ["price_premium_monthly".to_owned()];
        rank(&SubscriptionStatus::from_name(name?), &premium, &shipped())
    }

    #[test]
    fn every_documented_way_does_what_the_tiers_at_its_ends_say() {
        for way in TRANSITIONS {
            assert_eq!(Change::between(ranked(way.from), ranked(Some(way.to))), way.change, "{way:?}");
            assert_eq!(SubscriptionStatus::from_name(way.to).rule().begins, way.begins, "{way:?}");
        }
    }

    #[test]
    fn whatever_takes_away_for_want_of_money_begins_a_grace_period() {
        for way in TRANSITIONS.iter().filter(|way| way.change == Change::TakesAway) {
            assert!(way.begins.is_some() || ranked(Some(way.to)).is_some(), "{way:?}");
        }
    }

    #[test]
    fn every_status_is_reached_and_only_final_ones_are_never_left() {
        for rule in STATUSES.iter().filter(|rule| rule.name != "any other") {
            assert!(TRANSITIONS.iter().any(|way| way.to == rule.name), "{}", rule.name);
            let left = TRANSITIONS.iter().any(|way| way.from == Some(rule.name));
            assert_eq!(left, !rule.is_final, "{}", rule.name);
        }
    }

    #[test]
    fn a_better_price_grants_and_a_lesser_one_takes_away() {
        let tiers = shipped();
        let active = |price: &str| rank(&SubscriptionStatus::Active, &[price.to_owned()], &tiers);
        let (basic, premium) = (active("price_basic_monthly"), active("price_premium_yearly"));
        assert_eq!(Change::between(basic, premium), Change::Grants);
        assert_eq!(Change::between(premium, basic), Change::TakesAway);
        assert_eq!(Change::between(basic, active("price_basic_yearly")), Change::Keeps);
        assert_eq!(Change::between(basic, active("unheard_of")), Change::Keeps, "the default tier is basic");
    }

    #[test]
    fn the_tables_in_the_rules_are_these() {
        let rules = include_str!("../../RULES.md");
        assert_eq!(tables().lines().count(), 2 + STATUSES.len() + 1 + 2 + TRANSITIONS.len());
        assert!(rules.contains(&tables()), "jobs/RULES.md should hold:\n{}", tables());
    }
}
