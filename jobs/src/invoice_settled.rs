//! `invoice.payment_succeeded` and `invoice.payment_failed`: an invoice was paid, or could not be.

use std::borrow::Cow;

use async_trait::async_trait;
use keepwell_workers::{
    database::Transaction,
    handler::{ApplyError, Handler, Prepared},
    job::Job,
    outcome::Outcome,
};

use crate::{
    Care,
    care::facts::{Facts, PaymentFailure},
    confirm_subscription::ToConfirm,
    event::Event,
    kinds,
    stripe::extract::InvoiceFields,
};

/// Learns that an invoice was paid.
pub(crate) struct InvoicePaid(pub(crate) Care);

/// Learns that the payment of an invoice failed.
pub(crate) struct InvoicePaymentFailed(pub(crate) Care);

#[async_trait]
impl Handler for InvoicePaid {
    fn kind(&self) -> &'static str {
        kinds::INVOICE_PAID
    }

    async fn apply(
        &self,
        job: &Job,
        _: &Prepared,
        transaction: &mut Transaction,
    ) -> Result<Outcome, ApplyError> {
        let confirms = self.0.stripe.is_some();
        learn(&self.0, job, transaction, |event, invoice, id, facts| {
            let subscription = invoice.subscription.map(Cow::into_owned);
            if confirms {
                return facts.invoice_told(&id, subscription, event.created_s, event.learned_ms);
            }
            facts.invoice_paid(&id, subscription, event.created_s, event.learned_ms);
            Vec::new()
        })
        .await
    }
}

#[async_trait]
impl Handler for InvoicePaymentFailed {
    fn kind(&self) -> &'static str {
        kinds::INVOICE_PAYMENT_FAILED
    }

    async fn apply(
        &self,
        job: &Job,
        _: &Prepared,
        transaction: &mut Transaction,
    ) -> Result<Outcome, ApplyError> {
        learn(&self.0, job, transaction, |event, invoice, id, facts| {
            let failure = PaymentFailure {
                invoice: id,
                subscription: invoice.subscription.map(Cow::into_owned),
                attempt_count: invoice.attempt_count.unwrap_or(1),
                event_created_s: event.created_s,
                event_id: event.id.clone(),
                road: event.road,
            };
            facts.payment_failed(failure, event.learned_ms);
            Vec::new()
        })
        .await
    }
}

/// Reads the invoice in `job` and has `teach` say what it means, and of which subscriptions Stripe is to be asked. An
/// invoice without an id or a customer means nothing.
async fn learn(
    care: &Care,
    job: &Job,
    transaction: &mut Transaction,
    teach: impl FnOnce(&Event<'_>, InvoiceFields<'_>, String, &mut Facts) -> Vec<String>,
) -> Result<Outcome, ApplyError> {
    let event = match Event::of(job) {
        Ok(Some(event)) => event,
        Ok(None) => return Ok(Outcome::Done),
        Err(outcome) => return Ok(outcome),
    };
    let mut invoice = InvoiceFields::read(event.object);
    let id = invoice.id.take().map(Cow::into_owned);
    let mut to_confirm = Vec::new();
    let learn = |facts: &mut Facts| {
        if let Some(id) = id {
            to_confirm = teach(&event, invoice, id, facts);
        }
    };
    event.teaches(transaction, care, learn).await?;
    let now_ms = transaction.now_ms();
    for subscription in to_confirm {
        transaction.enqueue(ToConfirm::of(&event, subscription).job(now_ms));
    }
    Ok(Outcome::Done)
}
