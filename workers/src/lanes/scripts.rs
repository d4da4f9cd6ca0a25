//! Every move between the lanes is one script; this is each script's typed face.

use redis::Script;
use tokio::time::Instant;

use super::{LaneError, Lanes, Placement};
use crate::{
    clock::UnixMs,
    clocks::{Clocks, Recorder},
    id::{JobId, NodeId},
    lane::Lane,
    ledger::LanePause,
};

/// Jobs in one `place`; bounds the time for which the server is busy with it.
const PLACED_AT_ONCE_MAX: usize = 500;

/// Workers that a job may see die before it is quarantined.
pub(crate) const CRASHES_MAX: u32 = 3;

/// The same for a crisis: reap.lua says why it has more.
const CRISIS_CRASHES_MAX: u32 = 9;

/// The same for a job of `lane`.
pub(crate) fn crashes_max(lane: Lane) -> u32 {
    if lane == Lane::Crisis { CRISIS_CRASHES_MAX } else { CRASHES_MAX }
}

macro_rules! script {
    ($name:literal) => {
        Script::new(concat!(include_str!("lua/prelude.lua"), include_str!(concat!("lua/", $name, ".lua"))))
    };
}

/// The scripts, loaded into the server when it does not know them.
#[derive(Debug)]
pub(crate) struct Scripts {
    check: Script,
    claim: Script,
    heartbeat: Script,
    pub(super) lock: Script,
    pause: Script,
    place: Script,
    reap: Script,
    register: Script,
    resume: Script,
    suspect: Script,
    pub(super) unlock: Script,
}

impl Scripts {
    pub(super) fn new() -> Self {
        Self {
            check: script!("check"),
            claim: script!("claim"),
            heartbeat: script!("heartbeat"),
            lock: Script::new(include_str!("lua/lock.lua")),
            pause: script!("pause"),
            place: script!("place"),
            reap: script!("reap"),
            register: script!("register"),
            resume: script!("resume"),
            suspect: script!("suspect"),
            unlock: Script::new(include_str!("lua/unlock.lua")),
        }
    }
}

/// Which lanes a claim looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClaimScope {
    /// The crisis lane alone: the reserved slots.
    Crisis,
    /// All of them, crisis first.
    General,
}

/// What has become of jobs that this node had claimed.
#[derive(Debug, Default, Clone)]
pub(crate) struct Moves {
    /// Settled in the ledger.
    pub(crate) acks: Vec<JobId>,
    /// Owed again, not before an instant.
    pub(crate) retries: Vec<(JobId, UnixMs)>,
    /// Not run; back to the front of their lanes.
    pub(crate) returns: Vec<JobId>,
}

impl Moves {
    pub(crate) fn is_empty(&self) -> bool {
        self.acks.is_empty() && self.retries.is_empty() && self.returns.is_empty()
    }

    /// Takes at most `limit` of each out.
    pub(crate) fn take(&mut self, limit: usize) -> Moves {
        fn first<T>(list: &mut Vec<T>, limit: usize) -> Vec<T> {
            let rest = list.split_off(list.len().min(limit));
            std::mem::replace(list, rest)
        }
        Moves {
            acks: first(&mut self.acks, limit),
            retries: first(&mut self.retries, limit),
            returns: first(&mut self.returns, limit),
        }
    }

    /// Puts what could not be told back; of each kind, at most `limit` are remembered, the newest.
    pub(crate) fn put_back(&mut self, untold: Moves, limit: usize) {
        fn join<T>(list: &mut Vec<T>, mut older: Vec<T>, limit: usize) {
            older.append(list);
            let forgotten = older.len().saturating_sub(limit);
            older.drain(..forgotten);
            *list = older;
        }
        join(&mut self.acks, untold.acks, limit);
        join(&mut self.retries, untold.retries, limit);
        join(&mut self.returns, untold.returns, limit);
    }
}

/// A job that this node has to run now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Claimed {
    pub(crate) id: JobId,
    pub(crate) lane: Lane,
    /// Workers that it has seen die.
    pub(crate) crashes: u32,
}

/// What a claim brought.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) jobs: Vec<Claimed>,
    /// More is waiting than this claim looked at.
    pub(crate) more: bool,
    /// If it brought nothing: when the next job's time comes.
    pub(crate) next_ms: Option<UnixMs>,
}

