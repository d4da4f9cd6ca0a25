//! The ledger: what is owed. Every job whose loss would matter has a row here from the moment somebody was told that it
//! was received until retention takes it, and it is the truth: the inbox, the outbox, the archive and the search.

mod at_once;
mod attempts;
mod bulk;
mod commit;
mod copied;
mod effects;
mod failures;
mod history;
mod load;
mod owed;
mod pauses;
mod query;
mod record;
mod recording;
mod reseal;
mod schedules;
mod settle;
mod states;
mod unfinished;
mod upkeep;
mod waiting;

use sha2::{Digest, Sha256};

pub(crate) use attempts::fit;
pub(crate) use bulk::JOBS_PER_STEP;
pub(crate) use commit::{CommitterTask, committer};
pub use copied::LedgerExtent;
pub use failures::{DeadJob, ErrorCount, FinishedJob, KindCount, RunCount};
pub use history::{LaneCount, PastJob};
pub(crate) use load::Loaded;
pub use load::{DeadOf, DeadPage};
pub(crate) use owed::QUARANTINED;
pub(crate) use pauses::LanePause;
pub use query::{Attempt, JobFilter, JobPage, JobView, LedgerTotals};
pub use record::SealedJob;
pub(crate) use recording::Recording;
pub use reseal::PayloadKey;
pub use schedules::{FireError, ScheduleMoved, SchedulePause, ScheduleRow, ScheduleStep};
pub use settle::{Settled, Verdict};
pub use unfinished::{Unfinished, unfinished};
pub(crate) use upkeep::{Expired, JOBS_PER_SWEEP};
pub use waiting::{CRISIS_RECORDING_KEPT_MS, Committer, EnqueueError, RECORDING_TIMEOUT_MS};

use crate::{
    clock::{SharedClock, UnixMs},
    clocks::Clocks,
    database::{Database, Dialect, MigrationFile},
    handler::Registry,
    id::JobId,
    job::NewJob,
    seal::{KeyRing, SealError},
};

/// The ledger's own tables.
pub const MIGRATIONS: &[MigrationFile] = &[
    MigrationFile {
        version: 1,
        name: "ledger",
        sqlite: include_str!("../../../migrations/sqlite/0001_ledger.sql"),
        postgres: include_str!("../../../migrations/postgres/0001_ledger.sql"),
    },
    MigrationFile {
        version: 7,
        name: "schedules",
        sqlite: include_str!("../../../migrations/sqlite/0007_schedules.sql"),
        postgres: include_str!("../../../migrations/postgres/0007_schedules.sql"),
    },
    MigrationFile {
        version: 12,
        name: "lane_pauses",
        sqlite: include_str!("../../../migrations/sqlite/0012_lane_pauses.sql"),
        postgres: include_str!("../../../migrations/postgres/0012_lane_pauses.sql"),
    },
];

/// The condition "is owed" where jobs are looked up by their ids. Written so that no database takes the index of what
/// is owed for it: PostgreSQL does as long as its statistics are from before a flood (few are owed, they say), and then
/// reads the whole flood for every lookup. Seen in a drain of 60 000 jobs: 2 000 a second before its statistics were
/// renewed, some 30 000 after.
pub(crate) const IS_OWED: &str = "state || '' = 'owed'";

/// The ledger in one database. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Ledger {
    pub(crate) database: Database,
    pub(crate) keys: KeyRing,
    pub(crate) clock: SharedClock,
    pub(crate) registry: Registry,
    /// What the others' clocks show.
    pub(crate) clocks: Clocks,
}

impl Ledger {
    /// The ledger in `database`, its payloads sealed with `keys`.
    pub fn new(database: Database, keys: KeyRing, clock: SharedClock, registry: Registry) -> Self {
        // Who shares a file is on one machine.
        let clocks = Clocks::new(database.dialect() == Dialect::Sqlite);
        Self { database, keys, clock, registry, clocks }
    }

    /// The instant `at_ms` of the clock that recorded the job `id`, on the clock of this process; unchanged as long as
    /// nobody has compared them.
    pub fn here_ms(&self, id: JobId, at_ms: UnixMs) -> UnixMs {
        at_ms.saturating_sub(self.clocks.to_recorders_ms(id).unwrap_or(0))
    }

    /// Gives `job` its id and seals its payload.
    pub(crate) fn seal(&self, job: NewJob) -> Result<SealedJob, SealError> {
        SealedJob::seal(job, &self.keys, self.clocks.own(), self.clock.now_ms())
    }
}

/// The eight bytes by which the lanes know a turn. Two turns that collide merely take turns with each other.
pub(crate) fn turn_number(turn: &str) -> i64 {
    let digest = Sha256::digest(turn.as_bytes());
    // A SHA-256 digest has 32 bytes.
    digest[..8].iter().fold(0_i64, |number, byte| (number << 8) | i64::from(*byte))
}
