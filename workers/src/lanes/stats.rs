//! How the lanes stand.

use redis::AsyncCommands as _;

use super::{LaneError, Lanes, maintain::NodeInfo};
use crate::{
    id::{JobId, NodeId},
    lane::Lane,
};

/// How one lane stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneStats {
    /// Which lane.
    pub lane: Lane,
    /// Why it is held up, if it is.
    pub paused: Option<String>,
    /// Jobs that could run now, with those that wait for a turn.
    pub waiting: u64,
    /// Jobs that a node has claimed.
    pub running: u64,
    /// Jobs whose time has not come.
    pub later: u64,
    /// The job in front.
    pub oldest: Option<JobId>,
    /// How long ago that was recorded, in milliseconds; see [`Engine::standing`](crate::engine::Engine::standing).
    pub oldest_waiting_ms: Option<i64>,
}

/// How one node stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeStats {
    /// Its identity.
    pub node: NodeId,
    /// What it said of itself.
    pub info: Option<NodeInfo>,
    /// Jobs it has claimed.
    pub running: u64,
}

impl Lanes {
    /// How every lane stands, in their order, and every node. Not one instant: the numbers are read one after another.
    pub async fn stats(&self) -> Result<(Vec<LaneStats>, Vec<NodeStats>), LaneError> {
        let mut redis = self.redis.clone();
        let mut running = [0_u64; 5];
        let mut nodes = Vec::new();
        for (node, info) in self.nodes().await? {
            let claims: Vec<Vec<u8>> = redis.hvals(self.keys.claims(node)).await?;
            for claim in &claims {
                let lane = claim.first().map(|digit| usize::from(digit.wrapping_sub(b'0')));
                if let Some(count) = lane.and_then(|lane| running.get_mut(lane)) {
                    *count += 1;
                }
            }
            nodes.push(NodeStats { node, info, running: claims.len() as u64 });
        }
        let now_ms = self.clock.now_ms();
        let mut lanes = Vec::with_capacity(Lane::ALL.len());
        for lane in Lane::ALL {
            let (waiting, later, head, paused, parked): (
                u64,
                u64,
                Option<Vec<u8>>,
                Option<String>,
                Option<i64>,
            ) = redis::pipe()
                .llen(self.keys.waiting(lane))
                .zcard(self.keys.later(lane))
                .lindex(self.keys.waiting(lane), 0)
                .hget(self.keys.paused(), lane.index())
                .hget(self.keys.counters(), format!("parked:{}", lane.index()))
                .query_async(&mut redis)
                .await?;
            let oldest = head.as_deref().and_then(JobId::from_bytes);
            lanes.push(LaneStats {
                lane,
                paused,
                // Places where a turn rests lie in the list and are subtracted from what is parked.
                waiting: waiting.saturating_add_signed(parked.unwrap_or(0)),
                running: running[lane.index()],
                later,
                oldest,
                oldest_waiting_ms: oldest.map(|id| (now_ms - id.created_ms()).max(0)),
            });
        }
        Ok((lanes, nodes))
    }

    /// What Redis uses for its data, in bytes.
    pub async fn used_memory_bytes(&self) -> Result<u64, LaneError> {
        let info: String = redis::cmd("INFO").arg("memory").query_async(&mut self.redis.clone()).await?;
        let used = info.lines().find_map(|line| line.strip_prefix("used_memory:"));
        Ok(used.and_then(|bytes| bytes.trim().parse().ok()).unwrap_or(0))
    }

    /// How many jobs the lanes hold in all.
    pub async fn held(&self) -> Result<u64, LaneError> {
        let (lanes, _) = self.stats().await?;
        Ok(lanes.iter().map(|lane| lane.waiting + lane.running + lane.later).sum())
    }
}
