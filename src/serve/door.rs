//! Between the receiver and the house: how a verified body is read, and how a job is recorded; and the same for events
//! that no webhook has brought.

use std::{
    borrow::Cow,
    collections::HashSet,
    fmt,
    sync::{Arc, OnceLock, Weak},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use keepwell_jobs::{
    backfill::{EventDoor, Taken},
    intake::{self, Fetched, IntakeError, privacy::DropPaths},
    marks::Marks,
};
use keepwell_workers::{
    engine::Engine,
    job::{NewJob, Recorded},
    outcome::Outcome,
};

use super::watchers::Watchers;
use crate::receiver::{
    door::{BadEvent, Door, Intake, RecordError},
    source::{Source, SourceKind},
};

/// When a sender whose event could not be recorded should try again, in seconds. Short: Stripe waits longer anyway,
/// and the app's crisis signals must not.
const RETRY_AFTER_S: u32 = 2;

/// The door to the engine.
pub(super) struct EngineDoor {
    engine: Engine,
    marks: Marks,
    /// What is not kept of Stripe's events.
    drop_paths: DropPaths,
    /// What is not kept of the app's signals.
    signal_drop_paths: DropPaths,
    watchers: Watchers,
}

impl EngineDoor {
    /// A door that keeps nothing of what `drop_paths` name.
    pub(super) fn new(engine: Engine, marks: Marks, drop_paths: DropPaths, watchers: Watchers) -> Self {
        let signal_drop_paths = drop_paths.of_signals();
        Self { engine, marks, drop_paths, signal_drop_paths, watchers }
    }
}

#[async_trait]
impl Door for EngineDoor {
    fn read(&self, source: SourceKind, webhook_id: Option<&str>, body: &Bytes) -> Result<Intake, BadEvent> {
        let read = match source {
            SourceKind::Stripe => {
                let types = &self.watchers.care.event_types;
                intake::read_stripe(body, &self.marks, types).map(|intake| intake.without(&self.drop_paths))
            }
            SourceKind::App => {
                let definitions = &self.watchers.care.definitions;
                intake::read_app(webhook_id.unwrap_or_default(), body, &self.marks, definitions)
                    .map(|intake| intake.signal_without(&self.signal_drop_paths))
            }
        };
        read.map(at_the_door).map_err(bad_event)
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

/// How soon a back-fill comes again that began before the door was open, or after it was shut.
const OPENING: Duration = Duration::from_millis(250);

/// Takes in events that no webhook has brought, as if one had. It opens once there is an engine, which knows it before
/// through its handlers; so it does not hold what holds the engine.
pub(super) struct BackDoor {
    source: Arc<Source>,
    door: OnceLock<Weak<EngineDoor>>,
}

impl BackDoor {
    /// A door for events that could have come from `source`.
    pub(super) fn of(source: Arc<Source>) -> Arc<Self> {
        Arc::new(Self { source, door: OnceLock::new() })
    }

    /// From now on they go through `door`.
    pub(super) fn open(&self, door: &Arc<EngineDoor>) {
        // It is opened once.
        let _ = self.door.set(Arc::downgrade(door));
    }
}

impl fmt::Debug for BackDoor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BackDoor").field("source", &self.source.path).finish_non_exhaustive()
    }
}

impl BackDoor {
    fn opened(&self) -> Result<Arc<EngineDoor>, Outcome> {
        self.door.get().and_then(Weak::upgrade).ok_or(Outcome::Snooze { after: OPENING })
    }
}

#[async_trait]
impl EventDoor for BackDoor {
    async fn known(&self, events: &[Bytes]) -> Result<Vec<bool>, Outcome> {
        let door = self.opened()?;
        let key = |event: &Bytes| door.read(self.source.kind, None, event).ok()?.job.dedupe_key;
        let keys: Vec<Option<String>> = events.iter().map(key).collect();
        let asked: Vec<String> = keys.iter().flatten().cloned().collect();
        let found = door.engine.ledger().states_of_keys(&asked).await;
        let found = found.map_err(|error| Outcome::retry(format!("the ledger cannot be read: {error}")))?;
        let found: HashSet<String> = found.into_iter().map(|(key, _)| key).collect();
        Ok(keys.iter().map(|key| key.as_ref().is_some_and(|key| found.contains(key))).collect())
    }

    async fn take(&self, event: &Bytes) -> Result<Taken, Outcome> {
        let door = self.opened()?;
        let now_ms = door.watchers.clock.now_ms();
        let known = (&door.marks, &door.watchers.care.event_types);
        let read = intake::read_fetched(event, known, &door.drop_paths, now_ms);
        let Fetched { intake, tells_of_crisis_over } = match read {
            Ok(fetched) => fetched,
            Err(error) => {
                tracing::warn!(code = error.code(), "what Stripe lists among its events is none");
                return Ok(Taken::Unreadable);
            }
        };
        let intake = at_the_door(intake);
        let expected = self.source.expects(&intake);
        let job = if expected { intake.job } else { door.set_aside(intake) };
        let recorded = door.record(job).await;
        let recorded = recorded.map_err(|error| Outcome::retry(error.to_string()))?;
        Ok(match (recorded.duplicate, expected) {
            (true, _) => Taken::Known,
            (false, true) if tells_of_crisis_over => {
                let job = recorded.id;
                tracing::warn!(%job, "an event of Stripe's history tells of a crisis that is over: it opens nothing");
                Taken::CrisisOver
            }
            (false, true) => Taken::Recorded,
            (false, false) => Taken::SetAside,
        })
    }
}

fn at_the_door(intake: intake::Intake) -> Intake {
    Intake {
        job: intake.job,
        event_type: intake.event_type,
        event_id: intake.event_id,
        handled: intake.handled,
        livemode: intake.livemode,
        account: intake.account,
    }
}

fn bad_event(error: IntakeError) -> BadEvent {
    BadEvent { code: error.code(), detail: Cow::Owned(error.to_string()) }
}
