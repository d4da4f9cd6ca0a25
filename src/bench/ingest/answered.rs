//! How the daemon itself has measured and recorded its answers to crises.

use std::{
    collections::HashSet,
    fmt::{self, Display},
};

use hdrhistogram::Histogram;
use keepwell_config::{Config, Purpose, Sources};
use keepwell_jobs::{care::report::period::Period, kinds, store::reports::read_facts};
use keepwell_workers::{
    clock::{Clock as _, SystemClock, UnixMs},
    database::Database,
    engine::Engine,
    ledger::JobFilter,
    state::State,
};

use super::{
    super::{Failure, rig::keys},
    flood::{p99_9_ms, words},
};
use crate::serve::report_settings;

/// What the crisis report is made of, as far as it is about times.
pub(super) struct Answered {
    /// From a crisis being recorded to the commit of what it changes, in microseconds.
    committed: Histogram<u64>,
    /// Crises that took longer than they may.
    over_limit: usize,
    /// Those of them of which a violation is on record.
    recorded: usize,
}

impl Answered {
    /// Reads it of all crises since `began_ms`. The daemon has ended, and what it could not do by then is owed.
    pub(super) async fn read(
        database: &Database,
        engine: &Engine,
        began_ms: UnixMs,
    ) -> Result<Self, Failure> {
        let config = Config::load(&Sources::new([], Purpose::Client))?.config;
        let now_ms = SystemClock.now_ms();
        let period = Period { from_ms: began_ms, to_ms: now_ms + 1 };
        let facts = read_facts(database, &keys(), &report_settings(&config), period, None, now_ms).await?;
        let violations: HashSet<&str> =
            facts.violations.iter().map(|violation| violation.job.as_str()).collect();
        let (mut committed, mut over_limit, mut recorded) = (Histogram::new(3)?, 0, 0);
        for crisis in facts.crises.iter().filter(|crisis| crisis.kind == kinds::CRISIS_SIGNALLED) {
            if let Some(took_us) = crisis.took_us() {
                committed.record(took_us)?;
            }
            if !crisis.is_in_time() {
                over_limit += 1;
                recorded += usize::from(violations.contains(crisis.job.as_str()));
            }
        }
        let owed = JobFilter {
            state: Some(State::Owed),
            kind: Some(kinds::CRISIS_ANSWERED_LATE.to_owned()),
            ..JobFilter::default()
        };
        recorded += usize::try_from(engine.ledger().list(&owed, None, 1).await?.total)?;
        Ok(Self { committed, over_limit, recorded })
    }
}

impl Display for Answered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} committed_p99.9_ms={:.3} over_limit={} recorded_as_violation={}",
            words("committed", &self.committed),
            p99_9_ms(&self.committed),
            self.over_limit,
            self.recorded,
        )
    }
}
