//! From a commit to a lane: placements queue here and go to Redis in batches, so that nobody who was promised a durable
//! commit waits for Redis too.
//!
//! If Redis is away or the queue is full, the placements are dropped and the lanes are marked as behind; the next
//! rebuild finds every owed job that no lane holds.

use std::sync::Arc;

use tokio::{
    sync::{
        Notify,
        mpsc::{self, error::TrySendError},
    },
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{Behind, Lanes, Placement};
use crate::lane::Lane;

/// Batches that may wait for Redis.
const BATCHES_WAITING_MAX: usize = 1_024;

/// Jobs in one round trip.
const JOBS_AT_ONCE: usize = 500;

/// The way to a placer. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct PlacementQueue {
    batches: mpsc::Sender<Vec<Placement>>,
    behind: Arc<Behind>,
}

impl PlacementQueue {
    /// Something may have been recorded, or be yet, that is never placed.
    pub(crate) fn doubt(&self) {
        self.behind.doubt(Instant::now());
    }

    /// Has `placements` put into their lanes soon.
    pub(crate) fn push(&self, placements: Vec<Placement>) {
        if placements.is_empty() {
            return;
        }
        if let Err(unsent) = self.batches.try_send(placements) {
            let (TrySendError::Full(lost) | TrySendError::Closed(lost)) = unsent;
            note_lost(&self.behind, &lost);
        }
    }
}

/// A placer's own end.
#[derive(Debug)]
pub(crate) struct PlacerTask {
    batches: mpsc::Receiver<Vec<Placement>>,
    behind: Arc<Behind>,
    bells: Arc<Bells>,
}

/// What wakes the pools of this process. A ring is remembered until the pool listens.
#[derive(Debug, Default)]
pub(crate) struct Bells {
    /// For the reserved crisis slots.
    pub(crate) crisis: Notify,
    /// For the general slots.
    pub(crate) general: Notify,
}

impl Bells {
    /// Wakes every pool.
    pub(crate) fn ring_all(&self) {
        self.crisis.notify_one();
        self.general.notify_one();
    }
}

/// A placer that rings `bells`, and sets `behind` when the lanes miss something.
pub(crate) fn placer(bells: Arc<Bells>, behind: Arc<Behind>) -> (PlacementQueue, PlacerTask) {
    let (sender, receiver) = mpsc::channel(BATCHES_WAITING_MAX);
    let task = PlacerTask { batches: receiver, behind: Arc::clone(&behind), bells };
    (PlacementQueue { batches: sender, behind }, task)
}

impl PlacerTask {
    /// Puts jobs into `lanes` until `close` is cancelled and nothing is left.
    pub(crate) async fn run(mut self, lanes: Lanes, close: CancellationToken) {
        while let Some(mut batch) = next(&mut self.batches, &close).await {
            while batch.len() < JOBS_AT_ONCE {
                let Ok(more) = self.batches.try_recv() else { break };
                batch.extend(more);
            }
            if let Err(error) = lanes.place(&batch).await
                && note_lost(&self.behind, &batch)
            {
                tracing::warn!(
                    error = %error,
                    hint = error.hint(),
                    "jobs are recorded but cannot be put into their lanes; they will be found again"
                );
            }
            // Even if Redis is away: crisis jobs are then run straight from the ledger.
            if batch.iter().any(|placement| placement.lane == Lane::Crisis) {
                self.bells.crisis.notify_one();
            }
            self.bells.general.notify_one();
        }
    }
}

/// `true` if nothing was missing before.
fn note_lost(behind: &Behind, lost: &[Placement]) -> bool {
    if lost.iter().any(|placement| placement.lane == Lane::Crisis) {
        behind.mark_crisis();
    }
    behind.mark()
}

/// The next message; once `close` is cancelled, only what was already sent.
pub(crate) async fn next<T>(messages: &mut mpsc::Receiver<T>, close: &CancellationToken) -> Option<T> {
    if !close.is_cancelled() {
        tokio::select! {
            biased;
            message = messages.recv() => return message,
            () = close.cancelled() => {}
        }
    }
    messages.close();
    messages.recv().await
}
