//! How the lanes stand, with what only the ledger knows of who waits in front.

use std::time::Duration;

use tokio::time::timeout;

use super::Engine;
use crate::{
    id::JobId,
    lanes::{LaneError, LaneStats, NodeStats},
};

/// Who has not waited for so long is no reason to ask the ledger, in milliseconds.
const LONG_MS: i64 = 1_000;

/// How long the ledger may take. Whoever asks is waiting for what the lanes say.
const LEDGER_TIMEOUT: Duration = Duration::from_millis(100);

impl Engine {
    /// How every lane stands, in their order, and every node, as [`Lanes::stats`](crate::lanes::Lanes::stats) says. But
    /// the job in front waits only since its time had come: one that failed and is tried again, or that an operator
    /// has run again, was recorded long before and kept nobody waiting meanwhile. What was held up in its lane has
    /// waited for all of that time. A ledger that does not answer leaves it at when it was recorded.
    pub async fn standing(&self) -> Result<(Vec<LaneStats>, Vec<NodeStats>), LaneError> {
        let (mut lanes, nodes) = self.0.lanes.stats().await?;
        let waits_long = |lane: &&LaneStats| lane.oldest_waiting_ms.is_some_and(|ms| ms >= LONG_MS);
        let ids: Vec<JobId> = lanes.iter().filter(waits_long).filter_map(|lane| lane.oldest).collect();
        if let Ok(Ok(due)) = timeout(LEDGER_TIMEOUT, self.0.ledger.run_at_ms(&ids)).await {
            let now_ms = self.0.ledger.clock.now_ms();
            for (id, run_at_ms) in due {
                let in_front = lanes.iter_mut().filter(|lane| lane.oldest == Some(id));
                for waited_ms in in_front.filter_map(|lane| lane.oldest_waiting_ms.as_mut()) {
                    *waited_ms = (*waited_ms).min(now_ms.saturating_sub(run_at_ms).max(0));
                }
            }
        }
        Ok((lanes, nodes))
    }
}
