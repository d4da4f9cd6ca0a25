//! `setup_intent.succeeded`: a payment method is on file.

use async_trait::async_trait;
use keepwell_workers::{
    database::Transaction,
    handler::{ApplyError, Handler, Prepared},
    job::Job,
    outcome::Outcome,
};

use crate::{Care, event::Event, kinds};

/// Learns that a payment method was saved.
pub(crate) struct PaymentMethodSaved(pub(crate) Care);

#[async_trait]
impl Handler for PaymentMethodSaved {
    fn kind(&self) -> &'static str {
        kinds::PAYMENT_METHOD_SAVED
    }

    async fn apply(
        &self,
        job: &Job,
        _: &Prepared,
        transaction: &mut Transaction,
    ) -> Result<Outcome, ApplyError> {
        let event = match Event::of(job) {
            Ok(Some(event)) => event,
            Ok(None) => return Ok(Outcome::Done),
            Err(outcome) => return Ok(outcome),
        };
        event.teaches(transaction, &self.0, |facts| facts.payment_method_on_file = true).await?;
        Ok(Outcome::Done)
    }
}
