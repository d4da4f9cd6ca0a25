//! Group commit: many callers, one fsync.
//!
//! A committer takes whatever has arrived since its last commit (it never waits for a group to fill), writes it in one
//! transaction, and answers each caller once that is on disk. While one group is on its way to the disk the next one is
//! written. There is one committer for the crisis lane, on the crisis thread and with the crisis turn at the database,
//! and one for everything else.
//!
//! While the database is in [trouble](Trouble) the committer tries again and again, so that a short one costs time and
//! nothing else. Writing the same job twice is harmless, so this also finds out what became of a commit whose answer
//! was lost. What nobody waits for any more is let go: its sender was told to come again.

use std::{collections::VecDeque, pin::pin, time::Duration};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
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
    backoff::Backoff,
    database::{Committed, Durability, Trouble, turn::Urgency, within},
    job::Recorded,
    lanes::{PlacementQueue, next},
};

/// Jobs in one transaction. Larger groups save no more fsyncs worth having, and a crisis writer would wait longer for
/// them than the 3 ms or so that this many take.
const GROUP_MAX: usize = 96;

/// Bytes of payload after which a group is closed early: about 10 ms of writing.
const GROUP_BYTES_MAX: usize = 4 << 20;

/// Groups that may be on their way to the disk at a time.
const GROUPS_ON_THEIR_WAY_MAX: usize = 4;

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
    writer: GroupWriter,
}

/// What it takes to write a group.
#[derive(Debug)]
struct GroupWriter {
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
    (committer, CommitterTask { requests, writer: GroupWriter { ledger, urgency, placements, recording } })
}

impl CommitterTask {
    /// Commits until `close` is cancelled and everybody who asked before has an answer.
    pub(crate) async fn run(self, close: CancellationToken) {
        let Self { mut requests, writer } = self;
        let mut on_their_way = FuturesUnordered::new();
        loop {
            let first = tokio::select! {
                biased;
                Some(()) = on_their_way.next(), if !on_their_way.is_empty() => continue,
                first = writer.first(&mut requests, &close), if on_their_way.len() < GROUPS_ON_THEIR_WAY_MAX => first,
            };
            let Some(first) = first else { break };
            let mut writing = pin!(writer.write(gather(first, &mut requests), &close));
            let written = loop {
                tokio::select! {
                    biased;
                    written = &mut writing => break written,
                    Some(()) = on_their_way.next(), if !on_their_way.is_empty() => {}
                }
            };
            on_their_way.push(writer.finish(written, &close));
        }
        while on_their_way.next().await.is_some() {}
    }
}

/// `first` and whatever else has arrived.
fn gather(first: Request, requests: &mut mpsc::Receiver<Request>) -> Vec<Request> {
    let mut group = Vec::with_capacity(GROUP_MAX);
    let (mut jobs, mut bytes) = (0, 0);
    let mut joining = Some(first);
    while let Some(request) = joining.take() {
        jobs += request.jobs.len();
        bytes += request.bytes();
        group.push(request);
        if jobs < GROUP_MAX && bytes < GROUP_BYTES_MAX {
            joining = requests.try_recv().ok();
        }
    }
    group
}

/// What became of a group.
enum Written {
    /// It has committed, and is not yet known to be on disk.
    Committed(Vec<Request>, Vec<Recorded>, Committed),
    /// The database refuses something about it: its requests have to be written one by one.
    Refused(Vec<Request>),
    /// Everybody has an answer, or wants none.
    Over,
}

impl GroupWriter {
    /// The first request of a group. While there is trouble and nobody asks, looks whether it is over.
    async fn first(
        &self,
        requests: &mut mpsc::Receiver<Request>,
        close: &CancellationToken,
    ) -> Option<Request> {
        while self.recording.trouble().is_some() {
            match timeout(LOOK_EVERY, next(requests, close)).await {
                Ok(first) => return first,
                Err(_) => match within(WRITE_TIMEOUT, self.ledger.try_writing(self.urgency)).await {
                    Ok(()) => self.recording.works(),
                    Err(error) => self.fails(&error),
                },
            }
        }
        next(requests, close).await
    }

