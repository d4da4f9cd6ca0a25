//! What keeps the lanes honest: nodes, the quarantine, and whether this is still the same Redis.

use std::collections::HashSet;

use redis::AsyncCommands as _;
use serde::{Deserialize, Serialize};

use super::{LaneError, Lanes, Trouble, scripts::Reap};
use crate::id::{JobId, NodeId};

/// What an operator wants to know of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeInfo {
    /// The state directory's identity: two lives of the same installation share it, two installations never do.
    pub instance: String,
    /// The machine's name.
    pub host: String,
    /// The process.
    pub pid: u32,
    /// When it entered, in milliseconds since the Unix epoch.
    pub started_ms: i64,
}

/// Quarantined jobs taken at once.
const QUARANTINED_AT_ONCE: isize = 100;

impl Lanes {
    /// Gives back at once what nodes of `instance` held that entered in another life than the one that began at
    /// `started_ms`: an earlier one, whatever its clock said. Only for whoever holds the lock of that instance's state
    /// directory: it proves that they are dead.
    pub(crate) async fn adopt(&self, instance: &str, started_ms: i64) -> Result<u64, LaneError> {
        let mut returned = 0;
        for (node, info) in self.nodes().await? {
            if info.is_some_and(|info| info.instance == instance && info.started_ms != started_ms) {
                returned += self.reap(node, Reap::EarlierLife).await?;
            }
        }
        Ok(returned)
    }

    /// Every node that has entered and neither left nor been reaped.
    pub(crate) async fn nodes(&self) -> Result<Vec<(NodeId, Option<NodeInfo>)>, LaneError> {
        let mut redis = self.redis.clone();
        let names: Vec<String> = redis.zrange(self.keys.nodes(), 0, -1).await?;
        let mut nodes = Vec::with_capacity(names.len());
        for name in names {
            let Ok(number) = u64::from_str_radix(&name, 16) else { continue };
            let info: Option<String> = redis.hget(self.keys.info(), &name).await?;
            nodes.push((NodeId(number), info.and_then(|text| read_info(&text))));
        }
        Ok(nodes)
    }

    /// The jobs that `node` has claimed.
    pub(crate) async fn claims_of(&self, node: NodeId) -> Result<Vec<JobId>, LaneError> {
        let ids: Vec<Vec<u8>> = self.redis.clone().hkeys(self.keys.claims(node)).await?;
        Ok(ids.iter().filter_map(|id| JobId::from_bytes(id)).collect())
    }

    /// Those of `ids` that `node` has not claimed, or no longer.
    pub(crate) async fn not_claimed_by(&self, node: NodeId, ids: &[JobId]) -> Result<Vec<JobId>, LaneError> {
        let mut ask = redis::cmd("HMGET");
        ask.arg(self.keys.claims(node));
        for id in ids {
            ask.arg(id.as_bytes());
        }
        let claims: Vec<Option<Vec<u8>>> = ask.query_async(&mut self.redis.clone()).await?;
        Ok(ids.iter().zip(claims).filter(|(_, claim)| claim.is_none()).map(|(id, _)| *id).collect())
    }

    /// Jobs that have seen too many workers die, at most a hundred. They stay until [`Lanes::release_quarantined`].
    pub(crate) async fn quarantined(&self) -> Result<Vec<JobId>, LaneError> {
        let ids: Vec<Vec<u8>> =
            self.redis.clone().lrange(self.keys.quarantine(), 0, QUARANTINED_AT_ONCE - 1).await?;
        Ok(ids.iter().filter_map(|id| JobId::from_bytes(id)).collect())
    }

    /// Forgets a quarantined job, once the ledger has it as dead.
    pub(crate) async fn release_quarantined(&self, id: JobId) -> Result<(), LaneError> {
        let () = self.redis.clone().lrem(self.keys.quarantine(), 1, id.as_bytes()).await?;
        Ok(())
    }

    /// The identity of the server's present life: another one means that it was restarted or failed over, and may have
    /// forgotten something. Nothing if it may not be asked; an emptied server is then noticed by the nodes it forgot.
    pub(crate) async fn server_life(&self) -> Result<Option<String>, LaneError> {
        let answer = redis::cmd("INFO").arg("server").query_async(&mut self.redis.clone()).await;
        let info: String = match answer {
            Err(error) if Trouble::of(&error) == Trouble::Forbidden => return Ok(None),
            answer => answer?,
        };
        let life = info.lines().find_map(|line| line.strip_prefix("run_id:"));
        Ok(life.map(|life| life.trim().to_owned()))
    }

    /// The jobs that a node has claimed or that are quarantined: whoever takes jobs from the ledger leaves them alone.
    pub(crate) async fn spoken_for(&self) -> Result<HashSet<JobId>, LaneError> {
        let mut redis = self.redis.clone();
        // What is quarantined is on its way to being buried, and must not run once more before that.
        let quarantined: Vec<Vec<u8>> = redis.lrange(self.keys.quarantine(), 0, -1).await?;
        let mut taken: HashSet<JobId> = quarantined.iter().filter_map(|id| JobId::from_bytes(id)).collect();
        for (node, _) in self.nodes().await? {
            taken.extend(self.claims_of(node).await?);
        }
        Ok(taken)
    }
}

/// `instance host pid started`, separated by line breaks.
fn read_info(text: &str) -> Option<NodeInfo> {
    let mut lines = text.lines();
    Some(NodeInfo {
        instance: lines.next()?.to_owned(),
        host: lines.next()?.to_owned(),
        pid: lines.next()?.parse().ok()?,
        started_ms: lines.next()?.parse().ok()?,
    })
}

impl NodeInfo {
    /// As the lanes keep it.
    pub(crate) fn to_text(&self) -> String {
        format!("{}\n{}\n{}\n{}", self.instance, self.host, self.pid, self.started_ms)
    }
}
