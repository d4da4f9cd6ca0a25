//! Jobs: as somebody asks for them ([`NewJob`]) and as a handler sees them ([`Job`]).

use std::sync::Arc;

use bytes::Bytes;

use crate::{clock::UnixMs, id::JobId, lane::Lane};

/// A job that somebody wants done.
#[derive(Debug, Clone)]
pub struct NewJob {
    /// Which handler runs it.
    pub kind: Arc<str>,
    /// Where it waits.
    pub lane: Lane,
    /// At most one job with this key is ever recorded; a second one is a duplicate.
    pub dedupe_key: Option<String>,
    /// Whom or what it concerns (a customer, a device); operators search by it.
    pub subject: Option<String>,
    /// Jobs with the same turn never run at the same time.
    pub turn: Option<String>,
    /// What the handler needs. Sealed before it is stored. At most [`NewJob::PAYLOAD_BYTES_MAX`].
    pub payload: Bytes,
    /// Not before this instant; `None` is at once.
    pub run_at_ms: Option<UnixMs>,
    /// The W3C `traceparent` under which it was asked for.
    pub trace: Option<String>,
}

impl NewJob {
    /// The largest payload the ledger takes, in bytes (4 MiB, four times the receiver's default body limit).
    pub const PAYLOAD_BYTES_MAX: usize = 4 << 20;

    /// A job of `kind` in `lane` with nothing else set.
    pub fn new(kind: impl Into<Arc<str>>, lane: Lane, payload: impl Into<Bytes>) -> Self {
        Self {
            kind: kind.into(),
            lane,
            dedupe_key: None,
            subject: None,
            turn: None,
            payload: payload.into(),
            run_at_ms: None,
            trace: None,
        }
    }

    /// Records the job at most once under `key`.
    #[must_use]
    pub fn dedupe_key(mut self, key: impl Into<String>) -> Self {
        self.dedupe_key = Some(key.into());
        self
    }

    /// Names whom it concerns.
    #[must_use]
    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        self.subject = Some(subject.into());
        self
    }

    /// Keeps it from running beside another job of the same turn.
    #[must_use]
    pub fn turn(mut self, turn: impl Into<String>) -> Self {
        self.turn = Some(turn.into());
        self
    }

    /// Holds it back until `run_at_ms`.
    #[must_use]
    pub fn run_at_ms(mut self, run_at_ms: UnixMs) -> Self {
        self.run_at_ms = Some(run_at_ms);
        self
    }
}

/// A job in a handler's hands, its payload opened.
#[derive(Debug, Clone)]
pub struct Job {
    /// Its identity; the idempotency key of everything it does outside the database.
    pub id: JobId,
    /// Which handler runs it.
    pub kind: Arc<str>,
    /// The lane it was recorded in.
    pub lane: Lane,
    /// The key under which it was recorded once.
    pub dedupe_key: Option<String>,
    /// Whom or what it concerns.
    pub subject: Option<String>,
    /// What was asked for.
    pub payload: Bytes,
    /// Runs that failed before this one.
    pub attempts: u32,
    /// When it was recorded.
    pub created_ms: UnixMs,
    /// The W3C `traceparent` under which it was asked for.
    pub trace: Option<String>,
}

/// What became of a [`NewJob`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recorded {
    /// The job's id; of a duplicate, the id of the first one.
    pub id: JobId,
    /// Whether a job with the same dedupe key had been recorded before.
    pub duplicate: bool,
}
