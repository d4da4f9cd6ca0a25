//! A pool's membership: its node's lease, and what follows when the lease is lost.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::{
    database::turn::Urgency,
    id::NodeId,
    lanes::{Behind, LaneError, Lanes, NodeInfo, Reap, pauses_of},
    ledger::Ledger,
};

/// The present identity of a pool among all pools that share the lanes.
#[derive(Debug)]
pub(crate) struct Member {
    node: AtomicU64,
    entering: Mutex<()>,
    lanes: Lanes,
    ledger: Ledger,
    info: NodeInfo,
    /// Whether what earlier lives of this installation held is still to be taken back.
    to_adopt: AtomicBool,
    /// Set when the lanes may have missed something.
    behind: Arc<Behind>,
}

impl Member {
    /// One that takes back what earlier lives of this installation held, or leaves that to another (`adopts`).
    pub(crate) fn new(
        lanes: &Lanes,
        ledger: &Ledger,
        info: NodeInfo,
        behind: Arc<Behind>,
        adopts: bool,
    ) -> Self {
        Self {
            node: AtomicU64::new(NodeId::random().0),
            entering: Mutex::new(()),
            lanes: lanes.clone(),
            ledger: ledger.clone(),
            info,
            to_adopt: AtomicBool::new(adopts),
            behind,
        }
    }

    /// The present identity. Whatever was claimed under an earlier one is somebody else's.
    pub(crate) fn node(&self) -> NodeId {
        NodeId(self.node.load(Ordering::Acquire))
    }

    /// Enters the lanes under a fresh identity, unless somebody has done so since `lost` was current. What operators
    /// hold up is held up by then.
    pub(crate) async fn enter_anew(&self, lost: NodeId) -> Result<(), LaneError> {
        let _entering = self.entering.lock().await;
        if self.node() != lost {
            return Ok(());
        }
        // Before the first claim, so that it finds what goes before everything but crises.
        self.adopt().await;
        let fresh = NodeId::random();
        // Behind nothing but crises: until then it takes none either.
        let pauses = pauses_of(&self.ledger, Urgency::Crisis).await?;
        self.lanes.register(fresh, &self.info.to_text(), &pauses).await?;
        self.node.store(fresh.0, Ordering::Release);
        // The lease ran out, or the lanes were emptied: either way something may be missing from them.
        self.behind.mark();
        tracing::info!(node = %fresh, "entered the lanes");
        if let Err(error) = self.lanes.follow_pauses(&self.ledger, pauses).await {
            tracing::debug!(error = %error, "whether a lane was resumed in this moment is not known");
        }
        Ok(())
    }

    /// Takes back at once what earlier lives of this installation held, until that has succeeded once: Redis may not be
    /// there when this life begins, and leases would have to run out.
    async fn adopt(&self) {
        if !self.to_adopt.load(Ordering::Acquire) {
            return;
        }
        match self.lanes.adopt(&self.info.instance, self.info.started_ms).await {
            Ok(jobs) => {
                self.to_adopt.store(false, Ordering::Release);
                if jobs > 0 {
                    tracing::info!(jobs, "took back what an earlier life of this installation held");
                }
            }
            Err(error) => tracing::debug!(error = %error, "nothing adopted yet"),
        }
    }

    /// Gives back what is still held and leaves.
    pub(crate) async fn leave(&self) {
        if let Err(error) = self.lanes.reap(self.node(), Reap::LeftCleanly).await {
            tracing::warn!(error = %error, "the lanes could not be told goodbye; the lease will run out by itself");
        }
    }
}

/// Keeps a member's lease.
pub(crate) struct Keeper {
    pub(crate) member: Arc<Member>,
    pub(crate) lanes: Lanes,
    pub(crate) lease: Duration,
    /// Cancelled when the pool has left.
    pub(crate) stop: CancellationToken,
}

impl Keeper {
    /// Extends the lease four times in its length, and gives back what silent nodes held.
    pub(crate) async fn run(self) {
        let mut wait = Duration::ZERO;
        let mut refused = false;
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
            }
            let node = self.member.node();
            let beaten = match self.lanes.heartbeat(node).await {
                Ok(expired) => {
                    self.member.adopt().await;
                    self.reap(&expired).await;
                    Ok(())
                }
                Err(LaneError::LeaseLost) => self.member.enter_anew(node).await,
                Err(error) => Err(error),
            };
            // One that failed is soon tried again: the lease runs on, and Redis may be back in a moment.
            let fraction = if beaten.is_ok() { 4 } else { 16 };
            wait = (self.lease / fraction).mul_f64(0.8 + rand::random::<f64>() / 5.0);
            match beaten {
                Ok(()) => refused = false,
                Err(error) => {
                    if !std::mem::replace(&mut refused, true) {
                        tracing::debug!(error = %error, "the lease cannot be extended");
                    }
                }
            }
        }
    }

    async fn reap(&self, expired: &[NodeId]) {
        for node in expired {
            match self.lanes.reap(*node, Reap::LeaseExpired).await {
                Ok(0) => {}
                Ok(jobs) => {
                    tracing::warn!(node = %node, jobs, "a silent node's jobs were given back");
                    // It may also have died between a commit and its placement.
                    self.member.behind.mark();
                }
                Err(error) => {
                    tracing::warn!(error = %error, node = %node, "a silent node could not be reaped");
                }
            }
        }
    }
}
