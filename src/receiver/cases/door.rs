//! A door that keeps what is recorded in memory.

use std::{
    collections::HashMap,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
};

use async_trait::async_trait;
use bytes::Bytes;
use keepwell_workers::{
    id::JobId,
    job::{NewJob, Recorded},
    lane::Lane,
};
use serde_json::Value;
use tokio::sync::{Semaphore, watch};

use crate::receiver::{
    door::{BadEvent, Door, Intake, RecordError},
    source::SourceKind,
};

/// Keeps jobs, and can be told to stand still, to fail and to panic.
pub(super) struct MemoryDoor {
    jobs: Mutex<HashMap<String, (JobId, NewJob)>>,
    /// A permit for every job that may be recorded.
    pub(super) open: Semaphore,
    /// How many jobs are waiting at the door or have passed it.
    pub(super) arrived: watch::Sender<usize>,
    /// How many jobs are recorded.
    pub(super) recorded: watch::Sender<usize>,
    pub(super) fails: AtomicBool,
}

impl MemoryDoor {
    pub(super) fn new() -> Self {
        Self {
            jobs: Mutex::default(),
            open: Semaphore::new(Semaphore::MAX_PERMITS),
            arrived: watch::Sender::new(0),
            recorded: watch::Sender::new(0),
            fails: AtomicBool::new(false),
        }
    }

    /// Nothing passes until permits are added to [`open`](Self::open).
    pub(super) fn shut(&self) {
        self.open.forget_permits(Semaphore::MAX_PERMITS);
    }

    /// The job recorded for `event_id`.
    pub(super) fn job(&self, event_id: &str) -> Option<NewJob> {
        self.jobs.lock().unwrap().get(event_id).map(|(_, job)| job.clone())
    }
}

#[async_trait]
impl Door for MemoryDoor {
    fn read(&self, source: SourceKind, webhook_id: Option<&str>, body: &Bytes) -> Result<Intake, BadEvent> {
        let bad = |code| BadEvent { code, detail: "The body is not an event.".into() };
        let event: Value = serde_json::from_slice(body).map_err(|_| bad("invalid_json"))?;
        let text = |name: &str| event.get(name).and_then(Value::as_str).map(str::to_owned);
        let event_id = match source {
            SourceKind::Stripe => text("id"),
            SourceKind::App => webhook_id.map(str::to_owned),
        };
        let (Some(event_id), Some(event_type)) = (event_id, text("type")) else {
            return Err(bad("not_an_event"));
        };
        assert_ne!(event_type, "panic", "a reader that panics");
        Ok(Intake {
            job: NewJob::new("event", Lane::Standard, body.clone()).dedupe_key(event_id.clone()),
            handled: event_type != "nobody.cares",
            event_type,
            event_id,
            livemode: event.get("livemode").and_then(Value::as_bool),
            account: text("account"),
        })
    }

    fn set_aside(&self, intake: Intake) -> NewJob {
        NewJob { kind: "set_aside".into(), ..intake.job }
    }

    async fn record(&self, job: NewJob) -> Result<Recorded, RecordError> {
        self.arrived.send_modify(|arrived| *arrived += 1);
        self.open.acquire().await.unwrap().forget();
        if self.fails.load(SeqCst) {
            return Err(RecordError { retry_after_s: 7, source: "the disk is full".into() });
        }
        let key = job.dedupe_key.clone().unwrap();
        let mut jobs = self.jobs.lock().unwrap();
        let duplicate = jobs.contains_key(&key);
        let id = jobs.entry(key).or_insert_with(|| (JobId::new(1_700_000_000_000), job)).0;
        drop(jobs);
        self.recorded.send_modify(|recorded| *recorded += 1);
        Ok(Recorded { id, duplicate })
    }
}
