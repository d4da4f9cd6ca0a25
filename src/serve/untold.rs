//! Records which emergency contacts nobody will tell any more, because the job that was to do so is dead: the moment it
//! dies, whatever of, so that the next sign of a crisis is told to them. What a process that dies in that moment does
//! not record counts as not told after three hours.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use keepwell_jobs::{kinds, settle_untold};
use keepwell_workers::{clock::SharedClock, database::Database, job::Job, observer::RunEnded};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// How often what could not be recorded is tried again.
const ROUND: Duration = Duration::from_secs(1);

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

    /// Records them in `database` until `stop`, and then what is left.
    pub(super) async fn run(self, database: Database, clock: SharedClock, stop: CancellationToken) {
        let mut rounds = interval(ROUND);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut stopping = false;
        while !stopping {
            tokio::select! {
                _ = rounds.tick() => {}
                () = stop.cancelled() => stopping = true,
            }
            while let Some(job) = self.take() {
                if let Err(error) = settle_untold(&database, &job, clock.now_ms()).await {
                    tracing::debug!(%error, job.id = %job.id, "that a contact was not told cannot be recorded now");
                    self.put(job);
                    break;
                }
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
