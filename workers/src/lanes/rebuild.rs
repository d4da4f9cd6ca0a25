//! Putting every owed job that no lane holds back into its lane.
//!
//! Needed after a crash between a commit and its placement, and whenever Redis was away, emptied, restarted or failed
//! over. The crisis lane comes first. A job that is placed twice (it moved while we looked) is harmless: its second
//! delivery finds nothing owed.

use std::collections::HashSet;

use redis::{AsyncCommands as _, ExistenceCheck, SetExpiry, SetOptions};

use super::{LaneError, Lanes, Placement};
use crate::{
    database::turn::Urgency,
    id::{JobId, NodeId},
    lane::Lane,
    ledger::Ledger,
};

/// Ids read from Redis in one round trip.
const IDS_AT_ONCE: isize = 10_000;

/// Owed rows read from the ledger at once.
const ROWS_AT_ONCE: u32 = 5_000;

/// The rebuild lock runs out by itself this long after its holder died, in milliseconds.
const LOCK_MS: u64 = 15_000;

/// What a rebuild did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rebuilt {
    /// Owed jobs looked at.
    pub owed: u64,
    /// Of these, jobs that no lane held.
    pub placed: u64,
}

impl Lanes {
    /// Places every job that was owed when this was called and that no lane holds. Jobs recorded since then are
    /// placed by whoever recorded them.
    pub async fn rebuild(&self, ledger: &Ledger, node: NodeId) -> Result<Rebuilt, LaneError> {
        let lock = self.keys.rebuilding();
        let mut redis = self.redis.clone();
        let options =
            SetOptions::default().conditional_set(ExistenceCheck::NX).with_expiration(SetExpiry::PX(LOCK_MS));
        let locked: Option<String> = redis.set_options(&lock, node.to_string(), options).await?;
        if locked.is_none() && !self.may_take_over(&lock, node).await? {
            return Err(LaneError::RebuildElsewhere);
        }
        let rebuilt = self.rebuild_locked(ledger, &lock).await;
        let _: Result<(), _> = redis.del(&lock).await;
        rebuilt
    }

    /// Whether whoever holds `lock` is this very node, which did not hear that it got it (Redis stood still), or has
    /// died.
    async fn may_take_over(&self, lock: &str, node: NodeId) -> Result<bool, LaneError> {
        let holder: Option<String> = self.redis.clone().get(lock).await?;
        let Some(holder) = holder else { return Ok(false) };
        let alive = self.nodes().await?.into_iter().any(|(known, _)| known.to_string() == holder);
        Ok(holder == node.to_string() || !alive)
    }

    async fn rebuild_locked(&self, ledger: &Ledger, lock: &str) -> Result<Rebuilt, LaneError> {
        let newest = JobId::earliest_at(self.clock.now_ms());
        let mut rebuilt = Rebuilt::default();
        for lane in Lane::ALL {
            let urgency = if lane == Lane::Crisis { Urgency::Crisis } else { Urgency::General };
            let mut held: Option<HashSet<JobId>> = None;
            let mut after = None;
            loop {
                let page = ledger.owed(lane, after, ROWS_AT_ONCE, urgency).await?;
                let Some(last) = page.last() else { break };
                after = Some(last.id);
                let full = page.len() == ROWS_AT_ONCE as usize;
                if held.is_none() {
                    held = Some(self.held_by(lane, lock).await?);
                }
                let missing: Vec<Placement> = page
                    .iter()
                    .filter(|owed| {
                        owed.id < newest && !held.as_ref().is_some_and(|held| held.contains(&owed.id))
                    })
                    .copied()
                    .collect();
                rebuilt.owed += page.len() as u64;
                rebuilt.placed += missing.len() as u64;
                self.place(&missing).await?;
                self.keep_lock(lock).await?;
                if !full || after.is_some_and(|id| id >= newest) {
                    break;
                }
            }
        }
        Ok(rebuilt)
    }

    async fn keep_lock(&self, lock: &str) -> Result<(), LaneError> {
        let _: bool = self.redis.clone().pexpire(lock, LOCK_MS as i64).await?;
        Ok(())
    }

    /// The ids of every job that is claimed, parked, or waiting in `lane`.
    async fn held_by(&self, lane: Lane, lock: &str) -> Result<HashSet<JobId>, LaneError> {
        let mut redis = self.redis.clone();
        // Before and after the lanes: what goes back from a worker's hands to a lane meanwhile is seen here, what a
        // worker takes there. A poison pill that lay in its lane twice would kill more workers than it may.
        let mut held = self.claimed().await?;
        let mut start = 0;
        loop {
            let page: Vec<Vec<u8>> =
                redis.lrange(self.keys.waiting(lane), start, start + IDS_AT_ONCE - 1).await?;
            held.extend(page.iter().filter_map(|element| JobId::from_bytes(element)));
            self.keep_lock(lock).await?;
            if page.len() < IDS_AT_ONCE as usize {
                break;
            }
            start += IDS_AT_ONCE;
        }
        let mut start = 0;
        loop {
            let page: Vec<Vec<u8>> =
                redis.zrange(self.keys.later(lane), start, start + IDS_AT_ONCE - 1).await?;
            held.extend(page.iter().filter_map(|element| JobId::from_bytes(element)));
            if page.len() < IDS_AT_ONCE as usize {
                break;
            }
            start += IDS_AT_ONCE;
        }
        let mut start = 0;
        loop {
            let page: Vec<Vec<u8>> = redis.zrange(self.keys.parked(), start, start + IDS_AT_ONCE - 1).await?;
            // Turn (8 bytes), lane digit (1), sequence (16), element.
            held.extend(page.iter().filter_map(|member| JobId::from_bytes(member.get(25..)?)));
            if page.len() < IDS_AT_ONCE as usize {
                break;
            }
            start += IDS_AT_ONCE;
        }
        // What is quarantined is on its way to being buried, and must not run once more before that.
        let quarantined: Vec<Vec<u8>> = redis.lrange(self.keys.quarantine(), 0, -1).await?;
        held.extend(quarantined.iter().filter_map(|id| JobId::from_bytes(id)));
        held.extend(self.claimed().await?);
        Ok(held)
    }

    /// The ids of every job in a worker's hands.
    async fn claimed(&self) -> Result<HashSet<JobId>, LaneError> {
        let mut claimed = HashSet::new();
        for (node, _) in self.nodes().await? {
            claimed.extend(self.claims_of(node).await?);
        }
        Ok(claimed)
    }
}
