//! What keepwell does: one file for each thing that happens, the rules of care, and what Stripe and the app send.
//!
//! An event takes this way through the room: [`intake`] reads verified bytes just far enough to say which [`kinds`]
//! of job records it and in which lane; that kind's handler (see [`handlers`]) reads the rest with [`stripe`] or
//! [`signal`] and teaches the person's [`care::facts::Facts`] inside the job's transaction; [`store`] keeps them; and
//! [`access_query`] answers what the person may use because of them. What would be taken away is first confirmed with
//! Stripe, where Stripe can be asked ([`outbound`]).

pub mod alerts;
pub mod backfill;
pub mod care;
pub mod intake;
mod intake_error;
pub mod json;
pub mod kinds;
pub mod marks;
pub mod outbound;
pub mod outreach;
pub mod reconcile;
pub mod reporting;
pub mod signal;
pub mod signature;
pub mod stripe;
pub mod tallies;
pub mod watch;

mod event;
mod follow_ups;
mod scheduled;

mod alert_told;
mod assessment_completed;
mod confirm_subscription;
mod contact_look;
mod contact_told;
mod contacts_due;
mod crisis_answered_late;
mod crisis_rehearsed;
mod crisis_resolved;
mod crisis_signalled;
mod device_changed;
mod event_recorded;
mod grace_due;
mod invoice_settled;
mod message_sent;
mod payment_method_saved;
mod person_data_updated;
mod report_delivered;
mod report_due;
mod safety_event;
mod subscription_changed;
mod unread;
mod untold;

pub mod access_held;
pub mod access_query;
pub mod grace_watch;
pub mod store;

pub use crisis_answered_late::violation;
pub use crisis_rehearsed::{CANARY_SUBJECT, canary, rehearsal};
pub use report_delivered::report_delivery;
pub use untold::{settle_all_untold, settle_untold};

use std::sync::Arc;

use keepwell_workers::{database::MigrationFile, handler::Handler, seal::KeyRing};

use alerts::sink::AlertSink;
use backfill::EventDoor;
use care::{
    definitions::Definitions,
    lines::CrisisLines,
    resources::{CRISIS_RESOURCES, CrisisResources},
    templates::Templates,
    tiers::Tiers,
};
use intake::event_types::EventTypes;
use marks::Marks;
use outbound::{alerts::AlertDelivery, stripe::StripeClient};
use outreach::Outreach;
use reporting::ReportDesk;
use store::{FactsMemory, SwitchMemory};
use tallies::Tallies;
use watch::CrisisWatch;

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
    /// Which of Stripe's events change something.
    pub event_types: EventTypes,
    /// What the rules mean by their words.
    pub definitions: Definitions,
    /// What operators were seen to have switched on last.
    pub switches: SwitchMemory,
    /// The watch over crises that are being answered.
    pub watch: CrisisWatch,
    /// What is counted.
    pub tallies: Arc<Tallies>,
    /// Whom to turn to, by country.
    pub lines: Arc<CrisisLines>,
    /// What people in need read.
    pub templates: Templates,
    /// What brings words to people; `None` if nobody is told anything.
    pub outreach: Option<Outreach>,
    /// Where reports are made; `None` if this process makes none.
    pub reports: Option<Arc<dyn ReportDesk>>,
    /// Where events are taken in that no webhook has brought; `None` if this process takes none.
    pub event_door: Option<Arc<dyn EventDoor>>,
    /// What brings alerts to their receivers; `None` if there are none.
    pub alerts: Option<AlertDelivery>,
    /// Where what must not happen is said.
    pub alert_sink: AlertSink,
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
            event_types: EventTypes::default(),
            definitions: Definitions::default(),
            switches: SwitchMemory::default(),
            watch: CrisisWatch::default(),
            tallies: Arc::default(),
            lines: Arc::default(),
            templates: Templates::default(),
            outreach: None,
            reports: None,
            event_door: None,
            alerts: None,
            alert_sink: AlertSink::default(),
        }
    }

    /// The same with a Stripe that can be asked, if there is one: then nothing is taken away that Stripe has not
    /// confirmed.
    #[must_use]
    pub fn with_stripe(self, stripe: impl Into<Option<StripeClient>>) -> Self {
        Self { stripe: stripe.into(), ..self }
    }

    /// The same with `resources` to turn to, wherever somebody is.
    #[must_use]
    pub fn with_resources(self, resources: CrisisResources) -> Self {
        let lines = Arc::new(CrisisLines::only(resources.clone()));
        Self { resources: Arc::new(resources), lines, ..self }
    }

    /// The same with `lines` to turn to, by country.
    #[must_use]
    pub fn with_lines(self, lines: CrisisLines) -> Self {
        Self { lines: Arc::new(lines), ..self }
    }

    /// The same with `templates` for what people read.
    #[must_use]
    pub fn with_templates(self, templates: Templates) -> Self {
        Self { templates, ..self }
    }

    /// The same with `outreach` to bring words to people.
    #[must_use]
    pub fn with_outreach(self, outreach: Outreach) -> Self {
        Self { outreach: Some(outreach), ..self }
    }

    /// The same with `desk` to make reports.
    #[must_use]
    pub fn with_reports(self, desk: Arc<dyn ReportDesk>) -> Self {
        Self { reports: Some(desk), ..self }
    }

    /// The same, with `event_types` of Stripe's changing something.
    #[must_use]
    pub fn with_event_types(self, event_types: EventTypes) -> Self {
        Self { event_types, ..self }
    }

    /// The same with `door` for events that no webhook has brought.
    #[must_use]
    pub fn with_event_door(self, door: Arc<dyn EventDoor>) -> Self {
        Self { event_door: Some(door), ..self }
    }

    /// The same with `delivery` to bring alerts to their receivers, and `sink` to say what has happened.
    #[must_use]
    pub fn with_alerts(self, delivery: AlertDelivery, sink: AlertSink) -> Self {
        Self { alerts: Some(delivery), alert_sink: sink, ..self }
    }

    /// The same, with `high_limit_ms` to answer a high crisis, and as much more or less for others as the protocols
    /// give them.
    #[must_use]
    pub fn with_response_limit(self, high_limit_ms: u64) -> Self {
        Self { watch: CrisisWatch::new(high_limit_ms), ..self }
    }

    /// The same with rules that mean this by their words.
    #[must_use]
    pub fn with_definitions(self, definitions: Definitions) -> Self {
        Self { definitions, ..self }
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
        Arc::new(backfill::Backfill(care.clone())),
        Arc::new(reconcile::Reconcile(care.clone())),
        Arc::new(event_recorded::Recorded(kinds::EVENT_RECORDED)),
        Arc::new(crisis_signalled::CrisisSignalled(care.clone())),
        Arc::new(crisis_resolved::CrisisResolved(care.clone())),
        Arc::new(assessment_completed::AssessmentCompleted(care.clone())),
        Arc::new(person_data_updated::PersonDataUpdated(care.clone())),
        Arc::new(device_changed::DeviceChanged(care.clone())),
        Arc::new(safety_event::SafetyEvent(care.clone())),
        Arc::new(event_recorded::Recorded(kinds::SIGNAL_RECORDED)),
        Arc::new(crisis_answered_late::CrisisAnsweredLate(care.clone())),
        Arc::new(crisis_rehearsed::CrisisRehearsed::new(kinds::CRISIS_REHEARSED, care)),
        Arc::new(crisis_rehearsed::CrisisRehearsed::new(kinds::CRISIS_CANARY, care)),
        Arc::new(grace_due::GraceDue(care.clone())),
        Arc::new(message_sent::MessageSent(care.clone())),
        Arc::new(contacts_due::ContactsDue(care.clone())),
        Arc::new(contact_told::ContactTold(care.clone())),
        Arc::new(report_due::ReportDue(care.clone())),
        Arc::new(report_delivered::ReportDelivered(care.clone())),
        Arc::new(alert_told::AlertTold(care.clone())),
    ]
}

