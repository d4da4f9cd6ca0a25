//! `customer.subscription.created`, `updated`, `deleted`: what was bought has changed.

use async_trait::async_trait;
use keepwell_workers::{
    database::Transaction,
    handler::{ApplyError, Handler, Prepared},
    job::Job,
    outcome::Outcome,
};

use crate::{
    Care,
    care::subscription::{SubscriptionSnapshot, SubscriptionStatus},
    event::Event,
    kinds,
    store::taught,
    stripe::extract::SubscriptionFields,
};

/// Learns what a subscription is now.
pub(crate) struct SubscriptionChanged {
    kind: &'static str,
    care: Care,
}

impl SubscriptionChanged {
    /// For one of the two kinds: a change, or the end.
    pub(crate) fn new(kind: &'static str, care: &Care) -> Self {
        Self { kind, care: care.clone() }
    }

    fn snapshot(&self, event: &Event<'_>) -> Option<SubscriptionSnapshot> {
        let fields = SubscriptionFields::read(event.object);
        // The end of a subscription is told by the event's type; its object says so too, except in the oldest ones.
        let ended = self.kind == kinds::SUBSCRIPTION_ENDED;
        let status = fields.status.as_deref().map(SubscriptionStatus::from_name);
        let status = status.filter(|status| !ended || status.is_final());
        Some(SubscriptionSnapshot {
            id: fields.id?.into_owned(),
            status: if ended { status.unwrap_or(SubscriptionStatus::Canceled) } else { status? },
            prices: fields.prices.into_iter().map(std::borrow::Cow::into_owned).collect(),
            period_end_s: fields.period_end_s,
            latest_invoice: fields.latest_invoice.map(std::borrow::Cow::into_owned),
            event_created_s: event.created_s,
            event_id: event.id.clone(),
        })
    }
}

#[async_trait]
impl Handler for SubscriptionChanged {
    fn kind(&self) -> &'static str {
        self.kind
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
        let snapshot = self.snapshot(&event);
        taught(transaction, &event.customer, &self.care, |facts| {
            // The crisis first: what ends during it is treated as such.
            event.teach_crisis_mode(facts);
            if let Some(snapshot) = snapshot {
                facts.subscription_changed(snapshot, event.learned_ms);
            }
        })
        .await?;
        Ok(Outcome::Done)
    }
}
