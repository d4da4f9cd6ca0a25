//! Asks Stripe how a subscription is, and has that count: what events would take away is taken away here or not at all.
//!
//! Whatever keeps Stripe from answering leaves access as it was. What will not pass by itself (a key that is wrong or
//! may not read subscriptions) ends the job as `dead` with what to do about it; retried afterwards, it goes on.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use keepwell_workers::{
    clock::UnixMs,
    database::Transaction,
    handler::{ApplyError, Handler, Prepared},
    job::{Job, NewJob},
    lane::Lane,
    outcome::Outcome,
    policy::Policy,
};
use serde::{Deserialize, Serialize};

use crate::{
    Care,
    care::confirmation::Confirmed,
    event::Event,
    kinds,
    outbound::stripe::{Answer, Question},
    store::taught,
};

/// How long a claim waits before Stripe is asked, in milliseconds: events come in bursts, and one answer settles all
/// that were recorded before it was asked for.
const WAIT_MS: i64 = 500;

/// The longest wait before Stripe is asked again because more was learned, in milliseconds.
const ASK_AGAIN_MAX_MS: i64 = 60_000;

/// About four days of a Stripe that does not answer.
const POLICY: Policy =
    Policy { attempts_max: 200, backoff_base_ms: 1_000, backoff_cap_ms: 60 * 60 * 1_000, timeout_ms: 20_000 };

/// What a confirmation is about.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ToConfirm {
    customer: String,
    subscription: String,
    account: Option<String>,
    livemode: Option<bool>,
}

impl ToConfirm {
    /// What `event` has told of `subscription`.
    pub(crate) fn of(event: &Event<'_>, subscription: String) -> Self {
        let (customer, account) = (event.customer.clone(), event.account.clone());
        Self { customer, subscription, account, livemode: event.livemode }
    }

    /// What Stripe's list has shown of `customer`'s subscription.
    pub(crate) fn shown(
        customer: &str,
        subscription: &str,
        account: Option<&str>,
        livemode: Option<bool>,
    ) -> Self {
        let (customer, subscription) = (customer.to_owned(), subscription.to_owned());
        Self { customer, subscription, account: account.map(str::to_owned), livemode }
    }

    /// The job that asks, one at a time for each subscription.
    pub(crate) fn job(&self, now_ms: UnixMs) -> NewJob {
        // Texts and flags are always written.
        let payload = serde_json::to_vec(self).unwrap_or_default();
        NewJob::new(kinds::CONFIRM_SUBSCRIPTION, Lane::Standard, payload)
            .subject(&self.customer)
            .turn(format!("confirm:{}", self.subscription))
            .run_at_ms(now_ms.saturating_add(WAIT_MS))
    }
}

/// See the module.
pub(crate) struct ConfirmSubscription(pub(crate) Care);

/// What is asked about, and the answer if there was somebody to ask.
type Asked = (ToConfirm, Option<Arc<Answer>>);

#[async_trait]
impl Handler for ConfirmSubscription {
    fn kind(&self) -> &'static str {
        kinds::CONFIRM_SUBSCRIPTION
    }

    fn policy(&self) -> Policy {
        POLICY
    }

    async fn prepare(&self, job: &Job) -> Result<Prepared, Outcome> {
        let about: ToConfirm = serde_json::from_slice(&job.payload)
            .map_err(|_| Outcome::dead("what is to be confirmed cannot be read"))?;
        let Some(stripe) = &self.0.stripe else { return Ok(Box::new((about, None) as Asked)) };
        let question = Question {
            subscription: &about.subscription,
            account: about.account.as_deref(),
            livemode: about.livemode,
            since_ms: job.created_ms,
            job: job.id,
        };
        let answer = stripe.subscription(&question).await?;
        if answer.customer.as_ref().is_some_and(|customer| *customer != about.customer) {
            return Err(Outcome::dead("the subscription is somebody else's"));
        }
        Ok(Box::new((about, Some(answer)) as Asked))
    }

    async fn apply(
        &self,
        _: &Job,
        prepared: &Prepared,
        transaction: &mut Transaction,
    ) -> Result<Outcome, ApplyError> {
        let Some((about, answer)) = prepared.downcast_ref::<Asked>() else {
            return Ok(Outcome::retry("what was asked is gone"));
        };
        let now_ms = transaction.now_ms();
        let mut confirmed = Confirmed::Settled;
        taught(transaction, &about.customer, &self.0, |facts| match answer {
            Some(answer) => {
                confirmed = facts.subscription_confirmed(&about.subscription, answer.shown.clone(), now_ms);
            }
            None => facts.subscription_unconfirmed(&about.subscription, now_ms),
        })
        .await?;
        let Confirmed::AskAgain { after_ms } = confirmed else { return Ok(Outcome::Done) };
        if let Some(stripe) = &self.0.stripe {
            stripe.forget(&about.subscription);
        }
        let after_ms = after_ms.clamp(WAIT_MS, ASK_AGAIN_MAX_MS);
        Ok(Outcome::Snooze { after: Duration::from_millis(after_ms.unsigned_abs()) })
    }
}