/// The tables about people, and the audit trail.
pub fn migrations() -> Vec<MigrationFile> {
    vec![
        MigrationFile {
            version: 2,
            name: "people",
            sqlite: include_str!("../../migrations/sqlite/0002_people.sql"),
            postgres: include_str!("../../migrations/postgres/0002_people.sql"),
        },
        MigrationFile {
            version: 3,
            name: "audit",
            sqlite: include_str!("../../migrations/sqlite/0003_audit.sql"),
            postgres: include_str!("../../migrations/postgres/0003_audit.sql"),
        },
        MigrationFile {
            version: 4,
            name: "emergency",
            sqlite: include_str!("../../migrations/sqlite/0004_emergency.sql"),
            postgres: include_str!("../../migrations/postgres/0004_emergency.sql"),
        },
        MigrationFile {
            version: 5,
            name: "outreach",
            sqlite: include_str!("../../migrations/sqlite/0005_outreach.sql"),
            postgres: include_str!("../../migrations/postgres/0005_outreach.sql"),
        },
        MigrationFile {
            version: 6,
            name: "confirmations",
            sqlite: include_str!("../../migrations/sqlite/0006_confirmations.sql"),
            postgres: include_str!("../../migrations/postgres/0006_confirmations.sql"),
        },
        MigrationFile {
            version: 8,
            name: "reports",
            sqlite: include_str!("../../migrations/sqlite/0008_reports.sql"),
            postgres: include_str!("../../migrations/postgres/0008_reports.sql"),
        },
        MigrationFile {
            version: 9,
            name: "alerts",
            sqlite: include_str!("../../migrations/sqlite/0009_alerts.sql"),
            postgres: include_str!("../../migrations/postgres/0009_alerts.sql"),
        },
        MigrationFile {
            version: 10,
            name: "audit_guards",
            sqlite: include_str!("../../migrations/sqlite/0010_audit_guards.sql"),
            postgres: include_str!("../../migrations/postgres/0010_audit_guards.sql"),
        },
        MigrationFile {
            version: 11,
            name: "crisis",
            sqlite: include_str!("../../migrations/sqlite/0011_crisis.sql"),
            postgres: include_str!("../../migrations/postgres/0011_crisis.sql"),
        },
        MigrationFile {
            version: 13,
            name: "audit_waiting",
            sqlite: include_str!("../../migrations/sqlite/0013_audit_waiting.sql"),
            postgres: include_str!("../../migrations/postgres/0013_audit_waiting.sql"),
        },
        MigrationFile {
            version: 14,
            name: "alert_signs",
            sqlite: include_str!("../../migrations/sqlite/0014_alert_signs.sql"),
            postgres: include_str!("../../migrations/postgres/0014_alert_signs.sql"),
        },
    ]
}
