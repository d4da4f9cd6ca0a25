//! Records which emergency contacts nobody will tell any more, because the job that was to do so is dead: a second
//! after it has died, whatever of, so that the next sign of a crisis is told to them. What a process that dies within
//! that second does not record counts as not told after three hours.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use keepwell_jobs::{kinds, settle_untold};
use keepwell_workers::{clock::UnixMs, database::Database, job::Job, observer::RunEnded};

/// Dead jobs that wait to be recorded, at most; of more, the oldest are let go.
const WAITING_MAX: usize = 1_024;

/// What died and is not recorded yet. Cheap to clone; clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Untold(Arc<Mutex<VecDeque<Job>>>);

impl Untold {
    /// Takes in the end of a run, if it was the last one of a job that was to tell a contact.
    pub(super) fn run_ended(&self, ended: &RunEnded<'_>) {
        if ended.outcome == "dead" && &*ended.job.kind == kinds::CONTACT_TOLD {
            self.put(ended.job.clone());
        }
    }

    /// Records them in `database`. What it does not take is tried again the next time.
    pub(super) async fn record(&self, database: &Database, now_ms: UnixMs) {
        while let Some(job) = self.take() {
            if let Err(error) = settle_untold(database, &job, now_ms).await {
                tracing::debug!(%error, job.id = %job.id, "that a contact was not told cannot be recorded now");
                return self.put(job);
            }
        }
    }

    fn put(&self, job: Job) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() >= WAITING_MAX {
            waiting.pop_front();
        }
        waiting.push_back(job);
    }

    fn take(&self) -> Option<Job> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}
