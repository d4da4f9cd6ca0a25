//! The life of a pool's thread.

use std::{sync::Arc, time::Duration};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{
    clock::SharedClock,
    lanes::{Behind, Bells, ClaimScope, Lanes, LanesOptions, NodeInfo, PlacementQueue, PlacerTask},
    ledger::{CommitterTask, Ledger},
    observer::Observer,
    pool::{DrainTime, Keeper, Member, Pool},
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
    pub(super) info: NodeInfo,
    pub(super) behind: Arc<Behind>,
    pub(super) bells: Arc<Bells>,
    pub(super) observer: Arc<dyn Observer>,
    pub(super) drain: CancellationToken,
    pub(super) ended: CancellationToken,
    /// Turns of this thread's fetcher, or of the thread itself if it runs no jobs.
    pub(super) turns: Turns,
    pub(super) close: CancellationToken,
    pub(super) drain_time: DrainTime,
}

impl Shared {
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
            runtime::start(&mut tasks, placer.run(lanes.clone(), self.close.clone()));
            runtime::start(&mut tasks, committer.run(self.close.clone()));
        }
        let (runs_jobs, turns) = (slots.is_some(), self.turns.clone());
        if let Some(slots) = slots {
            adopt(&lanes, &member, &self.info.instance, scope).await;
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
) {
    let lease = Duration::from_millis(options.lease_ms);
    let lanes = match Lanes::connect(&redis_url, options, clock) {
        Ok(lanes) => lanes,
        // The same address was opened a moment ago.
        Err(error) => return tracing::error!(error = %error, "the lanes cannot be opened"),
    };
    let mut keepers = JoinSet::new();
    for (member, left) in members {
        runtime::start(&mut keepers, Keeper { member, lanes: lanes.clone(), lease, stop: left }.run());
    }
    while keepers.join_next().await.is_some() {}
}

/// Takes back at once what earlier lives of this installation held. The general pool does it for both.
async fn adopt(lanes: &Lanes, member: &Member, instance: &str, scope: ClaimScope) {
    if scope == ClaimScope::General {
        match lanes.adopt(instance, member.started_ms()).await {
            Ok(0) => {}
            Ok(jobs) => tracing::info!(jobs, "took back what an earlier life of this installation held"),
            Err(error) => {
                tracing::debug!(error = %error, "nothing adopted; leases will run out by themselves");
            }
        }
    }
}
