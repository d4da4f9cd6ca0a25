//! What operators do to many jobs at once, step by step: each step is bounded, and says where the next one goes on.

use std::{collections::HashSet, sync::Arc};

use super::Engine;
use crate::{
    database::Note,
    id::JobId,
    lane::Lane,
    lanes::LaneError,
    ledger::{JOBS_PER_STEP, JobFilter},
    state::State,
};

/// What one step did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Step {
    /// Jobs that were changed.
    pub changed: u64,
    /// Jobs that were left alone because they are running.
    pub running: u64,
    /// Where the next step goes on; `None` when everything that matches has been looked at.
    pub next: Option<JobId>,
}

/// A step could not be done.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// Redis is away, so nobody knows what is running.
    #[error("the lanes cannot be asked what is running")]
    Lanes(#[from] LaneError),
    /// The ledger cannot be read or written.
    #[error("the ledger cannot be written")]
    Ledger(#[from] sqlx::Error),
}

impl Engine {
    /// The jobs that some node has claimed: they are running, or about to.
    pub async fn running(&self) -> Result<HashSet<JobId>, LaneError> {
        let mut running = HashSet::new();
        for (node, _) in self.0.lanes.nodes().await? {
            running.extend(self.0.lanes.claims_of(node).await?);
        }
        Ok(running)
    }

    /// Cancels the next (at most a thousand) owed jobs that match, from `after` on, oldest first. What is running is
    /// left alone; a job that begins in this very moment finds nothing owed when it ends, so its effects are not
    /// applied. `note` is written in the transaction that changes something.
    pub async fn cancel_matching(
        &self,
        filter: &JobFilter,
        after: Option<JobId>,
        note: Option<&dyn Note>,
    ) -> Result<Step, StepError> {
        let mut ids = self.0.ledger.matching(State::Owed, filter, after).await?;
        let (found, next) = (ids.len(), next(&ids));
        let running = self.running().await?;
        ids.retain(|id| !running.contains(id));
        let running = (found - ids.len()) as u64;
        Ok(Step { changed: self.cancel_all(&ids, note).await?, running, next })
    }

    /// Owes the next (at most a thousand) jobs again that match and are `dead` (or `cancelled`, if the filter says so),
    /// from `after` on, oldest first, their attempts counted from zero. `note` is written in the transaction that
    /// changes something.
    pub async fn retry_matching(
        &self,
        filter: &JobFilter,
        after: Option<JobId>,
        note: Option<Arc<dyn Note>>,
    ) -> Result<Step, StepError> {
        let state = filter.state.unwrap_or(State::Dead);
        let ids = self.0.ledger.matching(state, filter, after).await?;
        let next = next(&ids);
        Ok(Step { changed: self.revive(ids, note).await?, running: 0, next })
    }

    /// Takes every job out of `lanes` that waits there and is not owed any more; says how many. To be called after
    /// cancelling; whatever it leaves is found to be settled when its turn comes.
    pub async fn withdraw(&self, lanes: &[Lane]) -> Result<u64, LaneError> {
        let mut taken = 0;
        for lane in lanes {
            taken += self.0.lanes.withdraw(&self.0.ledger, *lane).await?;
        }
        Ok(taken)
    }
}

/// Where the step after the one that found `ids` goes on.
fn next(ids: &[JobId]) -> Option<JobId> {
    ids.last().copied().filter(|_| ids.len() == JOBS_PER_STEP as usize)
}
