//! The lanes: who is next. They live in Redis, carry job ids and what is needed to choose, never personal data, and
//! can be rebuilt from the ledger at any time.
//!
//! # Structures
//!
//! A waiting job is 16 or 24 bytes in a list: its id, and its turn if it takes turns. A job's creation time is in its
//! id (UUIDv7), so ageing and "oldest waiting" need nothing more. Claimed jobs lie in one hash per node; a node's
//! random id is the fencing token of all its claims, because a node that loses its lease loses that hash with it and
//! must enter under a new id. Every move is one script in `lua/`.
//!
//! # Fairness
//!
//! Jobs of one turn run one after another, which alone does not keep whoever has a long queue from holding a lane: his
//! next job is always the first in it. Measured, one job behind ten thousand of one customer's, with one slot: it was
//! the 10 001st and came after 14 s; behind 2000 of eight customers', with four slots, it was the 2001st. So a turn
//! that has had more than its share while others waited rests until all of them have been served (`lua/prelude.lua`).
//! Now the job is the 6th and comes after 0.2 s, most of it the time to park the ten thousand; behind the eight
//! customers it is the 41st. While nobody waits this costs one `LLEN` for each job that takes turns.
//!
//! # Leases
//!
//! A node's lease is an instant of the Redis server's clock, extended by one heartbeat per process. Whoever finds a
//! lease run out gives the node's jobs back to the front of their lanes ([`Lanes::reap`]). No attempt is burned; a
//! job that was running while three workers died is quarantined (a crisis job: nine).
//!
//! # A full server
//!
//! At its `maxmemory` Redis refuses whatever could make it grow, and with that most scripts. But jobs leave the lanes
//! only by being claimed and acknowledged, so only new work may be refused (`place`, except for crisis jobs, which are
//! few). Redis looks at its memory no more once a script has written, so every other script begins with a write that
//! changes nothing and is never refused for want of memory (`even_when_full` in `lua/prelude.lua`). What could not be
//! placed is in the ledger, and a comparison finds it when there is room again.

mod address;
mod behind;
mod certificates;
mod cluster;
mod connection;
mod keys;
mod link;
mod listener;
mod maintain;
mod pauses;
mod placer;
mod progress;
mod rebuild;
mod scripts;
mod stats;
mod trouble;
mod withdraw;

use crate::{clock::UnixMs, id::JobId, lane::Lane};

pub(crate) use behind::Behind;
pub use connection::{LaneError, Lanes, LanesOptions};
pub(crate) use listener::listen;
pub use maintain::NodeInfo;
pub(crate) use pauses::pauses_of;
pub(crate) use placer::{Bells, PlacementQueue, PlacerTask, next, placer};
pub use progress::RebuildProgress;
pub use rebuild::Rebuilt;
pub(crate) use scripts::{CRASHES_MAX, ClaimScope, Claimed, Moves, Reap, crashes_max};
pub use stats::{LaneStats, NodeStats};
pub(crate) use trouble::Trouble;

/// Where a job of the ledger belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placement {
    /// Which job.
    pub id: JobId,
    /// Into which lane.
    pub lane: Lane,
    /// Its turn's number.
    pub turn: Option<i64>,
    /// Not before this instant.
    pub run_at_ms: UnixMs,
}

impl Placement {
    /// The bytes under which the lanes keep it.
    pub(crate) fn element(&self) -> Vec<u8> {
        let mut element = Vec::with_capacity(24);
        element.extend_from_slice(self.id.as_bytes());
        if let Some(turn) = self.turn {
            element.extend_from_slice(&turn.to_be_bytes());
        }
        element
    }
}
