//! Putting every owed job that no lane holds back into its lane.
//!
//! Needed after a crash between a commit and its placement, and whenever Redis was away, emptied, restarted or failed
//! over. The crisis lane comes first. A job that is placed twice (it moved while we looked) is harmless: its second
//! delivery finds nothing owed.

use std::{collections::HashSet, time::Duration};

use redis::AsyncCommands as _;

use super::{
    LaneError, Lanes,
    progress::{RebuildProgress, Underway},
};
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

/// Jobs placed between two extensions of the lock.
const PLACED_AT_ONCE: usize = 500;

/// The rebuild lock runs out by itself this long after its holder died, in milliseconds.
const LOCK_MS: u64 = 15_000;

/// Jobs that were recorded within this time are compared last, so that whoever recorded them has placed them by then
/// and they are not placed twice. In milliseconds.
const FRESH_MS: u64 = 250;

/// A job whose id is younger than now by this much was recorded by another clock, or by ours before it was set back. In
/// milliseconds; less than that is over before the lanes are compared once more.
const AHEAD_MS: i64 = 1_000;

/// The lock of whoever rebuilds, and who that is.
#[derive(Debug)]
struct Lock {
    key: String,
    holder: String,
}

/// What a rebuild did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rebuilt {
    /// Owed jobs looked at.
    pub owed: u64,
    /// Of these, jobs that no lane held.
    pub placed: u64,
}

impl Lanes {
    /// Holds up the lanes that operators hold up and no others, then places every job that was owed when this was
    /// called and that no lane holds. Jobs recorded since then are placed by whoever recorded them.
    pub async fn rebuild(&self, ledger: &Ledger, node: NodeId) -> Result<Rebuilt, LaneError> {
        let _turn = self.progress.turn.lock().await;
        let lock = Lock { key: self.keys.rebuilding(), holder: node.to_string() };
        let mut holder = self.lock(&lock, "").await?;
        if holder != lock.holder && !self.is_alive(&holder).await? {
            holder = self.lock(&lock, &holder).await?;
        }
        if holder != lock.holder {
            return Err(LaneError::RebuildElsewhere);
        }
        let underway = self.progress.begin(self.clock.now_ms());
        let rebuilt = self.rebuild_locked(ledger, &lock, &underway).await;
        if let Err(error) = self.unlock(&lock).await {
            tracing::debug!(error = %error, "the lock of the rebuild runs out by itself");
        }
        rebuilt
    }

    /// How far the rebuild has come that is under way in this process.
    pub fn rebuild_progress(&self) -> Option<RebuildProgress> {
        self.progress.present()
    }

    /// Takes or keeps `lock`, also `from` somebody who may not have it any more; answers with who holds it then.
    async fn lock(&self, lock: &Lock, from: &str) -> Result<String, LaneError> {
        let mut locking = self.scripts.lock.key(&lock.key);
        locking.key(self.keys.wake()).arg(&lock.holder).arg(LOCK_MS).arg(from);
        Ok(locking.invoke_async(&mut self.redis.clone()).await?)
    }

    /// Gives `lock` back, if it is still its holder's.
    async fn unlock(&self, lock: &Lock) -> Result<(), LaneError> {
        let mut unlocking = self.scripts.unlock.key(&lock.key);
        unlocking.key(self.keys.wake()).arg(&lock.holder);
        Ok(unlocking.invoke_async(&mut self.redis.clone()).await?)
    }

    async fn is_alive(&self, holder: &str) -> Result<bool, LaneError> {
        Ok(self.nodes().await?.into_iter().any(|(known, _)| known.to_string() == holder))
    }

    async fn rebuild_locked(
        &self,
        ledger: &Ledger,
        lock: &Lock,
        underway: &Underway,
    ) -> Result<Rebuilt, LaneError> {
        self.compare_pauses(ledger).await?;
        let now_ms = self.clock.now_ms();
        let (newest, fresh) = (JobId::earliest_at(now_ms), JobId::earliest_at(now_ms - FRESH_MS as i64));
        let mut rebuilt = Rebuilt::default();
        // A crisis job that lies in its lane twice is better than one that waits.
        self.compare(Lane::Crisis, (None, newest), ledger, lock, underway, &mut rebuilt).await?;
        underway.estimate(ledger.owed_count().await?);
        let others = Lane::ALL.into_iter().filter(|lane| *lane != Lane::Crisis);
        for lane in others.clone() {
            self.compare(lane, (None, fresh), ledger, lock, underway, &mut rebuilt).await?;
        }
        let since_ms = u64::try_from(self.clock.now_ms() - now_ms).unwrap_or(0);
        tokio::time::sleep(Duration::from_millis(FRESH_MS.saturating_sub(since_ms))).await;
        for lane in others {
            self.compare(lane, (Some(fresh), newest), ledger, lock, underway, &mut rebuilt).await?;
        }
        // Recorded by a clock that ran ahead, before it was set right.
        let ahead = JobId::earliest_at(self.clock.now_ms() + AHEAD_MS);
        for lane in Lane::ALL {
            self.compare(lane, (Some(ahead), JobId::MAX), ledger, lock, underway, &mut rebuilt).await?;
        }
        Ok(rebuilt)
    }

    /// Places what is owed in `lane`, with ids after the first of `span` and before its second, and not held.
    async fn compare(
        &self,
        lane: Lane,
        span: (Option<JobId>, JobId),
        ledger: &Ledger,
        lock: &Lock,
        underway: &Underway,
        rebuilt: &mut Rebuilt,
    ) -> Result<(), LaneError> {
        let urgency = if lane == Lane::Crisis { Urgency::Crisis } else { Urgency::General };
        let (mut after, before) = span;
        let mut held: Option<HashSet<JobId>> = None;
        loop {
            let mut page = ledger.owed(lane, after, ROWS_AT_ONCE, urgency).await?;
            let full = page.len() == ROWS_AT_ONCE as usize;
            after = page.last().map(|owed| owed.id);
            page.retain(|owed| owed.id < before);
            if page.is_empty() {
                return Ok(());
            }
            let held = match &held {
                Some(held) => held,
                // After the first page, so that it knows of what was placed before that was read.
                None => held.insert(self.held_by(lane, lock).await?),
            };
            let compared = page.len() as u64;
            page.retain(|owed| !held.contains(&owed.id));
            for missing in page.chunks(PLACED_AT_ONCE) {
                self.place(missing).await?;
                rebuilt.placed += missing.len() as u64;
                underway.add(0, missing.len() as u64);
                self.keep_lock(lock).await?;
            }
            rebuilt.owed += compared;
            underway.add(compared, 0);
            if !full {
                return Ok(());
            }
        }
    }

    /// If somebody else has it meanwhile it is theirs, and both go on: what is placed twice is harmless, and two that
    /// broke each other off would never come to an end.
    async fn keep_lock(&self, lock: &Lock) -> Result<(), LaneError> {
        self.lock(lock, "").await.map(drop)
    }

    /// The ids of every job that is claimed, parked, or waiting in `lane`.
    async fn held_by(&self, lane: Lane, lock: &Lock) -> Result<HashSet<JobId>, LaneError> {
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
            // Turn (8 bytes), lane digit (1), birth (6), sequence (10), element.
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
