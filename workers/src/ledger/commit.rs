//! Group commit: many callers, one fsync.
//!
//! A committer takes whatever has arrived since its last commit (it never waits for a group to fill), writes it in one
//! transaction, and answers each caller once that is on disk. There is one for the crisis lane, on the crisis thread
//! and with the crisis turn at the database, and one for everything else.
//!
//! While the database is in [trouble](Trouble) the committer tries again and again, so that a short one costs time and
//! nothing else. Writing the same job twice is harmless, so this also finds out what became of a commit whose answer
//! was lost. What nobody waits for any more is let go: its sender was told to come again.

use std::time::Duration;

use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    Ledger,
    record::{SealedJob, record},
    recording::Recording,
    waiting::{Committer, EnqueueError, Request},
};
use crate::{
    database::{Durability, Trouble, turn::Urgency, within},
    job::Recorded,
    lanes::{PlacementQueue, next},
};

/// Jobs in one transaction. Larger groups save no more fsyncs worth having, and a crisis writer would wait longer for
/// them than the 3 ms or so that this many take.
const GROUP_MAX: usize = 96;

/// Bytes of payload after which a group is closed early: about 10 ms of writing.
const GROUP_BYTES_MAX: usize = 4 << 20;

/// How long one attempt to write a group may take.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// Waits between attempts while the database is in trouble.
const BACKOFF_MIN: Duration = Duration::from_millis(10);
const BACKOFF_MAX: Duration = Duration::from_millis(500);

/// How often the database is asked whether its trouble is over while nobody wants anything recorded.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A committer's own end; dropped, the committer is closed.
#[derive(Debug)]
pub(crate) struct CommitterTask {
    requests: mpsc::Receiver<Request>,
    ledger: Ledger,
    urgency: Urgency,
    placements: PlacementQueue,
    recording: Recording,
}

/// A committer for `ledger`; what it recorded goes to `placements`, and what stands in its way to `recording`.
pub(crate) fn committer(
    ledger: Ledger,
    urgency: Urgency,
    placements: PlacementQueue,
    recording: Recording,
) -> (Committer, CommitterTask) {
    let (committer, requests) = Committer::new();
    (committer, CommitterTask { requests, ledger, urgency, placements, recording })
}

impl CommitterTask {
    /// Commits until `close` is cancelled and everybody who asked before has an answer.
    pub(crate) async fn run(mut self, close: CancellationToken) {
        while let Some(first) = self.first(&close).await {
            let mut group = Vec::with_capacity(GROUP_MAX);
            let (mut jobs, mut bytes) = (0, 0);
            let mut joining = Some(first);
            while let Some(request) = joining.take() {
                jobs += request.jobs.len();
                bytes += request.bytes();
                group.push(request);
                if jobs < GROUP_MAX && bytes < GROUP_BYTES_MAX {
                    joining = self.requests.try_recv().ok();
                }
            }
            for alone in self.commit(group, &close).await {
                self.commit(vec![alone], &close).await;
            }
        }
    }

    /// The first request of a group. While there is trouble and nobody asks, looks whether it is over.
    async fn first(&mut self, close: &CancellationToken) -> Option<Request> {
        while self.recording.trouble().is_some() {
            match timeout(LOOK_EVERY, next(&mut self.requests, close)).await {
                Ok(first) => return first,
                Err(_) => match within(WRITE_TIMEOUT, self.ledger.try_writing(self.urgency)).await {
                    Ok(()) => self.recording.works(),
                    Err(error) => self.fails(&error),
                },
            }
        }
        next(&mut self.requests, close).await
    }

    /// Writes `group` and answers it. Gives back the requests that have to be written one by one, because the database
    /// refuses something about them.
    async fn commit(&self, mut group: Vec<Request>, close: &CancellationToken) -> Vec<Request> {
        let mut backoff = BACKOFF_MIN;
        loop {
            self.let_go(&mut group);
            if group.is_empty() {
                return Vec::new();
            }
            let jobs: Vec<&SealedJob> = group.iter().flat_map(|request| &request.jobs).collect();
            match within(WRITE_TIMEOUT, self.write(&jobs)).await {
                Ok(recorded) => {
                    self.recording.works();
                    self.place(&jobs, &recorded);
                    answer(group, recorded);
                    return Vec::new();
                }
                Err(error) if Trouble::of(&error).is_some() && !close.is_cancelled() => {
                    self.fails(&error);
                    tokio::select! {
                        () = close.cancelled() => {}
                        () = sleep(backoff.mul_f64(0.5 + rand::random::<f64>() / 2.0)) => {}
                    }
                    backoff = (backoff * 2).min(BACKOFF_MAX);
                }
                // One row that the database refuses must not take its neighbours with it.
                Err(error) if Trouble::of(&error).is_none() && group.len() > 1 => {
                    tracing::warn!(error = %error, jobs = jobs.len(), "a group was refused; writing its jobs one request at a time");
                    return group;
                }
                Err(error) => {
                    tracing::error!(error = %error, requests = group.len(), "the ledger cannot be written");
                    for request in group {
                        request.answer(Err(EnqueueError::Unrecorded));
                    }
                    return Vec::new();
                }
            }
        }
    }

    /// Takes out of `group` what nobody needs any more.
    fn let_go(&self, group: &mut Vec<Request>) {
        let before = group.len();
        group.retain(|request| !request.is_over(self.urgency));
        let requests = before - group.len();
        if requests > 0 && self.urgency == Urgency::Crisis {
            tracing::error!(requests, "crisis jobs could not be recorded in all this time; they are let go");
        } else if requests > 0 {
            tracing::warn!(requests, "jobs were not recorded in time; their senders were told to come again");
        }
    }

    async fn write(&self, jobs: &[&SealedJob]) -> Result<Vec<Recorded>, sqlx::Error> {
        let now_ms = self.ledger.clock.now_ms();
        let mut transaction = self.ledger.database.begin(self.urgency, Durability::Durable, now_ms).await?;
        let recorded = record(&mut transaction, jobs).await?;
        let placements = self.placements.clone();
        transaction.when_in_doubt(move || placements.mark_behind());
        transaction.commit().await?;
        Ok(recorded)
    }

    fn place(&self, jobs: &[&SealedJob], recorded: &[Recorded]) {
        let fresh = jobs.iter().zip(recorded).filter(|(_, recorded)| !recorded.duplicate);
        self.placements.push(fresh.map(|(job, _)| job.placement()).collect());
    }

    fn fails(&self, error: &sqlx::Error) {
        if let Some(trouble) = Trouble::of(error).filter(|trouble| !trouble.is_one_transactions()) {
            self.recording.fails(trouble, error);
        }
    }
}

fn answer(group: Vec<Request>, recorded: Vec<Recorded>) {
    let mut recorded = recorded.into_iter();
    for request in group {
        let own = recorded.by_ref().take(request.jobs.len()).collect();
        request.answer(Ok(own));
    }
}
