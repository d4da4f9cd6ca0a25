//! What the fetcher does while the lanes are away: a crisis waits neither for Redis to come back nor for a Redis that
//! hangs to fail.

use std::sync::Arc;

use super::Fetcher;
use crate::{
    lane::Lane,
    lanes::{ClaimScope, Claimed, LaneError, Moves},
};

impl Fetcher {
    /// After an error, waits until Redis answers or fails again. A Redis that hangs takes its time to fail, so crisis
    /// jobs that come meanwhile are run straight from the ledger.
    pub(super) async fn lanes_answer(&mut self, free: usize) -> Result<(), LaneError> {
        if !self.claims_unsure || self.scope != ClaimScope::Crisis {
            return Ok(());
        }
        // The bell that ended the wait may have been for a crisis.
        self.run_from_ledger(free).await;
        let (lanes, bells) = (self.lanes.clone(), Arc::clone(&self.bells));
        let mut answer = std::pin::pin!(lanes.ping());
        loop {
            tokio::select! {
                answered = &mut answer => return answered,
                () = bells.crisis.notified(), if free > 0 => {
                    self.run_from_ledger(self.slots.available_permits()).await;
                }
            }
        }
    }

    /// What to do while the lanes are away: enter anew if they have forgotten us; crisis jobs are run straight from the
    /// ledger.
    pub(super) async fn survive(&mut self, error: &LaneError, free: usize) {
        if let LaneError::LeaseLost = error {
            self.moves = Moves::default();
            if let Err(error) = self.member.enter_anew(self.member.node()).await {
                tracing::debug!(error = %error, "the lanes cannot be entered");
            }
            return;
        }
        tracing::debug!(error = %error, "the lanes are away");
        if self.scope == ClaimScope::Crisis {
            self.run_from_ledger(free).await;
        }
    }

    pub(super) async fn run_from_ledger(&mut self, free: usize) {
        if free == 0 {
            return;
        }
        // Some may be running already, so look a little further than there are slots.
        let limit = u32::try_from(free + self.in_flight.len()).unwrap_or(u32::MAX);
        let now_ms = self.ledger.clock.now_ms();
        match self.ledger.owed_due(Lane::Crisis, now_ms, limit).await {
            Ok(due) => {
                let due = due
                    .into_iter()
                    .filter(|id| !self.in_flight.contains(id))
                    .take(free)
                    .map(|id| Claimed { id, lane: Lane::Crisis, crashes: 0 })
                    .collect();
                self.deliver(due).await;
            }
            Err(error) => tracing::warn!(error = %error, "neither the lanes nor the ledger can be read"),
        }
    }
}
