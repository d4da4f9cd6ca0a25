//! What an operations report is made of: plain values, as they were read.

use keepwell_workers::clock::UnixMs;

use super::{
    facts::LaneFact,
    operations::{DeadJob, ErrorFigures, SlowJob},
    period::Period,
};

/// Everything that was read for the report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperationsFacts {
    /// The time it is about.
    pub period: Period,
    /// When it was read.
    pub as_of_ms: UnixMs,
    /// Since when the ledger has all of its jobs.
    pub ledger_since_ms: UnixMs,
    /// Jobs by lane and part of the period.
    pub lanes: Vec<LaneFact>,
    /// Jobs by kind and state.
    pub kinds: Vec<KindFact>,
    /// Runs that did not end in `done`, by kind and outcome.
    pub runs: Vec<RunFact>,
    /// Errors by kind and text, in any order.
    pub errors: Vec<ErrorFigures>,
    /// Errors of some hours were too various to be counted completely.
    pub errors_cut: bool,
    /// Slow jobs, in any order.
    pub slowest: Vec<SlowJob>,
    /// Dead jobs, the newest first.
    pub dead: Vec<DeadJob>,
    /// How schedules stand.
    pub schedules: Vec<ScheduleFact>,
}

/// Jobs of one kind in one state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KindFact {
    /// Which kind.
    pub kind: String,
    /// What has become of them.
    pub state: &'static str,
    /// How many.
    pub count: u64,
    /// From recording to the end, all of them together, in milliseconds; 0 for what has not ended.
    pub took_ms: u64,
}

/// Runs of one kind that ended in one way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunFact {
    /// Of which kind.
    pub kind: String,
    /// `retry`, `snooze`, `cancel`, `dead`, `crashed` or `released`.
    pub outcome: String,
    /// How many.
    pub count: u64,
}

/// How a schedule stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduleFact {
    /// What it is called.
    pub name: String,
    /// The last tick that fired.
    pub last_tick_ms: Option<UnixMs>,
    /// The first tick that is not decided on.
    pub next_tick_ms: Option<UnixMs>,
    /// Ticks that have fired, ever.
    pub fired: u64,
    /// Ticks that were left out, ever.
    pub skipped: u64,
    /// It is held up.
    pub paused: bool,
    /// It leaves out its ticks, because the job of an earlier one is still owed.
    pub held_back: bool,
    /// It was seen by a ticker.
    pub known: bool,
}
