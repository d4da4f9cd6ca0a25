//! What the engine tells whoever measures it.

use std::time::Duration;

use crate::job::Job;

/// The end of one run. A job that is quarantined ends as `dead` after a run of no length: nobody could tell of its
/// runs.
#[derive(Debug)]
pub struct RunEnded<'j> {
    /// The job that was run.
    pub job: &'j Job,
    /// `done`, `retry`, `snooze`, `cancel`, `dead`, `nothing_owed` or `unsettled`.
    pub outcome: &'static str,
    /// From when the job was recorded to when its handler started, on one clock; `None` if another process has recorded
    /// it and nobody knows what its clock shows.
    pub waited: Option<Duration>,
    /// From when its handler started to when the ledger had settled it.
    pub ran: Duration,
}

impl RunEnded<'_> {
    /// From when the job was recorded to when the ledger had settled it; `None` as [`RunEnded::waited`] is.
    pub fn took(&self) -> Option<Duration> {
        Some(self.waited? + self.ran)
    }
}

/// Hears of everything that the engine does and that is worth counting. Must return at once.
pub trait Observer: Send + Sync + 'static {
    /// A run has ended.
    fn run_ended(&self, ended: &RunEnded<'_>);

    /// Somebody has cancelled jobs: nobody will run them, so no run of theirs ends. Which they are, the ledger knows.
    fn cancelled(&self) {}
}

/// Hears nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unobserved;

impl Observer for Unobserved {
    fn run_ended(&self, _: &RunEnded<'_>) {}
}
