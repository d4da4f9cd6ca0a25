//! One run of one job.

use std::{fmt, sync::Arc};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

use crate::{
    clock::UnixMs,
    handler::Handler,
    id::{JobId, NodeId},
    job::Job,
    lane::Lane,
    lanes::{LaneError, Lanes},
    policy::Policy,
};

/// One run of one job, from its claim to its settlement.
pub(crate) struct Run {
    pub(crate) job: Arc<Job>,
    pub(crate) policy: Policy,
    pub(crate) handler: Arc<dyn Handler>,
    /// Set if the job has seen a worker die.
    pub(crate) suspicion: Option<Suspicion>,
    pub(crate) claimed_ms: UnixMs,
    pub(crate) claimed_at: Instant,
    /// The slot, given back when the run is dropped.
    pub(crate) _slot: OwnedSemaphorePermit,
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run").field("job", &self.job.id).field("kind", &self.job.kind).finish_non_exhaustive()
    }
}

/// A job that has seen a worker die says so before it begins, so that when the worker dies again it is known who ran.
/// One that was running at two deaths runs alone among its like, so that the third death names the culprit. After one
/// death nobody waits: nearly always it was the worker's own, and all that it was running would queue up for nothing.
#[derive(Debug, Clone)]
pub(crate) struct Suspicion {
    /// Set for those that run one at a time.
    pub(crate) one_at_a_time: Option<Arc<Semaphore>>,
    pub(crate) lanes: Lanes,
    pub(crate) node: NodeId,
}

/// A suspect may run, for as long as this is held.
#[derive(Debug)]
pub(crate) struct Cleared {
    _turn: Option<OwnedSemaphorePermit>,
}

impl Suspicion {
    /// Waits for its turn if it has to run alone, then notes that `job` is about to run. `None` if it must not run now:
    /// nobody would know whom it killed. Only a crisis job runs without a note rather than not at all; and nothing runs
    /// here once the lease is lost, because it is somebody else's then.
    pub(crate) async fn begin(&self, job: &Job) -> Option<Cleared> {
        let turn = match &self.one_at_a_time {
            // The semaphore is never closed.
            Some(one_at_a_time) => Arc::clone(one_at_a_time).acquire_owned().await.ok(),
            None => None,
        };
        let cleared = Cleared { _turn: turn };
        let Err(error) = self.lanes.begin_suspect(self.node, job.id).await else { return Some(cleared) };
        let runs = job.lane == Lane::Crisis && !matches!(error, LaneError::LeaseLost);
        tracing::warn!(error = %error, job.id = %job.id, runs, "no note could be made of a suspect");
        Some(cleared).filter(|_| runs)
    }
}

/// What became of a run, for the lanes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Move {
    /// Settled.
    Ack(JobId),
    /// Owed again, not before an instant.
    Later(JobId, UnixMs),
}