    /// Sees to it that what was written is on disk and answered, or written again.
    async fn finish(&self, written: Written, close: &CancellationToken) {
        let mut groups = VecDeque::from([written]);
        while let Some(written) = groups.pop_front() {
            match written {
                Written::Over => {}
                Written::Refused(group) => {
                    for alone in group {
                        groups.push_back(self.write(vec![alone], close).await);
                    }
                }
                Written::Committed(group, recorded, committed) => {
                    match within(WRITE_TIMEOUT, committed.on_disk()).await {
                        Ok(()) => self.answer(group, recorded),
                        Err(error) => {
                            self.fails(&error);
                            sleep(BACKOFF_MIN).await;
                            groups.push_back(self.write(group, close).await);
                        }
                    }
                }
            }
        }
    }

    /// Writes `group`, again and again while the database is in trouble and somebody waits.
    async fn write(&self, mut group: Vec<Request>, close: &CancellationToken) -> Written {
        let mut backoff = Backoff::new(BACKOFF_MIN, BACKOFF_MAX);
        loop {
            self.let_go(&mut group);
            if group.is_empty() {
                return Written::Over;
            }
            let jobs: Vec<&SealedJob> = group.iter().flat_map(|request| &request.jobs).collect();
            match within(WRITE_TIMEOUT, self.try_write(&jobs)).await {
                Ok((recorded, committed)) => return Written::Committed(group, recorded, committed),
                Err(error) if Trouble::of(&error).is_some() && !close.is_cancelled() => {
                    self.fails(&error);
                    tokio::select! {
                        () = close.cancelled() => {}
                        () = sleep(backoff.next()) => {}
                    }
                }
                // One row that the database refuses must not take its neighbours with it.
                Err(error) if Trouble::of(&error).is_none() && group.len() > 1 => {
                    tracing::warn!(error = %error, jobs = jobs.len(), "a group was refused; writing its jobs one request at a time");
                    return Written::Refused(group);
                }
                Err(error) => {
                    tracing::error!(error = %error, requests = group.len(), "the ledger cannot be written");
                    for request in group {
                        request.answer(Err(EnqueueError::Unrecorded));
                    }
                    return Written::Over;
                }
            }
        }
    }

    async fn try_write(&self, jobs: &[&SealedJob]) -> Result<(Vec<Recorded>, Committed), sqlx::Error> {
        let placements = self.placements.clone();
        let when_in_doubt = Box::new(move || placements.doubt());
        if let Some(done) = self.ledger.record_at_once(self.urgency, jobs, when_in_doubt).await? {
            return Ok(done);
        }
        let now_ms = self.ledger.clock.now_ms();
        let mut transaction =
            self.ledger.database.begin(self.urgency, Durability::InTwoSteps, now_ms).await?;
        let recorded = record(&mut transaction, jobs).await?;
        let placements = self.placements.clone();
        transaction.when_in_doubt(move || placements.doubt());
        Ok((recorded, transaction.commit_step().await?))
    }

    /// Tells everybody, and the lanes, that `group` is on disk.
    fn answer(&self, group: Vec<Request>, recorded: Vec<Recorded>) {
        self.recording.works();
        let jobs = group.iter().flat_map(|request| &request.jobs);
        let fresh = jobs.zip(&recorded).filter(|(_, recorded)| !recorded.duplicate);
        self.placements.push(fresh.map(|(job, _)| job.placement()).collect());
        let mut recorded = recorded.into_iter();
        for request in group {
            let own = recorded.by_ref().take(request.jobs.len()).collect();
            request.answer(Ok(own));
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

    fn fails(&self, error: &sqlx::Error) {
        if let Some(trouble) = Trouble::of(error).filter(|trouble| !trouble.is_one_transactions()) {
            self.recording.fails(trouble, error);
        }
    }
}
