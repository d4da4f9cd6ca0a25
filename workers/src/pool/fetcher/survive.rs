//! What the fetcher does when the lanes are away, have forgotten it, or may not have been heard.

use std::{collections::HashSet, time::Duration};

use tokio::time::Instant;

use super::{Fetcher, WAIT_MAX};
use crate::{
    id::{JobId, NodeId},
    lane::Lane,
    lanes::{ClaimScope, Claimed, LaneError, Moves},
};

/// How often the claims that the server has noted are compared with what is running. A claim whose answer was lost is
/// looked for at once, but a server that stood still may carry it out later than that, from a connection that we have
/// given up by then.
pub(super) const CHECK_EVERY: Duration = Duration::from_secs(5);

/// The same after an error.
const CHECK_SOON: Duration = Duration::from_secs(1);

/// How it stands after a claim that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Survived {
    /// The lanes had forgotten this pool; it has entered anew and may ask again.
    Entered,
    /// The lanes are away.
    Away,
    /// The same, and the ledger may hold more crises than there were slots for.
    MoreDue,
}

impl Fetcher {
    pub(super) fn check_is_due(&self) -> bool {
        self.claims_unsure || Instant::now() >= self.next_check
    }

    /// Has claims that this pool never heard of given back.
    pub(super) async fn check_claims(&mut self, node: NodeId) -> Result<(), LaneError> {
        let claimed = self.lanes.claims_of(node).await?;
        let retried = self.moves.retries.iter().map(|(id, _)| *id);
        let told: HashSet<JobId> = self.moves.acks.iter().copied().chain(retried).collect();
        // Whatever was to be given back is among them.
        self.moves.returns =
            claimed.into_iter().filter(|id| !self.in_flight.contains(id) && !told.contains(id)).collect();
        self.next_check = Instant::now() + if self.claims_unsure { CHECK_SOON } else { CHECK_EVERY };
        self.claims_unsure = false;
        Ok(())
    }

    /// The lanes have answered. A crisis job that could not be placed is looked for in the ledger.
    pub(super) async fn answered(&mut self) {
        if std::mem::take(&mut self.away) {
            tracing::info!(pool = self.name(), "the lanes answer this pool again");
        }
        let free = self.slots.available_permits();
        if self.scope != ClaimScope::Crisis || self.runs.is_none() || free == 0 || !self.behind.take_crisis()
        {
            return;
        }
        match self.lanes.spoken_for().await {
            Ok(taken) => {
                // What is left over the next comparison puts into its lane.
                self.run_from_ledger(free, &taken).await;
            }
            Err(error) => {
                tracing::debug!(error = %error, "what is claimed cannot be read");
                self.behind.mark_crisis();
            }
        }
    }

    /// What to do while the lanes are away: enter anew if they have forgotten us; crisis jobs are run straight from the
    /// ledger.
    pub(super) async fn survive(&mut self, error: &LaneError, node: NodeId, free: usize) -> Survived {
        if let LaneError::LeaseLost = error {
            self.moves = Moves::default();
            // The node that lost it: the keeper of the lease may have entered under another one meanwhile.
            let entered = self.member.enter_anew(node).await;
            if let Err(error) = &entered {
                tracing::debug!(error = %error, "the lanes cannot be entered");
            }
            return if entered.is_ok() { Survived::Entered } else { Survived::Away };
        }
        if !std::mem::replace(&mut self.away, true) {
            tracing::info!(pool = self.name(), error = %error, "the lanes do not answer this pool");
        }
        // Whoever rang while every slot was taken does not ring again.
        let more_due = self.scope == ClaimScope::Crisis
            && (free == 0 || self.run_from_ledger(free, &HashSet::new()).await);
        if more_due { Survived::MoreDue } else { Survived::Away }
    }

    /// Runs up to `free` crisis jobs that the ledger holds, but none of those in `taken`. `true` if it may hold more.
    async fn run_from_ledger(&mut self, free: usize, taken: &HashSet<JobId>) -> bool {
        // Some may be running already, so look a little further than there are slots.
        let now_ms = self.ledger.clock.now_ms();
        // What the ledger could not settle is due there, and not here.
        let later = self.moves.retries.iter().filter(|(_, run_at_ms)| *run_at_ms > now_ms);
        let later: HashSet<JobId> = later.map(|(id, _)| *id).collect();
        let beside = self.in_flight.len() + taken.len() + later.len();
        let limit = u32::try_from(free + beside).unwrap_or(u32::MAX);
        let due = self.ledger.owed_due(Lane::Crisis, now_ms, limit);
        match self.turns.during(WAIT_MAX, due).await {
            Ok(due) => {
                let due: Vec<Claimed> = due
                    .into_iter()
                    .filter(|id| ![&self.in_flight, taken, &later].iter().any(|beside| beside.contains(id)))
                    .take(free)
                    .map(|id| Claimed { id, lane: Lane::Crisis, crashes: 0 })
                    .collect();
                let is_full = due.len() == free;
                self.deliver(due).await;
                is_full
            }
            Err(error) => {
                if !std::mem::replace(&mut self.unread, true) {
                    tracing::warn!(error = %error, "neither the lanes nor the ledger can be read");
                }
                false
            }
        }
    }

    fn name(&self) -> &'static str {
        match self.scope {
            ClaimScope::Crisis => "crisis",
            ClaimScope::General => "general",
        }
    }
}
