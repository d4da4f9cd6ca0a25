//! Jobs in the shape that clients rely on. Fields may be added, never renamed.

use keepwell_workers::{
    clock::UnixMs,
    lane::Lane,
    ledger::{Attempt, JobView},
    state::State,
};
use serde::Serialize;

use super::{
    super::instant::rfc3339,
    waiting::{LanesNow, waiting_because},
};

/// A job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct JobBody {
    id: String,
    kind: String,
    lane: Lane,
    state: State,
    subject: Option<String>,
    attempts: u32,
    max_attempts: u32,
    created_at: String,
    run_at: String,
    finished_at: Option<String>,
    last_error: Option<String>,
    dedupe_key: Option<String>,
    waiting_because: Option<&'static str>,
}

impl JobBody {
    pub(super) fn of(job: JobView, lanes: Option<&LanesNow>, now_ms: UnixMs) -> Self {
        Self {
            waiting_because: waiting_because(&job, lanes, now_ms),
            id: job.id.to_string(),
            kind: job.kind,
            lane: job.lane,
            state: job.state,
            subject: job.subject,
            attempts: job.attempts,
            max_attempts: job.attempts_max,
            created_at: rfc3339(job.created_at_ms),
            run_at: rfc3339(job.run_at_ms),
            finished_at: job.finished_at_ms.map(rfc3339),
            last_error: job.last_error,
            dedupe_key: job.dedupe_key,
        }
    }
}

/// A job and its history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct JobWithHistory {
    #[serde(flatten)]
    pub(super) job: JobBody,
    pub(super) attempts_history: Vec<AttemptBody>,
}

/// A run that did not end in `done`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct AttemptBody {
    attempt: u32,
    outcome: String,
    error: Option<String>,
    node: String,
    finished_at: String,
}

impl From<Attempt> for AttemptBody {
    fn from(attempt: Attempt) -> Self {
        Self {
            attempt: attempt.attempt,
            outcome: attempt.outcome,
            error: attempt.error,
            node: attempt.node,
            finished_at: rfc3339(attempt.finished_at_ms),
        }
    }
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Page<T> {
    /// What is on it.
    pub(super) items: Vec<T>,
    /// The `cursor` of the next one; `null` on the last.
    pub(super) next: Option<String>,
    /// How many there are on all pages.
    pub(super) total: u64,
}

#[cfg(test)]
mod tests {
    use keepwell_workers::id::JobId;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_job_has_the_shape_that_clients_rely_on() {
        let id = JobId::new(0);
        let job = JobView {
            id,
            kind: "stripe.event".to_owned(),
            lane: Lane::Standard,
            state: State::Dead,
            subject: Some("cus_1".to_owned()),
            attempts: 20,
            attempts_max: 20,
            created_at_ms: 0,
            run_at_ms: 1,
            finished_at_ms: Some(2),
            last_error: Some("it failed".to_owned()),
            dedupe_key: Some("stripe:evt_1".to_owned()),
        };
        let attempt = Attempt {
            attempt: 1,
            outcome: "dead".to_owned(),
            error: Some("it failed".to_owned()),
            node: "00000000000000ff".to_owned(),
            finished_at_ms: 2,
        };
        let body = JobWithHistory { job: JobBody::of(job, None, 3), attempts_history: vec![attempt.into()] };
        assert_eq!(
            serde_json::to_value(body).unwrap(),
            json!({
                "id": id.to_string(),
                "kind": "stripe.event",
                "lane": "standard",
                "state": "dead",
                "subject": "cus_1",
                "attempts": 20,
                "max_attempts": 20,
                "created_at": "1970-01-01T00:00:00.000Z",
                "run_at": "1970-01-01T00:00:00.001Z",
                "finished_at": "1970-01-01T00:00:00.002Z",
                "last_error": "it failed",
                "dedupe_key": "stripe:evt_1",
                "waiting_because": null,
                "attempts_history": [{
                    "attempt": 1, "outcome": "dead", "error": "it failed", "node": "00000000000000ff",
                    "finished_at": "1970-01-01T00:00:00.002Z",
                }],
            })
        );
    }
}
