//! `contacts.updated`, `safety_plan.updated`, `consent.updated`: the whole new value, kept sealed.

use async_trait::async_trait;
use keepwell_workers::{
    database::Transaction,
    handler::{ApplyError, Handler, Prepared},
    job::Job,
    outcome::Outcome,
};

use crate::{
    Care,
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
        let kind = match &*signal.signal_type {
            "contacts.updated" => PersonDataKind::Contacts,
            "safety_plan.updated" => PersonDataKind::SafetyPlan,
            "consent.updated" => PersonDataKind::Consent,
            other => return Ok(Outcome::dead(format!("`{other}` is not about a person's data"))),
        };
        // Takes the person's row, so that two values of one person come one after the other.
        taught(transaction, &signal.customer, &self.0, |_| {}).await?;
        let stated_ms = signal.stated_ms.unwrap_or(job.created_ms).min(job.created_ms);
        let value = signal.data.as_str().as_bytes();
        keep_person_data(transaction, &self.0.keys, &signal.customer, kind, stated_ms, value).await?;
        Ok(Outcome::Done)
    }
}
