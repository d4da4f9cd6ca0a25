//! The life of a pool's thread.

use std::{sync::Arc, time::Duration};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::EngineOptions;
use crate::{
    clock::SharedClock,
    lanes::{Behind, Bells, ClaimScope, Lanes, LanesOptions, PlacementQueue, PlacerTask},
    ledger::{CommitterTask, Ledger},
    observer::Observer,
    pool::{DrainTime, Journal, Keeper, Member, Pool},
    runtime,
    turns::Turns,
};

/// How long crisis work waits for an answer of Redis, in milliseconds, before it asks the ledger; it is usually there
/// within one. A crisis has 100 in all, and waits for a Redis that hangs once: later commands fail at once.
const CRISIS_RESPONSE_TIMEOUT_MS: u64 = 60;

/// What both pools' threads need.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) ledger: Ledger,
    pub(super) redis_url: String,
    pub(super) lanes_options: LanesOptions,
    pub(super) behind: Arc<Behind>,
    pub(super) bells: Arc<Bells>,
    pub(super) observer: Arc<dyn Observer>,
    pub(super) drain: CancellationToken,
    pub(super) ended: CancellationToken,
    /// Cancelled when a loop has ended before its time.
    pub(super) broken: CancellationToken,
    /// What is running, for the next life.
    pub(super) journal: Option<Arc<Journal>>,
    /// Turns of this thread's fetcher, or of the thread itself if it runs no jobs.
    pub(super) turns: Turns,
    pub(super) close: CancellationToken,
    pub(super) drain_time: DrainTime,
}

impl Shared {
    /// For the general pool's thread.
    pub(super) fn new(
        ledger: &Ledger,
        redis_url: String,
        observer: Arc<dyn Observer>,
        options: &EngineOptions,
    ) -> Self {
        // What an earlier life may have left behind is for those to look for who run jobs.
        let behind = Arc::new(Behind::default());
        if options.runs_jobs {
            behind.mark();
        }
        let journal = options.journal.as_deref().filter(|_| options.runs_jobs);
        let lease = Duration::from_millis(options.lanes.lease_ms);
        Self {
            ledger: ledger.clone(),
            redis_url,
            lanes_options: options.lanes.clone(),
            behind,
            bells: Arc::default(),
            observer,
            drain: CancellationToken::new(),
            ended: CancellationToken::new(),
            broken: CancellationToken::new(),
            journal: journal.map(|path| Journal::open(path, ledger.clock.now_ms(), lease)),
            turns: Turns::default(),
            close: CancellationToken::new(),
            drain_time: DrainTime::of(Duration::from_millis(options.drain_timeout_ms)),
        }
    }

    /// The same for the crisis pool's thread, which goes on until `drain`. It leaves a Redis that hangs alone sooner,
    /// and asks the ledger instead.
    pub(super) fn for_crises(&self, drain: CancellationToken) -> Self {
        let lanes_options =
            LanesOptions { response_timeout_ms: CRISIS_RESPONSE_TIMEOUT_MS, ..self.lanes_options.clone() };
        Self {
            lanes_options,
            drain,
            ended: CancellationToken::new(),
            turns: Turns::default(),
            ..self.clone()
        }
    }

    /// The life of a pool's thread, on connections of its own.
    #[allow(clippy::too_many_arguments)] // Each is a different end of the engine's channels.
    pub(super) async fn run(
        self,
        name: &'static str,
        scope: ClaimScope,
        slots: Option<usize>,
        placements: PlacementQueue,
        door: Option<(PlacerTask, CommitterTask)>,
        member: Arc<Member>,
    ) {
        let lanes =
            match Lanes::connect(&self.redis_url, self.lanes_options.clone(), Arc::clone(&self.ledger.clock))
            {
                Ok(lanes) => lanes,
                // The same address was opened a moment ago.
                Err(error) => {
                    self.ended.cancel();
                    return tracing::error!(error = %error, "the lanes cannot be opened");
                }
            };
        let mut tasks = JoinSet::new();
        if let Some((placer, committer)) = door {
            runtime::start_loop(&mut tasks, &self.broken, placer.run(lanes.clone(), self.close.clone()));
            runtime::start_loop(&mut tasks, &self.broken, committer.run(self.close.clone()));
        }
        let (runs_jobs, turns) = (slots.is_some(), self.turns.clone());
        if let Some(slots) = slots {
            let pool = Pool {
                name,
                scope,
                slots,
                ledger: self.ledger.clone(),
                lanes,
                member,
                placements,
                behind: self.behind,
                bells: self.bells,
                observer: self.observer,
                drain: self.drain,
                turns: self.turns,
                journal: self.journal,
                broken: self.broken.clone(),
            };
            pool.run(&self.drain_time).await;
        }
        self.ended.cancel();
        let closing = async {
            if !runs_jobs {
                self.close.cancelled().await;
            }
            while tasks.join_next().await.is_some() {}
        };
        turns.during(Duration::MAX, closing).await;
    }
}

/// Keeps the leases of the pools' `members`, each until its pool has left. On a thread that runs nothing else: a
/// handler that hogs its own must not make the pool look dead, or everything that the pool runs would run elsewhere
/// too. Whether the pools' loops still turn is for the watchdog to see.
pub(super) async fn keep_leases(
    redis_url: String,
    options: LanesOptions,
    clock: SharedClock,
    members: [(Arc<Member>, CancellationToken); 2],
    broken: CancellationToken,
) {
    let lease = Duration::from_millis(options.lease_ms);
    let lanes = match Lanes::connect(&redis_url, options, clock) {
        Ok(lanes) => lanes,
        // The same address was opened a moment ago.
        Err(error) => return tracing::error!(error = %error, "the lanes cannot be opened"),
    };
    let mut keepers = JoinSet::new();
    for (member, left) in members {
        let keeper = Keeper { member, lanes: lanes.clone(), lease, stop: left };
        runtime::start_loop(&mut keepers, &broken, keeper.run());
    }
    while keepers.join_next().await.is_some() {}
}
