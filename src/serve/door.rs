//! Between the receiver and the house: how a verified body is read, and how a job is recorded.

use std::borrow::Cow;

use async_trait::async_trait;
use bytes::Bytes;
use keepwell_jobs::{
    intake::{self, IntakeError, privacy::DropPaths},
    marks::Marks,
};
use keepwell_workers::{
    engine::Engine,
    job::{NewJob, Recorded},
};

use super::watchers::Watchers;
use crate::receiver::{
    door::{BadEvent, Door, Intake, RecordError},
    source::SourceKind,
};

/// When a sender whose event could not be recorded should try again, in seconds. Short: Stripe waits longer anyway,
/// and the app's crisis signals must not.
const RETRY_AFTER_S: u32 = 2;

/// The door to the engine.
pub(super) struct EngineDoor {
    pub(super) engine: Engine,
    pub(super) marks: Marks,
    /// What is not kept of Stripe's events.
    pub(super) drop_paths: DropPaths,
    pub(super) watchers: Watchers,
}

#[async_trait]
impl Door for EngineDoor {
    fn read(&self, source: SourceKind, webhook_id: Option<&str>, body: &Bytes) -> Result<Intake, BadEvent> {
        let read = match source {
            SourceKind::Stripe => {
                intake::read_stripe(body, &self.marks).map(|intake| intake.without(&self.drop_paths))
            }
            SourceKind::App => intake::read_app(webhook_id.unwrap_or_default(), body, &self.marks),
        };
        let intake = read.map_err(bad_event)?;
        Ok(Intake {
            job: intake.job,
            event_type: intake.event_type,
            event_id: intake.event_id,
            handled: intake.handled,
            livemode: intake.livemode,
            account: intake.account,
        })
    }

    fn set_aside(&self, intake: Intake) -> NewJob {
        intake::set_aside(intake.job)
    }

    async fn record(&self, job: NewJob) -> Result<Recorded, RecordError> {
        // Dropped on the way, also because the receiver has waited long enough, it is refused.
        let watched = self.watchers.begin(&job);
        let recorded = self
            .engine
            .enqueue(job)
            .await
            .map_err(|error| RecordError { retry_after_s: RETRY_AFTER_S, source: Box::new(error) })?;
        if let Some(watched) = watched {
            watched.recorded(recorded);
        }
        Ok(recorded)
    }
}

fn bad_event(error: IntakeError) -> BadEvent {
    BadEvent { code: error.code(), detail: Cow::Owned(error.to_string()) }
}