impl Claimed {
    fn read(bytes: &[u8]) -> Option<Self> {
        let digit = |byte: u8| usize::from(byte.wrapping_sub(b'0'));
        Some(Self {
            lane: Lane::from_index(digit(*bytes.first()?))?,
            crashes: digit(*bytes.get(1)?) as u32,
            id: JobId::from_bytes(bytes.get(2..)?)?,
        })
    }
}

impl Lanes {
    pub(super) async fn invoke<T: redis::FromRedisValue>(
        &self,
        script: &Script,
        node: NodeId,
        arguments: impl FnOnce(&mut redis::ScriptInvocation<'_>),
    ) -> Result<T, LaneError> {
        let claims = self.keys.claims(node);
        let mut invocation = script.prepare_invoke();
        for key in self.keys.all(&claims) {
            invocation.key(key);
        }
        arguments(&mut invocation);
        Ok(invocation.invoke_async(&mut self.redis.clone()).await?)
    }

    /// Puts jobs into their lanes, those of the crisis lane first and even if the server is full.
    pub(crate) async fn place(&self, placements: &[Placement]) -> Result<(), LaneError> {
        let (crisis, rest): (Vec<_>, Vec<_>) =
            placements.iter().partition(|placement| placement.lane == Lane::Crisis);
        self.place_pieces(&crisis, true).await?;
        self.place_pieces(&rest, false).await
    }

    async fn place_pieces(&self, placements: &[&Placement], even_when_full: bool) -> Result<(), LaneError> {
        let now_ms = self.clock.now_ms();
        for piece in placements.chunks(PLACED_AT_ONCE_MAX) {
            self.invoke::<()>(&self.scripts.place, NodeId(0), |script| {
                script.arg(now_ms).arg(u8::from(even_when_full));
                for placement in piece {
                    script.arg(placement.lane.index()).arg(placement.run_at_ms).arg(placement.element());
                }
            })
            .await?;
        }
        Ok(())
    }

    /// Whether the server, in its present `life` if it says so, takes what the lanes need: scripts, and writes.
    /// Compares `clocks` with its own.
    pub(crate) async fn check(&self, clocks: &Clocks, life: Option<&str>) -> Result<(), LaneError> {
        if let Some(life) = life {
            clocks.are_compared_with(life);
        }
        let is_known = clocks.ahead_ms().is_some();
        self.compare_clocks(clocks, life).await?;
        // The first time there was nothing to leave for the others.
        if is_known { Ok(()) } else { self.compare_clocks(clocks, life).await }
    }

    async fn compare_clocks(&self, clocks: &Clocks, life: Option<&str>) -> Result<(), LaneError> {
        let ahead_ms = clocks.ahead_ms().map_or_else(String::new, |ahead_ms| ahead_ms.to_string());
        let (asked_ms, asked) = (self.clock.now_ms(), Instant::now());
        let answer: Vec<i64> = self
            .invoke(&self.scripts.check, NodeId(0), |script| {
                script.arg(clocks.own().number()).arg(ahead_ms).arg(life.unwrap_or_default());
            })
            .await?;
        let Some((redis_ms, pairs)) = answer.split_first() else { return Ok(()) };
        let others = pairs
            .chunks_exact(2)
            .filter_map(|pair| Some((Recorder::of_number(u32::try_from(pair[0]).ok()?), pair[1])));
        clocks.compared(asked_ms, asked.elapsed(), *redis_ms, others);
        Ok(())
    }

    /// Has nothing more of a lane claimed.
    pub(super) async fn set_paused(&self, pause: &LanePause) -> Result<(), LaneError> {
        self.invoke(&self.scripts.pause, NodeId(0), |script| {
            script.arg(pause.lane.index()).arg(&pause.reason);
        })
        .await
    }

    /// Has jobs of a lane claimed again, unless it is held up for another reason than `over` by now.
    pub(super) async fn let_go(&self, over: &LanePause) -> Result<(), LaneError> {
        self.invoke(&self.scripts.resume, NodeId(0), |script| {
            script.arg(over.lane.index()).arg(&over.reason);
        })
        .await
    }

    /// Tells the lanes what became of `moves` and claims up to `slots` jobs.
    pub(crate) async fn claim(
        &self,
        node: NodeId,
        scope: ClaimScope,
        slots: usize,
        moves: &Moves,
    ) -> Result<Claim, LaneError> {
        let now_ms = self.clock.now_ms();
        let (taken, more, next_ms): (Vec<Vec<u8>>, u8, UnixMs) = self
            .invoke(&self.scripts.claim, node, |script| {
                script
                    .arg(node.to_string())
                    .arg(now_ms)
                    .arg(slots)
                    .arg(if scope == ClaimScope::General { "general" } else { "crisis" })
                    .arg(self.options.ageing_ms)
                    .arg(moves.acks.len())
                    .arg(moves.retries.len())
                    .arg(moves.returns.len());
                for id in &moves.acks {
                    script.arg(id.as_bytes());
                }
                for (id, run_at_ms) in &moves.retries {
                    script.arg(id.as_bytes()).arg(*run_at_ms);
                }
                for id in &moves.returns {
                    script.arg(id.as_bytes());
                }
            })
            .await?;
        Ok(Claim {
            jobs: taken.iter().filter_map(|bytes| Claimed::read(bytes)).collect(),
            more: more == 1,
            next_ms: (next_ms > 0).then_some(next_ms),
        })
    }

    /// Enters `node`, and in the same moment holds up what `pauses` says.
    pub(crate) async fn register(
        &self,
        node: NodeId,
        info: &str,
        pauses: &[LanePause],
    ) -> Result<(), LaneError> {
        self.invoke(&self.scripts.register, node, |script| {
            script.arg(node.to_string()).arg(self.options.lease_ms).arg(info);
            for pause in pauses {
                script.arg(pause.lane.index()).arg(&pause.reason);
            }
        })
        .await
    }

    /// Extends `node`'s lease; answers with nodes whose lease has run out.
    pub(crate) async fn heartbeat(&self, node: NodeId) -> Result<Vec<NodeId>, LaneError> {
        let expired: Vec<String> = self
            .invoke(&self.scripts.heartbeat, node, |script| {
                script.arg(node.to_string()).arg(self.options.lease_ms);
            })
            .await?;
        Ok(expired.iter().filter_map(|node| u64::from_str_radix(node, 16).ok().map(NodeId)).collect())
    }

    /// Gives back everything that the dead `node` held; says how many jobs that were.
    pub(crate) async fn reap(&self, node: NodeId, because: Reap) -> Result<u64, LaneError> {
        let lease_ms = i64::try_from(self.options.lease_ms).unwrap_or(i64::MAX);
        let suspects_wait_ms = self.clock.now_ms().saturating_add(lease_ms);
        self.invoke(&self.scripts.reap, node, |script| {
            script
                .arg(node.to_string())
                .arg(CRASHES_MAX)
                .arg(if because == Reap::LeaseExpired { "expired" } else { "known" })
                .arg(if because == Reap::LeftCleanly { "left" } else { "crashed" })
                // A suspect that was running waits for a lease: longer than a supervisor or an impatient operator needs
                // to end a process a few times in a row, so that being hit by chance stays chance.
                .arg(suspects_wait_ms)
                .arg(CRISIS_CRASHES_MAX);
        })
        .await
    }

    /// Notes that a job which has seen a worker die is about to run.
    pub(crate) async fn begin_suspect(&self, node: NodeId, id: JobId) -> Result<(), LaneError> {
        self.invoke(&self.scripts.suspect, node, |script| {
            script.arg(node.to_string()).arg(id.as_bytes());
        })
        .await
    }
}

/// Why a node's jobs are given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reap {
    /// It has been silent for longer than its lease.
    LeaseExpired,
    /// It was an earlier life of this process, and its lock on the state directory is ours now.
    EarlierLife,
    /// It says goodbye.
    LeftCleanly,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_script_compiles_into_one_with_the_prelude() {
        let scripts = Scripts::new();
        let hashes = [
            scripts.check.get_hash(),
            scripts.claim.get_hash(),
            scripts.heartbeat.get_hash(),
            scripts.lock.get_hash(),
            scripts.pause.get_hash(),
            scripts.place.get_hash(),
            scripts.reap.get_hash(),
            scripts.register.get_hash(),
            scripts.resume.get_hash(),
            scripts.suspect.get_hash(),
            scripts.unlock.get_hash(),
        ];
        let distinct: std::collections::HashSet<_> = hashes.into_iter().collect();
        assert_eq!(distinct.len(), 11);
    }

    #[test]
    fn a_claim_reads_back_what_the_script_wrote() {
        let id = JobId::new(1_700_000_000_000);
        let mut bytes = b"02".to_vec();
        bytes.extend_from_slice(id.as_bytes());
        assert_eq!(Claimed::read(&bytes), Some(Claimed { id, lane: Lane::Crisis, crashes: 2 }));
        assert_eq!(Claimed::read(b"9"), None);
        assert_eq!(Claimed::read(b"00short"), None);
    }
}
