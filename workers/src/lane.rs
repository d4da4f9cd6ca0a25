//! The five lanes and their order.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Where a job waits. Declared in the order in which lanes are served.
///
/// A job of the last three that has aged (see [`LanesOptions::ageing_ms`](crate::lanes::LanesOptions::ageing_ms))
/// goes before the therapeutic ones, at most one of each lane in a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lane {
    /// Strictly first, with reserved slots, a runtime thread and connections of its own.
    Crisis,
    /// Before the lanes below, save for what has aged there.
    Therapeutic,
    /// Shares what is left with weight 6.
    Realtime,
    /// Shares what is left with weight 3.
    Standard,
    /// Shares what is left with weight 1.
    Background,
}

impl Lane {
    /// All lanes in the order in which they are served.
    pub const ALL: [Lane; 5] =
        [Lane::Crisis, Lane::Therapeutic, Lane::Realtime, Lane::Standard, Lane::Background];

    /// The name used in SQL, Redis, metrics, the command line and the documentation.
    pub const fn name(self) -> &'static str {
        match self {
            Lane::Crisis => "crisis",
            Lane::Therapeutic => "therapeutic",
            Lane::Realtime => "realtime",
            Lane::Standard => "standard",
            Lane::Background => "background",
        }
    }

    /// The lane's place in [`Lane::ALL`], which is also its digit inside Redis.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The lane at `index` of [`Lane::ALL`].
    pub fn from_index(index: usize) -> Option<Lane> {
        Self::ALL.get(index).copied()
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// No lane has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no lane `{0}`; the lanes are crisis, therapeutic, realtime, standard and background")]
pub struct UnknownLane(pub String);

impl FromStr for Lane {
    type Err = UnknownLane;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|lane| lane.name() == name).ok_or_else(|| UnknownLane(name.to_owned()))
    }
}
