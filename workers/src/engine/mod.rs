//! The engine as an app sees it: start it, enqueue jobs, ask how things stand, shut it down.

mod operations;
mod pauses;
mod schedules;
mod standing;
mod start;
mod threads;

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::Mutex,
    task::JoinSet,
    time::{Instant, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    clock::SharedClock,
    database::{Database, Note, Trouble},
    handler::Registry,
    id::{JobId, NodeId},
    job::{NewJob, Recorded},
    lane::Lane,
    lanes::{Behind, LaneError, Lanes, LanesOptions, PlacementQueue, RebuildProgress, Rebuilt},
    ledger::{Committer, EnqueueError, Ledger, Recording},
    observer::Observer,
    pool::{DrainTime, Journal, Member},
    seal::KeyRing,
    turns::Turns,
};

pub use crate::pruning::{Passing, Retention};
pub use operations::{Step, StepError};
pub use pauses::Effective;

/// How much of the drain time-out is kept for crisis jobs to end in: most of them may run for no longer. Until then the
/// crisis pool goes on, so that a general job which takes its time keeps no crisis waiting.
const CRISIS_DRAIN: Duration = Duration::from_secs(5);

/// How an engine is sized.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// General jobs that may run at once.
    pub slots: usize,
    /// Crisis jobs that may run at once in slots that nothing else can take.
    pub crisis_slots: usize,
    /// Threads on which general jobs run.
    pub threads: usize,
    /// Whether this process runs jobs at all, or only records them.
    pub runs_jobs: bool,
    /// How long running jobs may take to end at shutdown, in milliseconds.
    pub drain_timeout_ms: u64,
    /// The identity of the state directory; see [`NodeInfo::instance`]. The caller holds that directory's lock.
    pub instance: String,
    /// Where it is noted which jobs run after an unclean end, in a file of about a mebibyte at most: with it a job that
    /// kills whoever runs it is found although Redis dies too. In the same directory.
    pub journal: Option<PathBuf>,
    /// The machine's name, for operators.
    pub host: String,
    /// The lanes' sizes and times.
    pub lanes: LanesOptions,
    /// For how long finished jobs are kept.
    pub retention: Retention,
}

impl Default for EngineOptions {
    /// 51 general and 13 crisis slots, as the daemon has by default, and an identity that no other engine has.
    fn default() -> Self {
        Self {
            slots: 51,
            crisis_slots: 13,
            threads: 2,
            runs_jobs: true,
            drain_timeout_ms: 20_000,
            instance: uuid::Uuid::new_v4().to_string(),
            journal: None,
            host: String::new(),
            lanes: LanesOptions::default(),
            retention: Retention::default(),
        }
    }
}

/// What an engine is made of.
pub struct EngineParts {
    /// Where the ledger is; its tables are up to date.
    pub database: Database,
    /// What seals payloads.
    pub keys: KeyRing,
    /// What time it is.
    pub clock: SharedClock,
    /// Who runs what.
    pub registry: Registry,
    /// Where the lanes are.
    pub redis_url: String,
    /// Who hears of every run.
    pub observer: Arc<dyn Observer>,
}

