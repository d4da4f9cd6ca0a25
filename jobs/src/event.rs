//! What the handlers of Stripe's events share: the event in a job, and the crisis that its metadata may tell of.

use std::borrow::Cow;

use keepwell_workers::{clock::UnixMs, id::JobId, job::Job, outcome::Outcome};

use crate::{
    care::{
        crisis::{Severity, Signal, Source, event_time_ms},
        facts::Facts,
    },
    intake_error::IntakeError,
    json::Json,
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
        }))
    }

    /// Teaches the crisis that the object's metadata may tell of (`crisisMode`). It counts as high: Stripe's metadata
    /// cannot say more.
    pub(crate) fn teach_crisis_mode(&self, facts: &mut Facts) {
        if crisis_mode(self.object) {
            let signal = Signal {
                source: Source::Payment,
                severity: Severity::High,
                at_ms: event_time_ms(self.created_s, self.learned_ms),
                only_in_crisis: false,
            };
            // The event's own id may already be as long as an id can be.
            facts.signalled(format!("{}:metadata", self.job), signal, self.learned_ms);
        }
    }
}

/// A payload that was read at the door and cannot be read here will not become readable.
pub(crate) fn unreadable(error: IntakeError) -> Outcome {
    Outcome::dead(format!("the event cannot be read: {error}"))
}
