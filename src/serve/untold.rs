//! Jobs about emergency contacts that are dead, or were cancelled.
//!
//! Whom nobody will tell any more is recorded a second later, so that the next sign of a crisis is told to them; also
//! those of whom another process was to record it, or this one before it began. And of each death somebody is alerted,
//! once by each process that comes upon it: whoever saw it may have been killed before saying so.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use keepwell_jobs::{kinds, settle_all_untold, settle_untold};
use keepwell_workers::{
    clock::UnixMs, database::Database, id::JobId, job::Job, observer::RunEnded, seal::KeyRing,
};
use tokio::time::Instant;

use super::build::DAY_MS;

/// Dead jobs that wait to be recorded, at most; of more, the oldest are let go.
const WAITING_MAX: usize = 1_024;

/// Deaths that are remembered, at most. Older ones than all of those are no news then: they are part of the same
/// disaster.
const KNOWN_MAX: usize = 16_384;

/// How often it is looked whom nobody will tell.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// How far back that looks, in milliseconds: much further than what is queued counts.
const LOOKED_BACK_MS: i64 = DAY_MS;

/// What died and is not recorded yet, and what is known to have died. Cheap to clone; clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Untold(Arc<Parts>);

#[derive(Debug, Default)]
struct Parts {
    waiting: Mutex<VecDeque<Job>>,
    /// When each of those died of which somebody was alerted.
    known: Mutex<BTreeMap<JobId, UnixMs>>,
    /// Somebody has cancelled jobs.
    cancelled: AtomicBool,
    looked: Mutex<Option<Instant>>,
}

impl Untold {
    /// Takes in the end of a run. Says whether somebody is to be alerted of it.
    pub(super) fn run_ended(&self, ended: &RunEnded<'_>, now_ms: UnixMs) -> bool {
        if ended.outcome != "dead" || !kinds::ABOUT_CONTACTS.contains(&&*ended.job.kind) {
            return false;
        }
        if &*ended.job.kind == kinds::CONTACT_TOLD {
            self.put(ended.job.clone());
        }
        self.died(ended.job.id, now_ms);
        true
    }

    /// Jobs were cancelled; contacts may have been to be told by them.
    pub(super) fn cancelled(&self) {
        self.0.cancelled.store(true, Relaxed);
    }

    /// The job about contacts `job` has died at `died_ms`. Says whether that is news here.
    pub(super) fn died(&self, job: JobId, died_ms: UnixMs) -> bool {
        let mut known = lock(&self.0.known);
        if known.get(&job).is_some_and(|known_ms| *known_ms >= died_ms) {
            return false;
        }
        known.insert(job, died_ms);
        let oldest = if known.len() > KNOWN_MAX { known.pop_first() } else { None };
        oldest.is_none_or(|(oldest, _)| oldest != job)
    }

    /// Records in `database` whom nobody will tell. What it does not take is tried again the next time.
    pub(super) async fn record(&self, database: &Database, keys: &KeyRing, now_ms: UnixMs) {
        while let Some(job) = self.take() {
            if let Err(error) = settle_untold(database, &job, now_ms).await {
                tracing::debug!(%error, job.id = %job.id, "that a contact was not told cannot be recorded now");
                return self.put(job);
            }
        }
        let is_time = lock(&self.0.looked).is_none_or(|at| at.elapsed() >= LOOK_EVERY);
        if !self.0.cancelled.swap(false, Relaxed) && !is_time {
            return;
        }
        let since_ms = now_ms.saturating_sub(LOOKED_BACK_MS);
        match settle_all_untold(database, keys, since_ms, now_ms).await {
            Ok(()) => *lock(&self.0.looked) = Some(Instant::now()),
            Err(error) => {
                self.cancelled();
                tracing::debug!(%error, "whom nobody will tell cannot be looked for now");
            }
        }
    }

    fn put(&self, job: Job) {
        let mut waiting = lock(&self.0.waiting);
        if waiting.len() >= WAITING_MAX {
            waiting.pop_front();
        }
        waiting.push_back(job);
    }

    fn take(&self) -> Option<Job> {
        lock(&self.0.waiting).pop_front()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_death_is_news_once_and_of_too_many_the_newest_are_known() {
        let untold = Untold::default();
        let job = |number: usize| JobId::new(number as i64);
        let jobs: Vec<JobId> = (0..KNOWN_MAX + 2).map(job).collect();
        assert!(untold.died(jobs[2], 5) && !untold.died(jobs[2], 5));
        // It was retried, and died again.
        assert!(untold.died(jobs[2], 6) && !untold.died(jobs[2], 5));
        assert!(jobs[3..].iter().all(|job| untold.died(*job, 5)));
        assert!(!untold.died(jobs[0], 5) && !untold.died(jobs[1], 5), "older than all that are known");
        assert!(untold.died(job(KNOWN_MAX + 2), 5) && !untold.died(jobs[3], 5));
    }
}
