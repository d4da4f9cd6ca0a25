//! The kinds of jobs: their names in the ledger. A name is never reused for something else.

/// How the names of those begin that we make ourselves because of what the rules of care say; nobody waits for one of
/// them in the crisis lane.
pub const OUR_OWN: &str = "care.";

/// A subscription was created or changed.
pub const SUBSCRIPTION_CHANGED: &str = "stripe.subscription_changed";
/// A subscription ended.
pub const SUBSCRIPTION_ENDED: &str = "stripe.subscription_ended";
/// Stripe is to be asked how a subscription is.
pub const CONFIRM_SUBSCRIPTION: &str = "stripe.confirm_subscription";
/// Events that no webhook has brought are to be fetched.
pub const STRIPE_BACKFILL: &str = "stripe.backfill";
/// What is known of subscriptions is to be compared with what Stripe knows.
pub const STRIPE_RECONCILE: &str = "stripe.reconcile";
/// An invoice was paid.
pub const INVOICE_PAID: &str = "stripe.invoice_paid";
/// The payment of an invoice failed.
pub const INVOICE_PAYMENT_FAILED: &str = "stripe.invoice_payment_failed";
/// A payment method was saved.
pub const PAYMENT_METHOD_SAVED: &str = "stripe.payment_method_saved";
/// An event that changes nothing and is kept.
pub const EVENT_RECORDED: &str = "stripe.event_recorded";
/// Somebody is in a crisis.
pub const CRISIS_SIGNALLED: &str = "app.crisis_signalled";
/// Somebody's crisis is over.
pub const CRISIS_RESOLVED: &str = "app.crisis_resolved";
/// An assessment was finished.
pub const ASSESSMENT_COMPLETED: &str = "app.assessment_completed";
/// Contacts, safety plan or consent were changed.
pub const PERSON_DATA_UPDATED: &str = "app.person_data_updated";
/// A device was registered or removed.
pub const DEVICE_CHANGED: &str = "app.device_changed";
/// A threat, or a tool that failed.
pub const SAFETY_EVENT: &str = "app.safety_event";
/// A signal that changes nothing and is kept.
pub const SIGNAL_RECORDED: &str = "app.signal_recorded";
/// A crisis was not answered within its time.
pub const CRISIS_ANSWERED_LATE: &str = "care.crisis_answered_late";
/// A crisis of nobody, to see how fast it is answered.
pub const CRISIS_REHEARSED: &str = "care.crisis_rehearsed";
/// The same, sent again and again by whoever watches whether crises are answered.
pub const CRISIS_CANARY: &str = "care.crisis_canary";
/// A grace period ends, or is about to.
pub const GRACE_DUE: &str = "care.grace_due";
/// Words for a person.
pub const MESSAGE: &str = "care.message";
/// Somebody is in a crisis: whom to tell?
pub const CONTACTS_DUE: &str = "care.contacts_due";
/// Words for an emergency contact.
pub const CONTACT_TOLD: &str = "care.contact_told";
/// A report is to be made.
pub const REPORT_DUE: &str = "report.due";
/// A report goes where reports go.
pub const REPORT_DELIVERED: &str = "report.delivered";
/// A receiver of alerts is told.
pub const ALERT_TOLD: &str = "alert.told";

/// Those of which somebody is told when one is dead: a contact is not told of a crisis, or nobody has read what a
/// person said of theirs.
pub const ABOUT_CONTACTS: [&str; 3] = [CONTACTS_DUE, CONTACT_TOLD, PERSON_DATA_UPDATED];

/// All of them: [`handlers`](crate::handlers) has one for each.
pub const ALL: [&str; 26] = [
    SUBSCRIPTION_CHANGED,
    SUBSCRIPTION_ENDED,
    CONFIRM_SUBSCRIPTION,
    STRIPE_BACKFILL,
    STRIPE_RECONCILE,
    INVOICE_PAID,
    INVOICE_PAYMENT_FAILED,
    PAYMENT_METHOD_SAVED,
    EVENT_RECORDED,
    CRISIS_SIGNALLED,
    CRISIS_RESOLVED,
    ASSESSMENT_COMPLETED,
    PERSON_DATA_UPDATED,
    DEVICE_CHANGED,
    SAFETY_EVENT,
    SIGNAL_RECORDED,
    CRISIS_ANSWERED_LATE,
    CRISIS_REHEARSED,
    CRISIS_CANARY,
    GRACE_DUE,
    MESSAGE,
    CONTACTS_DUE,
    CONTACT_TOLD,
    REPORT_DUE,
    REPORT_DELIVERED,
    ALERT_TOLD,
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use keepwell_workers::{
        clock::ManualClock,
        seal::{KeyRing, SealingKey},
    };
    use zeroize::Zeroizing;

    use super::*;
    use crate::{Care, care::tiers::Tiers, handlers, marks::Marks};

    #[test]
    fn every_kind_has_a_handler_and_every_handler_a_kind() {
        let keys = KeyRing::new(SealingKey::new("a", &Zeroizing::new([7; 32])), []);
        let tiers = Tiers::from_toml(include_str!("../../config/tiers.toml")).unwrap();
        let care = Care::new(tiers, Marks::new(ManualClock::at(0)), keys);
        let handled: BTreeSet<&str> = handlers(&care).iter().map(|handler| handler.kind()).collect();
        assert_eq!(handled, ALL.into_iter().collect());
    }
}
