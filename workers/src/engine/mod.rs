//! The engine as an app sees it: start it, enqueue jobs, ask how things stand, shut it down.

mod threads;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Mutex, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    caretaker::Caretaker,
    clock::{SharedClock, UnixMs},
    database::{Database, turn::Urgency},
    handler::Registry,
    id::{JobId, NodeId},
    job::{NewJob, Recorded},
    lane::Lane,
    lanes::{Bells, ClaimScope, LaneError, Lanes, LanesOptions, NodeInfo, PlacementQueue, Rebuilt, placer},
    ledger::{Committer, EnqueueError, Ledger, committer},
    observer::Observer,
    pool::Member,
    runtime::{self, Threads},
    seal::KeyRing,
};

pub use crate::caretaker::Retention;
use threads::{Shared, keep_leases, listen};

/// How long crisis work waits for an answer of Redis, in milliseconds; it is usually there within one.
const CRISIS_RESPONSE_TIMEOUT_MS: u64 = 200;

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

/// A job could not be retried.
#[derive(Debug, thiserror::Error)]
#[error("the ledger cannot be written")]
pub struct RetryError(#[from] sqlx::Error);

/// How the engine stands, as it was last seen (at most about a second ago).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools)] // Four questions, four answers.
pub struct EngineHealth {
    /// The database answers.
    pub ledger_ok: bool,
    /// Redis answers.
    pub lanes_ok: bool,
    /// Something owed may be missing from the lanes; a rebuild is due or under way.
    pub lanes_behind: bool,
    /// Nothing more is claimed.
    pub draining: bool,
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
    behind: Arc<AtomicBool>,
    pulse: Arc<Pulse>,
    drain: CancellationToken,
    /// One for each pool's thread, cancelled when the pool has ended.
    ended: [CancellationToken; 2],
    turns: Option<[Arc<AtomicU64>; 2]>,
    close: CancellationToken,
    running: Mutex<Running>,
}

/// What has to be waited for at shutdown.
struct Running {
    threads: Vec<std::thread::JoinHandle<()>>,
    tasks: JoinSet<()>,
}

impl Engine {
    /// Starts the committers, and the pools if this process runs jobs. Redis may be away: it is connected to when it
    /// comes.
    pub fn start(parts: EngineParts, options: &EngineOptions) -> Result<Self, StartError> {
        let EngineParts { database, keys, clock, registry, redis_url, observer } = parts;
        let ledger = Ledger::new(database, keys, Arc::clone(&clock), registry);
        let lanes = Lanes::connect(&redis_url, options.lanes.clone(), Arc::clone(&clock))?;
        let info = node_info(options, clock.now_ms());
        let bells = Arc::new(Bells::default());
        // What an earlier life may have left behind is for those to look for who run jobs.
        let behind = Arc::new(AtomicBool::new(options.runs_jobs));
        let (drain, close) = (CancellationToken::new(), CancellationToken::new());
        let (crisis_placements, crisis_placer) = placer(Arc::clone(&bells), Arc::clone(&behind));
        let (general_placements, general_placer) = placer(Arc::clone(&bells), Arc::clone(&behind));
        let (crisis_door, crisis_committer) =
            committer(ledger.clone(), Urgency::Crisis, crisis_placements.clone());
        let (general_door, general_committer) =
            committer(ledger.clone(), Urgency::General, general_placements.clone());
        let new_member = || Arc::new(Member::new(lanes.clone(), info.clone(), Arc::clone(&behind)));
        let (member, crisis_member) = (new_member(), new_member());
        let pulse = Arc::new(Pulse::default());

        let mut threads = Vec::new();
        let shared = Shared {
            ledger: ledger.clone(),
            redis_url,
            lanes_options: options.lanes.clone(),
            info,
            bells: Arc::clone(&bells),
            observer,
            drain: drain.clone(),
            ended: CancellationToken::new(),
            turns: Arc::default(),
            close: close.clone(),
            drain_timeout: Duration::from_millis(options.drain_timeout_ms),
        };
        let crisis_slots = options.runs_jobs.then_some(options.crisis_slots);
        // A Redis that hangs is left alone after this long, and the ledger asked instead.
        let impatient =
            LanesOptions { response_timeout_ms: CRISIS_RESPONSE_TIMEOUT_MS, ..options.lanes.clone() };
        let crisis = shared.beside(impatient);
        let turns = options.runs_jobs.then(|| [Arc::clone(&crisis.turns), Arc::clone(&shared.turns)]);
        let ended = [crisis.ended.clone(), shared.ended.clone()];
        if options.runs_jobs {
            let (url, lanes_options, clock) = (shared.redis_url.clone(), options.lanes.clone(), clock);
            let members = [Arc::clone(&crisis_member), Arc::clone(&member)];
            let [crisis_ended, general_ended] = ended.clone();
            threads.push(runtime::on_own_thread("keepwell-lease", Threads::One, move || {
                let [crisis, general] = members;
                keep_leases(url, lanes_options, clock, [(crisis, crisis_ended), (general, general_ended)])
            })?);
        }
        threads.push(runtime::on_own_thread("keepwell-crisis", Threads::One, move || {
            crisis.run(
                "keepwell-crisis",
                ClaimScope::Crisis,
                crisis_slots,
                crisis_placements,
                Some((crisis_placer, crisis_committer)),
                crisis_member,
            )
        })?);
        let slots = options.runs_jobs.then_some(options.slots);
        let (general_queue, general_member) = (general_placements.clone(), Arc::clone(&member));
        let threads_max = options.threads.max(1);
        threads.push(runtime::on_own_thread("keepwell-pool", Threads::Many(threads_max), move || {
            shared.run("keepwell-pool", ClaimScope::General, slots, general_queue, None, general_member)
        })?);

        let mut tasks = JoinSet::new();
        runtime::start(&mut tasks, general_committer.run(close.clone()));
        // Not on the pool's own threads: what handlers hog here may be done by another process.
        runtime::start(&mut tasks, general_placer.run(lanes.clone(), close.clone()));
        let caretaker = Caretaker {
            ledger: ledger.clone(),
            lanes: lanes.clone(),
            member: Arc::clone(&member),
            bells: Arc::clone(&bells),
            behind: Arc::clone(&behind),
            pulse: Arc::clone(&pulse),
            retention: options.retention,
            works: options.runs_jobs,
            stop: drain.clone(),
        };
        runtime::start(&mut tasks, caretaker.run());
        runtime::start(&mut tasks, listen(lanes.clone(), bells, drain.clone()));
        Ok(Self(Arc::new(Inner {
            ledger,
            lanes,
            member,
            crisis_door,
            general_door,
            general_placements,
            behind,
            pulse,
            drain,
            ended,
            turns,
            close,
            running: Mutex::new(Running { threads, tasks }),
        })))
    }

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

    /// The lanes, for questions and for pausing.
    pub fn lanes(&self) -> &Lanes {
        &self.0.lanes
    }

    /// Owes a dead or cancelled job again, its attempts counted from zero. `false` if there is no such job.
    pub async fn retry(&self, id: JobId) -> Result<bool, RetryError> {
        let Some(placement) = self.0.ledger.revive(id).await? else { return Ok(false) };
        self.0.general_placements.push(vec![placement]);
        Ok(true)
    }

    /// Puts every owed job that no lane holds back into its lane.
    pub async fn rebuild(&self) -> Result<Rebuilt, LaneError> {
        self.0.lanes.rebuild(&self.0.ledger, self.0.member.node()).await
    }

    /// The general pool's present identity among the nodes.
    pub fn node(&self) -> NodeId {
        self.0.member.node()
    }

    /// How often the loops of the crisis pool and of the general pool have turned: at least once a second each while
    /// their threads are alive and not hogged. `None` in a process that runs no jobs.
    pub fn turns(&self) -> Option<[u64; 2]> {
        self.0.turns.as_ref().map(|turns| turns.each_ref().map(|turns| turns.load(Ordering::Relaxed)))
    }

    /// How things stand.
    pub fn health(&self) -> EngineHealth {
        EngineHealth {
            ledger_ok: self.0.pulse.ledger_ok.load(Ordering::Acquire),
            lanes_ok: self.0.pulse.lanes_ok.load(Ordering::Acquire),
            lanes_behind: self.0.behind.load(Ordering::Acquire),
            draining: self.0.drain.is_cancelled(),
        }
    }

    /// Stops claiming, lets running jobs end within the drain time-out, gives back the rest, then closes the doors.
    /// Returns when everything is down.
    pub async fn shutdown(&self) {
        self.0.drain.cancel();
        let mut running = self.0.running.lock().await;
        // The placers go on until the pools have ended: a job's last effects may still ask for others.
        for ended in &self.0.ended {
            ended.cancelled().await;
        }
        self.0.close.cancel();
        let threads = std::mem::take(&mut running.threads);
        let joined =
            tokio::task::spawn_blocking(move || threads.into_iter().all(|thread| thread.join().is_ok()));
        if !joined.await.unwrap_or(false) {
            tracing::error!("a pool's thread panicked");
        }
        while running.tasks.join_next().await.is_some() {}
    }
}

fn node_info(options: &EngineOptions, started_ms: UnixMs) -> NodeInfo {
    let (instance, host) = (options.instance.clone(), options.host.clone());
    NodeInfo { instance, host, pid: std::process::id(), started_ms }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("health", &self.health()).finish_non_exhaustive()
    }
}
