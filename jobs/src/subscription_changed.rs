//! `customer.subscription.created`, `updated`, `deleted`: what was bought has changed.

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
    care::{
        confirmation::Told,
        facts::Facts,
        subscription::{SubscriptionSnapshot, SubscriptionStatus},
    },
    confirm_subscription::ToConfirm,
    event::Event,
    kinds,
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
        let mut fields = SubscriptionFields::read(event.object);
        // The end of a subscription is told by the event's type; its object says so too, except in the oldest ones.
        let says_so =
            fields.status.as_deref().is_some_and(|name| SubscriptionStatus::from_name(name).is_final());
        if self.kind == kinds::SUBSCRIPTION_ENDED && !says_so {
            fields.status = Some(SubscriptionStatus::Canceled.rule().name.into());
        }
        snapshot(fields, event.created_s, event.id.clone())
    }
}

/// The subscription that `fields` show, made known by the event `event_id`; `None` without an id or a status.
pub(crate) fn snapshot(
    fields: SubscriptionFields<'_>,
    event_created_s: i64,
    event_id: String,
) -> Option<SubscriptionSnapshot> {
    let status = SubscriptionStatus::from_name(fields.status.as_deref()?);
    Some(SubscriptionSnapshot {
        id: fields.id?.into_owned(),
        status: status.paused_by(fields.pause_behavior.as_deref()),
        prices: fields.prices.into_iter().map(Cow::into_owned).collect(),
        period_end_s: fields.period_end_s,
        cancel_at_s: fields.cancel_at_s,
        latest_invoice: fields.latest_invoice.map(Cow::into_owned),
        event_created_s,
        event_id,
    })
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
        let subscription = snapshot.as_ref().map(|snapshot| snapshot.id.clone());
        let mut told = Told::Settled;
        let learn = |facts: &mut Facts| {
            let Some(snapshot) = snapshot else { return };
            if self.care.stripe.is_some() {
                told = facts.subscription_told(snapshot, event.road, &self.care.tiers, event.learned_ms);
            } else {
                facts.subscription_shown(snapshot, Some(event.road), event.learned_ms);
            }
        };
        event.teaches(transaction, &self.care, learn).await?;
        if let (Told::ToConfirm, Some(subscription)) = (told, subscription) {
            let now_ms = transaction.now_ms();
            transaction.enqueue(ToConfirm::of(&event, subscription).job(now_ms));
        }
        Ok(Outcome::Done)
    }
}
