//! The receiver's door into the house: how a verified body becomes a job, and how a job is recorded. The receiver knows
//! nothing of events beyond what passes here.

use std::{borrow::Cow, error::Error};

use async_trait::async_trait;
use bytes::Bytes;
use keepwell_workers::job::{NewJob, Recorded};

use super::source::SourceKind;

/// What the receiver asks of the house behind it.
#[async_trait]
pub trait Door: Send + Sync + 'static {
    /// Reads as much of a verified body as is needed to route it. `webhook_id` is the message's id in schemes that
    /// carry one in a header. Runs on the connection's thread: no I/O.
    fn read(&self, source: SourceKind, webhook_id: Option<&str>, body: &Bytes) -> Result<Intake, BadEvent>;

    /// The job that records an event of another mode or account than its source is for, and changes nothing else.
    fn set_aside(&self, intake: Intake) -> NewJob;

    /// Records a job. `Ok` only once it is on disk, because the sender is told to forget the event then.
    async fn record(&self, job: NewJob) -> Result<Recorded, RecordError>;
}

/// A verified event, read far enough to be recorded.
#[derive(Debug, Clone)]
pub struct Intake {
    /// What is to be recorded.
    pub job: NewJob,
    /// The event's type, such as `invoice.payment_failed`.
    pub event_type: String,
    /// The event's own id, which the answer repeats.
    pub event_id: String,
    /// Whether anybody handles events of this type. One that nobody handles is recorded all the same.
    pub handled: bool,
    /// Whether it is a live event; `None` if it does not say.
    pub livemode: Option<bool>,
    /// The connected account it belongs to; `None` if to none.
    pub account: Option<String>,
}

/// A verified body that is no event. Its sender is told why: whoever can sign may know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct BadEvent {
    /// A word for programs, such as `invalid_json`.
    pub code: &'static str,
    /// A sentence for people. No personal data.
    pub detail: Cow<'static, str>,
}

/// Nothing could be recorded: neither this time nor, for now, another time.
#[derive(Debug, thiserror::Error)]
#[error("the event could not be recorded")]
pub struct RecordError {
    /// When to try again, in seconds from now.
    pub retry_after_s: u32,
    /// What stood in the way.
    #[source]
    pub source: Box<dyn Error + Send + Sync>,
}
