//! What a report is made of: plain values, as they were read.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use keepwell_workers::clock::UnixMs;

use super::{access::AccessChecks, period::Period};
use crate::care::{
    grace::GraceReason,
    severity::{Severity, is_late},
};

/// What [`ReportFacts::cut`] calls violations.
pub const VIOLATIONS: &str = "violations";

/// Everything that was read for a report.
#[derive(Debug, Clone, PartialEq)]
pub struct ReportFacts {
    /// The time it is about.
    pub period: Period,
    /// When it was read.
    pub as_of_ms: UnixMs,
    /// The crises that came in the period.
    pub crises: Vec<CrisisFact>,
    /// Crises of the period beyond what one report can hold.
    pub crises_left_out: u64,
    /// The violations that were recorded of crises that came in the period.
    pub violations: Vec<ViolationFact>,
    /// The grace periods that began in the period, as far as they are still remembered.
    pub graces: Vec<GraceFact>,
    /// Violations or grace periods were more than one report can hold, and those beyond are missing.
    pub cut: Vec<&'static str>,
    /// What the audit trail holds of the period.
    pub audit: AuditFacts,
    /// How it is kept.
    pub retention: RetentionFacts,
    /// What seals the data.
    pub sealing: SealingFacts,
    /// Jobs of the period that are still in the ledger, by lane and part of the period.
    pub lanes: Vec<LaneFact>,
    /// Since when the ledger has all of its jobs: what was done earlier may have been let go.
    pub ledger_since_ms: UnixMs,
    /// What became of emergency contacts in the period: how many, by result.
    pub contacts: BTreeMap<String, u64>,
    /// How many names of an event are dropped before it is kept.
    pub dropped_paths: u64,
}

impl ReportFacts {
    /// The crises that were not answered in time, and of which no violation was recorded.
    pub fn unnoticed(&self) -> Unnoticed {
        let noticed: HashSet<&str> = self.violations.iter().map(|violation| violation.job.as_str()).collect();
        let is_missed = |crisis: &&CrisisFact| {
            !crisis.is_in_time()
                && !crisis.is_pending(self.as_of_ms)
                && !noticed.contains(crisis.job.as_str())
        };
        let (given_up, late): (Vec<_>, Vec<_>) =
            self.crises.iter().filter(is_missed).partition(|crisis| crisis.answer == Answer::Failed);
        Unnoticed { late: late.len() as u64, given_up: given_up.len() as u64 }
    }

    /// Whether every crisis that was late was noticed as it happened; `None` if nobody can say.
    pub fn all_noticed(&self) -> Option<bool> {
        let unnoticed = self.unnoticed();
        match (unnoticed.late, unnoticed.given_up) {
            // The violations that are missing here may be among those that one report does not hold.
            _ if self.cut.contains(&VIOLATIONS) => None,
            (0, 0) => Some(true),
            (0, _) => None,
            _ => Some(false),
        }
    }
}

/// How many crises have no violation that should, or may have to, have one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unnoticed {
    /// Answered late, or still not: there should be one.
    pub late: u64,
    /// Given up on. One that was before its time was over has none: that it was is told at once, and kept nowhere.
    pub given_up: u64,
}

/// A crisis that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrisisFact {
    /// The job that answers it.
    pub job: String,
    /// The kind of that job.
    pub kind: String,
    /// How severe.
    pub severity: Severity,
    /// When it came.
    pub came_ms: UnixMs,
    /// How long the answer might take when it came, as that was configured, in milliseconds.
    pub limit_ms: i64,
    /// What became of it.
    pub answer: Answer,
    /// Whether the audit trail has an entry of what it changed; `None` if it may have changed nothing.
    pub audited: Option<bool>,
}

/// What became of a crisis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It was answered.
    Given {
        /// After so many microseconds.
        took_us: u64,
        /// Whether the process that answered it measured that; otherwise it is known to the millisecond.
        measured: bool,
    },
    /// Nothing answers it: its job is dead or was cancelled.
    Failed,
    /// Its job is still owed.
    Owed,
}

impl CrisisFact {
    /// Whether it was answered within its time.
    pub fn is_in_time(&self) -> bool {
        self.took_us().is_some_and(|took_us| !is_late(Duration::from_micros(took_us), self.limit()))
    }

