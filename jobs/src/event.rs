//! What the handlers of Stripe's events share: the event in a job, and the crisis that its metadata may tell of.

use std::borrow::Cow;

use keepwell_workers::{
    clock::UnixMs, database::Transaction, handler::ApplyError, id::JobId, job::Job, outcome::Outcome,
};

use crate::{
    Care,
    care::{
        crisis::{Road, Signal},
        facts::Facts,
    },
    intake_error::IntakeError,
    json::Json,
    store::{note_past_signal, taught},
    stripe::{
        envelope::Envelope,
        extract::{crisis_mode, customer_of},
    },
};

/// A Stripe event that has an object and concerns somebody.
pub(crate) struct Event<'a> {
    pub(crate) job: JobId,
    pub(crate) id: String,
    pub(crate) created_s: i64,
    pub(crate) customer: String,
    /// The connected account it happened on.
    pub(crate) account: Option<String>,
    /// Whether real money moved, if it says so.
    pub(crate) livemode: Option<bool>,
    pub(crate) object: Json<'a>,
    /// When we learned of it. The job that says so may run long after that; what it begins begins then.
    pub(crate) learned_ms: UnixMs,
    /// Whether a webhook brought it.
    pub(crate) road: Road,
}

impl<'a> Event<'a> {
    /// The event in `job`; `None` if it concerns nobody, which changes nothing.
    pub(crate) fn of(job: &'a Job) -> Result<Option<Self>, Outcome> {
        let envelope = Envelope::parse(&job.payload).map_err(unreadable)?;
        let Some(object) = envelope.object else { return Ok(None) };
        let Some(customer) = customer_of(object) else { return Ok(None) };
        Ok(Some(Self {
            job: job.id,
            id: envelope.id.into_owned(),
            // An event that does not say when it was made counts as made when it came.
            created_s: envelope.created_s.unwrap_or(job.created_ms / 1_000),
            customer: customer.into_owned(),
            account: envelope.account.map(Cow::into_owned),
            livemode: envelope.livemode,
            object,
            learned_ms: job.created_ms,
            road: envelope.road,
        }))
    }

    /// Has `teach` change what is known of whom it concerns, in `transaction`. First the crisis that the object's
    /// metadata may tell of (`crisisMode`): what else happens in it is treated as such. If that is over, it opens
    /// nothing, and stands in the trail.
    pub(crate) async fn teaches(
        &self,
        transaction: &mut Transaction,
        care: &Care,
        teach: impl FnOnce(&mut Facts),
    ) -> Result<(), ApplyError> {
        let now_ms = transaction.now_ms();
        // The event's own id may already be as long as an id can be.
        let told = crisis_mode(self.object).then(|| {
            let signal = Signal::of_metadata(self.road, self.created_s, self.learned_ms);
            (format!("{}:metadata", self.job), signal)
        });
        let mut past = None;
        taught(transaction, &self.customer, care, |facts| {
            if let Some((id, signal)) = &told {
                let is_past = facts.is_past(signal, now_ms);
                facts.signalled(id.clone(), signal.clone(), self.learned_ms);
                past = is_past.then(|| facts.crisis(now_ms).is_some());
            }
            teach(facts);
        })
        .await?;
        if let (Some(active), Some((id, signal))) = (past, &told) {
            note_past_signal(transaction, care, &self.customer, (id, signal), active)?;
        }
        Ok(())
    }
}

/// A payload that was read at the door and cannot be read here will not become readable.
pub(crate) fn unreadable(error: IntakeError) -> Outcome {
    Outcome::dead(format!("the event cannot be read: {error}"))
}
