//! The names of the lanes' keys in Redis.

use crate::{id::NodeId, lane::Lane};

/// The keys of one lane group. They share a hash tag, so on a cluster the group lives in one slot.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    tag: String,
    before_claims: [String; 2],
    after_claims: Vec<String>,
}

impl Keys {
    /// The keys under `prefix`.
    pub(crate) fn new(prefix: &str) -> Self {
        let tag = format!("{{{prefix}:0}}");
        let key = |name: &str| format!("{tag}:{name}");
        let waiting = Lane::ALL.map(|lane| key(&format!("lane:{lane}")));
        let later = Lane::ALL.map(|lane| key(&format!("later:{lane}")));
        let rest = [
            "turns",
            "parked",
            "crashes",
            "paused",
            "counters",
            "quarantine",
            "idle",
            "wake",
            "recent",
            "clocks",
        ]
        .map(key);
        Self {
            before_claims: [key("nodes"), key("info")],
            after_claims: waiting.into_iter().chain(later).chain(rest).collect(),
            tag,
        }
    }

    /// All of them in the order that `lua/prelude.lua` gives, with `node`'s claims among them.
    pub(crate) fn all<'k>(&'k self, claims: &'k str) -> impl Iterator<Item = &'k str> {
        let before = self.before_claims.iter().map(String::as_str);
        before.chain(std::iter::once(claims)).chain(self.after_claims.iter().map(String::as_str))
    }

    /// What they all begin with. A cluster chooses the slot by what is between its braces.
    pub(crate) fn tag(&self) -> &str {
        &self.tag
    }

    /// The jobs that `node` has claimed.
    pub(crate) fn claims(&self, node: NodeId) -> String {
        format!("{}:claims:{node}", self.tag)
    }

    pub(crate) fn nodes(&self) -> &str {
        &self.before_claims[0]
    }

    pub(crate) fn info(&self) -> &str {
        &self.before_claims[1]
    }

    pub(crate) fn waiting(&self, lane: Lane) -> &str {
        &self.after_claims[lane.index()]
    }

    pub(crate) fn later(&self, lane: Lane) -> &str {
        &self.after_claims[5 + lane.index()]
    }

    pub(crate) fn parked(&self) -> &str {
        &self.after_claims[11]
    }

    pub(crate) fn paused(&self) -> &str {
        &self.after_claims[13]
    }

    pub(crate) fn counters(&self) -> &str {
        &self.after_claims[14]
    }

    pub(crate) fn quarantine(&self) -> &str {
        &self.after_claims[15]
    }

    pub(crate) fn wake(&self) -> &str {
        &self.after_claims[17]
    }

    /// Held by the one process that rebuilds the lanes.
    pub(crate) fn rebuilding(&self) -> String {
        format!("{}:rebuilding", self.tag)
    }
}