    /// Whether it may still be answered in time at `now_ms`: nothing can be said about it yet.
    pub fn is_pending(&self, now_ms: UnixMs) -> bool {
        let waited_ms = u64::try_from(now_ms.saturating_sub(self.came_ms)).unwrap_or(0);
        self.answer == Answer::Owed && !is_late(Duration::from_millis(waited_ms), self.limit())
    }

    /// How long the answer may take, in milliseconds: as it was configured, and no longer than the protocols allow. A
    /// limit that somebody has loosened makes nothing compliant.
    pub fn allowed_ms(&self) -> u64 {
        u64::try_from(self.limit_ms).unwrap_or(0).min(self.severity.response_limit_ms())
    }

    fn limit(&self) -> Duration {
        Duration::from_millis(self.allowed_ms())
    }

    /// How long the answer took, in microseconds.
    pub fn took_us(&self) -> Option<u64> {
        if let Answer::Given { took_us, .. } = self.answer { Some(took_us) } else { None }
    }
}

/// A crisis that was noticed to be late.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViolationFact {
    /// The job that should have answered it.
    pub job: String,
    /// How severe.
    pub severity: Severity,
    /// When it was noticed.
    pub at_ms: UnixMs,
    /// How long it may take, in milliseconds.
    pub limit_ms: i64,
    /// How long nothing had been answered then, in milliseconds.
    pub took_ms: i64,
}

/// A grace period that began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GraceFact {
    /// Why.
    pub reason: GraceReason,
    /// When it began.
    pub started_ms: UnixMs,
    /// Until when it lasts.
    pub ends_ms: UnixMs,
    /// Its end was seen to.
    pub closed: bool,
}

/// What the audit trail holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditFacts {
    /// Entries of the period, by action.
    pub actions: BTreeMap<String, u64>,
    /// Of these violations, those without an entry.
    pub violations_without_entry: u64,
    /// Entries about what operators did.
    pub by_operators: u64,
    /// Of these, those that do not say who it was.
    pub by_nobody: u64,
    /// What the changes of access in the period left people with.
    pub access: AccessChecks,
    /// Times that operators held the crisis lane up.
    pub crisis_pauses: u64,
    /// Backups of the period that `keepwell backup` made and looked through, as it told.
    pub backups: BackupFacts,
    /// What verifying the chain came to; `None` if it could not be verified.
    pub chain: Option<ChainFacts>,
}

impl AuditFacts {
    /// Times that something was missing which nothing may take away: changes of access that took it, and looks that
    /// found somebody in need without it.
    pub fn interruptions(&self) -> u64 {
        self.access.interruptions() + self.found_missing()
    }

    /// Looks that found somebody in need without what that calls for.
    pub fn found_missing(&self) -> u64 {
        self.count("access.missing")
    }

    /// Entries about `action`.
    pub fn count(&self, action: &str) -> u64 {
        self.actions.get(action).copied().unwrap_or(0)
    }
}

/// Backups that `keepwell backup` made and looked through.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BackupFacts {
    /// How many of the period's days ([`Period::day_of`]) have one.
    pub days: u64,
    /// When the last one was noted.
    pub last_ms: Option<UnixMs>,
}

/// What verifying the trail came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChainFacts {
    /// The first thing that is wrong.
    pub finding: Option<String>,
    /// Blocks that are whole.
    pub blocks: u64,
    /// Entries that are whole and open.
    pub entries: u64,
    /// Whether all blocks of the period were looked at: there may be more than one report verifies.
    pub complete: bool,
}

/// How the trail is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetentionFacts {
    /// For how many days it has to be kept.
    pub required_days: i64,
    /// For how many days it is kept.
    pub kept_days: i64,
    /// Whether the database refuses to delete anything younger.
    pub refuses_deletion: bool,
}

/// What seals the data.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SealingFacts {
    /// Rows that are sealed with a key of the ring.
    pub sealed: u64,
    /// Rows that name a key that is not in the ring.
    pub by_unknown_key: u64,
}

/// Jobs of one lane that were recorded in one part of the period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaneFact {
    /// Which part.
    pub part: usize,
    /// The lane's name.
    pub lane: &'static str,
    /// What became of them.
    pub state: &'static str,
    /// How many.
    pub count: u64,
}
