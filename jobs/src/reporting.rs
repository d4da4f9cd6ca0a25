//! Reports that are made and delivered by jobs: what the daemon has to bring for it.

use std::fmt;

use async_trait::async_trait;
use keepwell_workers::{clock::UnixMs, id::JobId, outcome::Outcome};

use crate::{care::report::period::Period, store::reports::ReportContent};

/// Which report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReportKind {
    /// Crisis safety (003).
    Crisis,
    /// What was done, what failed, and what is late.
    Operations,
}

impl ReportKind {
    /// Every kind.
    pub const ALL: [ReportKind; 2] = [ReportKind::Crisis, ReportKind::Operations];

    /// Its name on the command line, in payloads and in the table.
    pub const fn name(self) -> &'static str {
        match self {
            ReportKind::Crisis => "crisis",
            ReportKind::Operations => "operations",
        }
    }

    /// The kind called `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// Why a report could not be made.
pub type ReportError = Box<dyn std::error::Error + Send + Sync>;

/// Where reports are made and sent from.
#[async_trait]
pub trait ReportDesk: fmt::Debug + Send + Sync + 'static {
    /// What time it is; a report is about what is over.
    fn now_ms(&self) -> UnixMs;

    /// What a report of this kind says about `period`. Reads for as long as it takes and changes nothing that a person
    /// would notice.
    async fn content(&self, kind: ReportKind, period: Period) -> Result<ReportContent, ReportError>;

    /// Whether reports go anywhere by themselves.
    fn delivers(&self) -> bool;

    /// Brings the report `id` wherever reports go, under the key of `job`. An `Err` is how the run ends.
    async fn deliver(&self, id: &str, job: JobId) -> Result<(), Outcome>;
}
