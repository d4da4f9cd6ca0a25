//! The way to a committer: who waits for it, how many at most, and for how long.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError, mpsc, oneshot},
    time::{Instant, timeout},
};

use super::record::SealedJob;
use crate::{database::turn::Urgency, job::Recorded, seal::SealError};

/// How long a caller waits for its jobs to be on disk, in milliseconds. Usually it is a few.
pub const RECORDING_TIMEOUT_MS: u64 = 5_000;

/// For how long crisis jobs are tried to be recorded even if nobody waits for it any more, in milliseconds.
pub const CRISIS_RECORDING_KEPT_MS: u64 = 60_000;

/// Callers that may wait for a committer at once; the next one is refused.
const WAITING_MAX: usize = 4_096;

/// Sealed payload that may wait for a committer, in KiB (64 MiB); further callers wait to be let in.
const WAITING_KIB_MAX: usize = 64 << 10;

/// A job could not be recorded; its sender must send it again. Under the same dedupe key: it may have been recorded all
/// the same, where the answer to a commit was lost.
#[derive(Debug, Clone, thiserror::Error)]
pub enum EnqueueError {
    /// The payload cannot be sealed.
    #[error("the job's payload cannot be sealed")]
    Seal(#[from] SealError),
    /// The database refused; the reason is logged where it happened.
    #[error("the ledger cannot be written")]
    Unrecorded,
    /// It took longer than [`RECORDING_TIMEOUT_MS`].
    #[error("the ledger did not take the job within {RECORDING_TIMEOUT_MS} ms")]
    TimedOut,
    /// As many callers wait as may.
    #[error("too many callers wait for the ledger")]
    Full,
    /// The engine is shutting down.
    #[error("the engine is shutting down")]
    ShuttingDown,
}

type Answer = Result<Vec<Recorded>, EnqueueError>;

/// Jobs that somebody wants recorded together.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) jobs: Vec<SealedJob>,
    answer: oneshot::Sender<Answer>,
    asked_at: Instant,
    _seat: OwnedSemaphorePermit,
    _room: OwnedSemaphorePermit,
}

impl Request {
    /// Bytes of sealed payload.
    pub(super) fn bytes(&self) -> usize {
        bytes(&self.jobs)
    }

    /// Whether nobody needs it any more. A crisis job is needed for longer than somebody waits: its sender was told to
    /// come again, and may not be able to.
    pub(super) fn is_over(&self, urgency: Urgency) -> bool {
        match urgency {
            Urgency::General | Urgency::Recovered => self.answer.is_closed(),
            Urgency::Crisis => self.asked_at.elapsed() >= Duration::from_millis(CRISIS_RECORDING_KEPT_MS),
        }
    }

    /// Answers whoever still waits.
    pub(super) fn answer(self, answer: Answer) {
        // A caller that stopped waiting has its jobs recorded all the same.
        let _ = self.answer.send(answer);
    }
}

/// The way to a committer. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Committer {
    requests: mpsc::Sender<Request>,
    seats: Arc<Semaphore>,
    room: Arc<Semaphore>,
}

impl Committer {
    /// The way, and its other end.
    pub(super) fn new() -> (Self, mpsc::Receiver<Request>) {
        let (requests, receiver) = mpsc::channel(WAITING_MAX);
        let (seats, room) = (Semaphore::new(WAITING_MAX), Semaphore::new(WAITING_KIB_MAX));
        (Self { requests, seats: Arc::new(seats), room: Arc::new(room) }, receiver)
    }

    /// Records `jobs` in one durable transaction; answers in their order once they are on disk, or with an error
    /// after [`RECORDING_TIMEOUT_MS`] at the latest.
    ///
    /// Whoever drops this before it has answered cannot know whether they were recorded.
    pub(crate) async fn commit(&self, jobs: Vec<SealedJob>) -> Answer {
        let asked_at = Instant::now();
        let seat = Arc::clone(&self.seats).try_acquire_owned().map_err(|error| match error {
            TryAcquireError::NoPermits => EnqueueError::Full,
            TryAcquireError::Closed => EnqueueError::ShuttingDown,
        })?;
        let asking = async {
            let kib = bytes(&jobs).div_ceil(1_024).clamp(1, WAITING_KIB_MAX);
            let room = Arc::clone(&self.room).acquire_many_owned(kib as u32).await;
            let room = room.map_err(|_| EnqueueError::ShuttingDown)?;
            let (answer, answered) = oneshot::channel();
            let request = Request { jobs, answer, asked_at, _seat: seat, _room: room };
            // There is a place for every seat, so this does not wait.
            self.requests.send(request).await.map_err(|_| EnqueueError::ShuttingDown)?;
            answered.await.map_err(|_| EnqueueError::ShuttingDown)?
        };
        let limit = Duration::from_millis(RECORDING_TIMEOUT_MS);
        timeout(limit, asking).await.unwrap_or(Err(EnqueueError::TimedOut))
    }
}

fn bytes(jobs: &[SealedJob]) -> usize {
    jobs.iter().map(SealedJob::sealed_len).sum()
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt as _, StreamExt as _, stream::FuturesUnordered};

    use super::*;

    #[tokio::test]
    async fn who_finds_everything_taken_is_refused_at_once() {
        let (committer, requests) = Committer::new();
        let mut waiting: FuturesUnordered<_> =
            (0..WAITING_MAX).map(|_| committer.commit(Vec::new())).collect();
        assert!(waiting.next().now_or_never().is_none());
        assert!(matches!(committer.commit(Vec::new()).now_or_never(), Some(Err(EnqueueError::Full))));
        drop(requests);
        assert!(matches!(waiting.next().await, Some(Err(EnqueueError::ShuttingDown))));
        assert!(matches!(committer.commit(Vec::new()).await, Err(EnqueueError::ShuttingDown)));
    }
}
