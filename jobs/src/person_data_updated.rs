//! `contacts.updated`, `safety_plan.updated`, `consent.updated`: the whole new value, kept sealed. Contacts who are
//! named in a crisis, or to whom the person agrees only then, are looked at at once.

use async_trait::async_trait;
use keepwell_workers::{
    database::Transaction,
    handler::{ApplyError, Handler, Prepared},
    job::Job,
    outcome::Outcome,
    policy::Policy,
};

use crate::{
    Care,
    care::contact_call::calls_for_another_look,
    contact_look::About,
    event::unreadable,
    kinds,
    signal::Signal,
    store::{PersonDataKind, keep_person_data, taught},
};

/// Keeps what the app stated last.
pub(crate) struct PersonDataUpdated(pub(crate) Care);

#[async_trait]
impl Handler for PersonDataUpdated {
    fn kind(&self) -> &'static str {
        kinds::PERSON_DATA_UPDATED
    }

    /// What is said here decides whom to tell in a crisis.
    fn policy(&self) -> Policy {
        Policy::CRISIS
    }

    async fn apply(
        &self,
        job: &Job,
        _: &Prepared,
        transaction: &mut Transaction,
    ) -> Result<Outcome, ApplyError> {
        let signal = match Signal::parse(&job.payload) {
            Ok(signal) => signal,
            Err(error) => return Ok(unreadable(error)),
        };
        let Some(kind) = PersonDataKind::of_signal(&signal.signal_type) else {
            let other = &signal.signal_type;
            return Ok(Outcome::dead(format!("`{other}` is not about a person's data")));
        };
        let now_ms = transaction.now_ms();
        let mut looks_again = false;
        // Takes the person's row, so that two values of one person come one after the other.
        taught(transaction, &signal.customer, &self.0, |facts| {
            looks_again = kind != PersonDataKind::SafetyPlan && calls_for_another_look(facts, now_ms);
        })
        .await?;
        let stated_ms = signal.stated_ms.unwrap_or(job.created_ms).min(job.created_ms);
        let value = signal.data.as_str().as_bytes();
        let keys = &self.0.keys;
        let kept =
            keep_person_data(transaction, keys, &signal.customer, kind, stated_ms, job.id, value).await?;
        if kept && looks_again {
            // Whoever is named, or may be told, only now.
            let (customer, cause) = (signal.customer.into_owned(), job.id.to_string());
            transaction.enqueue(About { customer, cause, contact: None }.look());
        }
        Ok(Outcome::Done)
    }
}
