//! Group commit: many callers, one fsync.
//!
//! A committer takes whatever has arrived since its last commit (it never waits for a group to fill), writes it in one
//! transaction, and answers each caller once that is on disk. There is one for the crisis lane, on the crisis thread
//! and with the crisis turn at the database, and one for everything else.

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::{
    Ledger,
    record::{SealedJob, record},
};
use crate::{
    database::{Durability, turn::Urgency},
    job::Recorded,
    lanes::{PlacementQueue, next},
    seal::SealError,
};

/// Callers that may wait for a committer at once; the next one waits to be let in.
const WAITING_MAX: usize = 4_096;

/// Jobs in one transaction. Larger groups save no more fsyncs worth having, and a crisis writer would wait longer for
/// them than the 3 ms or so that this many take.
const GROUP_MAX: usize = 96;

/// Bytes of payload after which a group is closed early: about 10 ms of writing.
const GROUP_BYTES_MAX: usize = 4 << 20;

/// A job could not be recorded. Nothing of it was kept, so its sender must send it again.
#[derive(Debug, Clone, thiserror::Error)]
pub enum EnqueueError {
    /// The payload cannot be sealed.
    #[error("the job's payload cannot be sealed")]
    Seal(#[from] SealError),
    /// The database refused; the reason is logged where it happened.
    #[error("the ledger cannot be written")]
    Unrecorded,
    /// The engine is shutting down.
    #[error("the engine is shutting down")]
    ShuttingDown,
}

#[derive(Debug)]
struct Request {
    jobs: Vec<SealedJob>,
    answer: oneshot::Sender<Result<Vec<Recorded>, EnqueueError>>,
}

/// Who waits, and for how many jobs.
type Answer = (oneshot::Sender<Result<Vec<Recorded>, EnqueueError>>, usize);

/// The way to a committer. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Committer {
    requests: mpsc::Sender<Request>,
}

/// A committer's own end; dropped, the committer is closed.
#[derive(Debug)]
pub(crate) struct CommitterTask {
    requests: mpsc::Receiver<Request>,
    ledger: Ledger,
    urgency: Urgency,
    placements: PlacementQueue,
}

/// A committer for `ledger`; what it recorded goes to `placements`.
pub(crate) fn committer(
    ledger: Ledger,
    urgency: Urgency,
    placements: PlacementQueue,
) -> (Committer, CommitterTask) {
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    (Committer { requests: sender }, CommitterTask { requests: receiver, ledger, urgency, placements })
}

impl Committer {
    /// Records `jobs` in one durable transaction; answers in their order once they are on disk.
    pub(crate) async fn commit(&self, jobs: Vec<SealedJob>) -> Result<Vec<Recorded>, EnqueueError> {
        let (answer, answered) = oneshot::channel();
        self.requests.send(Request { jobs, answer }).await.map_err(|_| EnqueueError::ShuttingDown)?;
        answered.await.map_err(|_| EnqueueError::ShuttingDown)?
    }
}

impl CommitterTask {
    /// Commits until `close` is cancelled and everybody who asked before has an answer.
    pub(crate) async fn run(mut self, close: CancellationToken) {
        let mut group = Vec::with_capacity(GROUP_MAX);
        while let Some(first) = next(&mut self.requests, &close).await {
            let (mut jobs, mut bytes) = (0, 0);
            let mut joining = Some(first);
            while let Some(request) = joining.take() {
                jobs += request.jobs.len();
                bytes += request.jobs.iter().map(SealedJob::sealed_len).sum::<usize>();
                group.push(request);
                if jobs < GROUP_MAX && bytes < GROUP_BYTES_MAX {
                    joining = self.requests.try_recv().ok();
                }
            }
            self.commit(&mut group).await;
        }
    }

    async fn commit(&self, group: &mut Vec<Request>) {
        let mut jobs = Vec::with_capacity(group.len());
        let mut answers = Vec::with_capacity(group.len());
        for request in group.drain(..) {
            answers.push((request.answer, request.jobs.len()));
            jobs.extend(request.jobs);
        }
        match self.write(&jobs).await {
            Ok(recorded) => self.answer(&jobs, recorded, answers),
            // One row that the database refuses must not take its neighbours with it.
            Err(sqlx::Error::Database(error)) if answers.len() > 1 => {
                tracing::warn!(error = %error, jobs = jobs.len(), "a group was refused; writing its jobs one request at a time");
                let mut rest = jobs.as_slice();
                for (answer, count) in answers {
                    let (own, others) = rest.split_at(count);
                    rest = others;
                    match self.write(own).await {
                        Ok(recorded) => self.answer(own, recorded, vec![(answer, count)]),
                        Err(error) => self.refuse(vec![(answer, count)], &error),
                    }
                }
            }
            Err(error) => self.refuse(answers, &error),
        }
    }

    async fn write(&self, jobs: &[SealedJob]) -> Result<Vec<Recorded>, sqlx::Error> {
        let now_ms = self.ledger.clock.now_ms();
        let mut transaction = self.ledger.database.begin(self.urgency, Durability::Durable, now_ms).await?;
        let recorded = record(&mut transaction, jobs).await?;
        transaction.commit().await?;
        Ok(recorded)
    }

    fn answer(&self, jobs: &[SealedJob], recorded: Vec<Recorded>, answers: Vec<Answer>) {
        let fresh = jobs
            .iter()
            .zip(&recorded)
            .filter(|(_, recorded)| !recorded.duplicate)
            .map(|(job, _)| job.placement())
            .collect();
        self.placements.push(fresh);
        let mut recorded = recorded.into_iter();
        for (answer, count) in answers {
            // A caller that stopped waiting has its jobs recorded all the same.
            let _ = answer.send(Ok(recorded.by_ref().take(count).collect()));
        }
    }

    fn refuse(&self, answers: Vec<Answer>, error: &sqlx::Error) {
        tracing::error!(error = %error, requests = answers.len(), "the ledger cannot be written");
        // A commit whose answer was lost may have been one all the same.
        self.placements.mark_behind();
        for (answer, _) in answers {
            let _ = answer.send(Err(EnqueueError::Unrecorded));
        }
    }
}
