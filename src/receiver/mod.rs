//! The receiver: reads raw bytes, verifies, records, answers. It decodes no more of an event than it needs to route it,
//! and says 2xx only when the event is on disk.
//!
//! A request to the path of a [`source`] goes through [`webhook`]; any other goes to the fallback service. What a
//! receiver needs of the house behind it is the [`door::Door`].

mod activity;
pub mod address;
mod body;
#[cfg(test)]
mod cases;
mod connection;
pub mod door;
pub mod incidents;
mod limits;
pub mod options;
pub mod problem;
pub mod refusal;
pub mod scheme;
mod server;
mod socket;
pub mod source;
pub mod stats;
mod trace;
mod webhook;

use std::{collections::HashMap, fmt, sync::Arc};

use ipnet::IpNet;
use keepwell_workers::{clock::SharedClock, turns::Turns};
use tokio_util::task::TaskTracker;

use self::{
    door::Door,
    limits::{admission::Admission, budget::Budget},
    options::{ReceiverLimits, ReceiverOptions},
    source::Source,
    stats::ReceiverStats,
};

/// In the extensions of an answer of the fallback service: the request was refused because whoever sent it could not
/// show that they may. It costs them some of the budget for unverified requests, and is noted under the name of what
/// they asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unverified(pub &'static str);

/// Everything that answers requests on the public listener.
pub struct Receiver {
    /// By path.
    sources: HashMap<String, Arc<Source>>,
    trusted_proxies: Vec<IpNet>,
    limits: ReceiverLimits,
    admission: Admission,
    budget: Budget,
    door: Arc<dyn Door>,
    fallback: axum::Router,
    clock: SharedClock,
    stats: Arc<ReceiverStats>,
    /// Events being recorded, whether or not their senders still listen.
    recordings: TaskTracker,
    /// Turns of the accept loop.
    turns: Turns,
}

impl Receiver {
    /// A receiver that records through `door`, counts in `stats` and passes on to `fallback` what is no webhook. Of two
    /// sources with the same path the later one stays.
    pub fn new(
        options: ReceiverOptions,
        door: Arc<dyn Door>,
        fallback: axum::Router,
        clock: SharedClock,
        stats: Arc<ReceiverStats>,
    ) -> Arc<Self> {
        let ReceiverOptions { sources, trusted_proxies, limits } = options;
        Arc::new(Self {
            sources: sources.into_iter().map(|source| (source.path.clone(), source)).collect(),
            trusted_proxies,
            limits,
            admission: Admission::new(&limits),
            budget: Budget::new(&limits, clock.clone()),
            door,
            fallback,
            clock,
            stats,
            recordings: TaskTracker::new(),
            turns: Turns::default(),
        })
    }

    /// How often the accept loop has turned: at least once a second while connections are let in, also if none come.
    pub fn turns(&self) -> Turns {
        self.turns.clone()
    }
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").field("sources", &self.sources).finish_non_exhaustive()
    }
}
