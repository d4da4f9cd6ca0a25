//! The life of a pool's thread.

use std::{
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{
    lanes::{Behind, Bells, ClaimScope, Lanes, LanesOptions, NodeInfo, PlacementQueue, PlacerTask},
    ledger::{CommitterTask, Ledger},
    observer::Observer,
    pool::{Keeper, Member, Pool},
    runtime,
};

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
    /// Turns of this thread's fetcher.
    pub(super) turns: Arc<AtomicU64>,
    pub(super) close: CancellationToken,
    pub(super) drain_timeout: Duration,
}

impl Shared {
    /// The life of a pool's thread, on connections of its own.
    #[allow(clippy::too_many_arguments)] // Each is a different end of the engine's channels.
    pub(super) async fn run(
        self,
        name: &'static str,
        scope: ClaimScope,
        slots: Option<usize>,
        placer: PlacerTask,
        committer: Option<CommitterTask>,
        placements: PlacementQueue,
        member: Option<Arc<Member>>,
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
        runtime::start(&mut tasks, placer.run(lanes.clone(), self.close.clone()));
        if let Some(committer) = committer {
            runtime::start(&mut tasks, committer.run(self.close.clone()));
        }
        if let Some(slots) = slots {
            let member = member.unwrap_or_else(|| {
                Arc::new(Member::new(lanes.clone(), self.info.clone(), Arc::clone(&self.behind)))
            });
            adopt(&lanes, &member, &self.info.instance, scope).await;
            let left = CancellationToken::new();
            let keeper = Keeper {
                member: Arc::clone(&member),
                lanes: lanes.clone(),
                lease: Duration::from_millis(self.lanes_options.lease_ms),
                stop: left.clone(),
            };
            runtime::start(&mut tasks, keeper.run());
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
            pool.run(self.drain_timeout).await;
            left.cancel();
        }
        self.ended.cancel();
        while tasks.join_next().await.is_some() {}
    }
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
