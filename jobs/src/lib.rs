//! What keepwell does: one file for each thing that happens, the rules of care, and what Stripe and the app send.
//!
//! An event takes this way through the room: [`intake`] reads verified bytes just far enough to say which [`kinds`]
//! of job records it and in which lane; that kind's handler (see [`handlers`]) reads the rest with [`stripe`] or
//! [`signal`] and teaches the person's [`care::facts::Facts`] inside the job's transaction; [`store`] keeps them; and
//! [`access_query`] answers what the person may use because of them. What would be taken away is first confirmed with
//! Stripe, where Stripe can be asked ([`outbound`]).

pub mod care;
pub mod intake;
mod intake_error;
pub mod json;
pub mod kinds;
pub mod marks;
pub mod signal;
pub mod stripe;

mod event;

mod assessment_completed;
mod confirm_subscription;
mod crisis_resolved;
mod crisis_signalled;
mod device_changed;
mod event_recorded;
mod invoice_settled;
mod payment_method_saved;
mod person_data_updated;
mod safety_event;
mod subscription_changed;

pub mod access_query;
pub mod outbound;
pub mod store;

use std::sync::Arc;

use keepwell_workers::{database::MigrationFile, handler::Handler, seal::KeyRing};

use care::{
    resources::{CRISIS_RESOURCES, CrisisResources},
    tiers::Tiers,
};
use marks::Marks;
use outbound::stripe::StripeClient;
use store::FactsMemory;

/// What every handler of this room works with. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Care {
    /// What each price buys and each tier opens.
    pub tiers: Arc<Tiers>,
    /// Who is marked.
    pub marks: Marks,
    /// What seals personal data.
    pub keys: KeyRing,
    /// The facts of the people of the last minutes.
    pub memory: FactsMemory,
    /// Whom to turn to.
    pub resources: Arc<CrisisResources>,
    /// Stripe, if it can be asked.
    pub stripe: Option<StripeClient>,
}

impl Care {
    /// The rules with these tiers, this set of marked people and these keys; whom to turn to is the 988 Lifeline.
    pub fn new(tiers: Tiers, marks: Marks, keys: KeyRing) -> Self {
        Self {
            tiers: Arc::new(tiers),
            marks,
            keys,
            memory: FactsMemory::default(),
            resources: Arc::new(CRISIS_RESOURCES),
            stripe: None,
        }
    }

    /// The same with a Stripe that can be asked, if there is one: then nothing is taken away that Stripe has not
    /// confirmed.
    #[must_use]
    pub fn with_stripe(self, stripe: impl Into<Option<StripeClient>>) -> Self {
        Self { stripe: stripe.into(), ..self }
    }

    /// The same with `resources` to turn to.
    #[must_use]
    pub fn with_resources(self, resources: CrisisResources) -> Self {
        Self { resources: Arc::new(resources), ..self }
    }
}

/// A handler for every one of [`kinds`].
pub fn handlers(care: &Care) -> Vec<Arc<dyn Handler>> {
    vec![
        Arc::new(subscription_changed::SubscriptionChanged::new(kinds::SUBSCRIPTION_CHANGED, care)),
        Arc::new(subscription_changed::SubscriptionChanged::new(kinds::SUBSCRIPTION_ENDED, care)),
        Arc::new(invoice_settled::InvoicePaid(care.clone())),
        Arc::new(invoice_settled::InvoicePaymentFailed(care.clone())),
        Arc::new(payment_method_saved::PaymentMethodSaved(care.clone())),
        Arc::new(confirm_subscription::ConfirmSubscription(care.clone())),
        Arc::new(event_recorded::Recorded(kinds::EVENT_RECORDED)),
        Arc::new(crisis_signalled::CrisisSignalled(care.clone())),
        Arc::new(crisis_resolved::CrisisResolved(care.clone())),
        Arc::new(assessment_completed::AssessmentCompleted(care.clone())),
        Arc::new(person_data_updated::PersonDataUpdated(care.clone())),
        Arc::new(device_changed::DeviceChanged(care.clone())),
        Arc::new(safety_event::SafetyEvent(care.clone())),
        Arc::new(event_recorded::Recorded(kinds::SIGNAL_RECORDED)),
    ]
}

/// The tables about people.
pub fn migrations() -> Vec<MigrationFile> {
    vec![
        MigrationFile {
            version: 2,
            name: "people",
            sqlite: include_str!("../../migrations/sqlite/0002_people.sql"),
            postgres: include_str!("../../migrations/postgres/0002_people.sql"),
        },
        MigrationFile {
            version: 6,
            name: "confirmations",
            sqlite: include_str!("../../migrations/sqlite/0006_confirmations.sql"),
            postgres: include_str!("../../migrations/postgres/0006_confirmations.sql"),
        },
    ]
}