/// The engine could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address of Redis makes no sense.
    #[error("the lanes cannot be opened")]
    Lanes(#[from] LaneError),
    /// The system gave no thread.
    #[error("the system gave no thread")]
    Thread(#[from] std::io::Error),
}

/// A job could not be retried or cancelled.
#[derive(Debug, thiserror::Error)]
#[error("the ledger cannot be written")]
pub struct RetryError(#[from] sqlx::Error);

/// How the engine stands, as it was last seen (at most about a second ago).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools)] // Four questions, four answers.
pub struct EngineHealth {
    /// The database answers.
    pub ledger_ok: bool,
    /// What kept jobs from being recorded when that was tried last; `None` if nothing did.
    pub trouble: Option<Trouble>,
    /// Redis answers.
    pub lanes_ok: bool,
    /// Something owed may be missing from the lanes; a rebuild is due or under way.
    pub lanes_behind: bool,
    /// Nothing more is claimed but crises, and in the end not even those.
    pub draining: bool,
}

impl EngineHealth {
    /// Whether jobs can be recorded, as far as is known.
    pub fn takes_jobs(&self) -> bool {
        self.ledger_ok && self.trouble.is_none()
    }
}

/// What was last seen of the engine's parts.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    pub(crate) ledger_ok: AtomicBool,
    pub(crate) lanes_ok: AtomicBool,
}

/// The running engine. Cheap to clone.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

struct Inner {
    ledger: Ledger,
    lanes: Lanes,
    member: Arc<Member>,
    crisis_door: Committer,
    general_door: Committer,
    general_placements: PlacementQueue,
    behind: Arc<Behind>,
    pulse: Arc<Pulse>,
    recording: Recording,
    observer: Arc<dyn Observer>,
    /// What callers have begun and must be ended even if they do not wait for it.
    errands: TaskTracker,
    /// Of the crisis pool and of the general one.
    drain: [CancellationToken; 2],
    drain_time: DrainTime,
    /// One for each pool's thread, cancelled when the pool has ended.
    ended: [CancellationToken; 2],
    broken: CancellationToken,
    journal: Option<Arc<Journal>>,
    turns: [Turns; 2],
    close: CancellationToken,
    running: Mutex<Running>,
}

/// What has to be waited for at shutdown.
struct Running {
    threads: Vec<std::thread::JoinHandle<()>>,
    tasks: JoinSet<()>,
}

impl Engine {
    /// Records `job`. When this returns, the job is on disk and will be run.
    pub async fn enqueue(&self, job: NewJob) -> Result<Recorded, EnqueueError> {
        let mut recorded = self.enqueue_all(vec![job]).await?;
        recorded.pop().ok_or(EnqueueError::Unrecorded)
    }

    /// Records all of `jobs` or none, in one transaction; answers in their order. If one of them is a crisis job, all
    /// of them go through the crisis door.
    pub async fn enqueue_all(&self, jobs: Vec<NewJob>) -> Result<Vec<Recorded>, EnqueueError> {
        let crisis = jobs.iter().any(|job| job.lane == Lane::Crisis);
        let sealed = jobs.into_iter().map(|job| self.0.ledger.seal(job)).collect::<Result<Vec<_>, _>>()?;
        let door = if crisis { &self.0.crisis_door } else { &self.0.general_door };
        door.commit(sealed).await
    }

    /// The ledger, for questions.
    pub fn ledger(&self) -> &Ledger {
        &self.0.ledger
    }

    /// The lanes, for questions.
    pub fn lanes(&self) -> &Lanes {
        &self.0.lanes
    }

    /// Owes a dead or cancelled job again, its attempts counted from zero. `false` if there is no such job.
    ///
    /// Once begun it is brought to its end, whether or not the caller waits for it.
    pub async fn retry(&self, id: JobId) -> Result<bool, RetryError> {
        self.retry_noting(id, None).await
    }

    /// The same, with `note` written in the same transaction if the job is owed again.
    pub async fn retry_noting(&self, id: JobId, note: Option<Arc<dyn Note>>) -> Result<bool, RetryError> {
        Ok(self.revive(vec![id], note).await? == 1)
    }

    /// Owes those of `ids` again that are dead or cancelled; says how many.
    async fn revive(&self, ids: Vec<JobId>, note: Option<Arc<dyn Note>>) -> Result<u64, sqlx::Error> {
        let (ledger, placements) = (self.0.ledger.clone(), self.0.general_placements.clone());
        let revived =
            self.0.errands.spawn(async move { ledger.revive(&ids, note.as_deref(), &placements).await });
        revived.await.unwrap_or(Err(sqlx::Error::WorkerCrashed))
    }

    /// Cancels an owed job. `false` if there is no such job. If it is running, its effects are not applied.
    pub async fn cancel(&self, id: JobId) -> Result<bool, RetryError> {
        self.cancel_noting(id, None).await
    }

    /// The same, with `note` written in the same transaction if the job was owed.
    pub async fn cancel_noting(&self, id: JobId, note: Option<&dyn Note>) -> Result<bool, RetryError> {
        Ok(self.cancel_all(&[id], note).await? == 1)
    }

    /// Cancels those of `ids` that are owed; says how many.
    async fn cancel_all(&self, ids: &[JobId], note: Option<&dyn Note>) -> Result<u64, sqlx::Error> {
        let cancelled = self.0.ledger.cancel(ids, note).await;
        // Also if nobody knows whether it has: it may have.
        if !matches!(cancelled, Ok(0)) {
            self.0.observer.cancelled();
        }
        cancelled
    }

    /// Puts every owed job that no lane holds back into its lane.
    pub async fn rebuild(&self) -> Result<Rebuilt, LaneError> {
        self.0.lanes.rebuild(&self.0.ledger, self.0.member.node()).await
    }

    /// How far the comparison of the lanes with the ledger has come that is under way in this process, if one is.
    pub fn rebuild_progress(&self) -> Option<RebuildProgress> {
        self.0.lanes.rebuild_progress()
    }

    /// The general pool's present identity among the nodes.
    pub fn node(&self) -> NodeId {
        self.0.member.node()
    }

    /// How often the loops of the crisis pool and of the general pool have turned: at least once a second each while
    /// their threads are alive and not hogged. In a process that runs no jobs these are the threads themselves; that of
    /// the crisis pool is where crises are recorded.
    pub fn turns(&self) -> [u64; 2] {
        self.0.turns.each_ref().map(Turns::total)
    }

    /// Returns when one of the engine's loops has ended before its time, which is a fault of the engine: jobs may lie
    /// in its hands that nobody runs or settles any more, and only another life takes them back.
    pub async fn broken(&self) {
        self.0.broken.cancelled().await;
    }

    /// How things stand.
    pub fn health(&self) -> EngineHealth {
        EngineHealth {
            ledger_ok: self.0.pulse.ledger_ok.load(Ordering::Acquire),
            trouble: self.0.recording.trouble(),
            lanes_ok: self.0.pulse.lanes_ok.load(Ordering::Acquire),
            lanes_behind: self.0.behind.is_marked(),
            draining: self.0.drain[1].is_cancelled(),
        }
    }

    /// Stops claiming, lets running jobs end within the drain time-out, and gives back the rest. The crisis pool goes
    /// on as long as the general one takes, or until what is left of the time is just enough for its own jobs to
    /// end. Returns when both are down. The doors stay open: what is recorded stays owed for whoever comes next.
    pub async fn drain(&self) {
        let [crisis, general] = &self.0.drain;
        let [crisis_ended, general_ended] = &self.0.ended;
        general.cancel();
        let _ = timeout_at(self.0.drain_time.but(CRISIS_DRAIN), general_ended.cancelled()).await;
        crisis.cancel();
        crisis_ended.cancelled().await;
        general_ended.cancelled().await;
    }

    /// The same, then closes the doors. Returns when everything is down.
    pub async fn shutdown(&self) {
        self.drain().await;
        self.end_errands().await;
        self.close().await;
    }

    /// The same within `limit`, once it was drained. What has not come to its end by then is logged and left behind: a
    /// database that says nothing is asked for longer than anybody who has to stop can wait, and what it would have
    /// taken was promised to nobody.
    pub async fn shutdown_within(&self, limit: Duration) {
        let by = Instant::now() + limit;
        if timeout_at(by - limit / 2, self.end_errands()).await.is_err() {
            let errands = self.0.errands.len();
            tracing::warn!(
                errands,
                "what operators have begun does not come to its end, and may be done or not"
            );
        }
        if timeout_at(by, self.close()).await.is_err() {
            let trouble = self.0.recording.trouble();
            tracing::warn!(
                ?trouble,
                "what waits to be recorded is let go; nobody was told that it was recorded"
            );
        }
    }

    /// Waits for what callers have begun.
    async fn end_errands(&self) {
        self.0.errands.close();
        self.0.errands.wait().await;
    }

    /// Closes the doors and waits for everything else.
    async fn close(&self) {
        // Not before: the placers went on until the pools had ended, because a job's last effects may still ask for
        // others.
        self.0.close.cancel();
        let mut running = self.0.running.lock().await;
        let threads = std::mem::take(&mut running.threads);
        let joined =
            tokio::task::spawn_blocking(move || threads.into_iter().all(|thread| thread.join().is_ok()));
        if !joined.await.unwrap_or(false) {
            tracing::error!("a pool's thread panicked");
        }
        while running.tasks.join_next().await.is_some() {}
        if let Some(journal) = &self.0.journal {
            journal.close();
        }
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("health", &self.health()).finish_non_exhaustive()
    }
}
