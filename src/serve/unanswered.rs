//! Crises that are not answered and that nobody here watches: they came to another process, or to one that is no more,
//! or what should answer them is dead; and with these, dead jobs about emergency contacts. And the other way round:
//! what is granted here for crises that another process has answered. The ledger knows all of them, whoever took them;
//! it is asked beside the work.

mod answered;
mod dead;
mod told;

use std::{error::Error, path::Path, time::Duration};

use keepwell_workers::{database::Database, engine::Engine, id::JobId, lane::Lane};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::watchers::Watchers;
use answered::Answered;
use dead::Dead;

/// How often the ledger is asked, and so how much later than its own process another one grants what is missed.
const ROUND: Duration = Duration::from_secs(5);

/// How long each answer of the ledger may take.
const LEDGER_TIMEOUT: Duration = Duration::from_secs(2);

/// Crises that are read at once.
const PAGE: u32 = 256;

/// Pages that are read in one round, at most. The next round goes on behind them.
const PAGES_MAX: usize = 4;

/// Why the ledger did not answer.
type Unread = Box<dyn Error + Send + Sync>;

/// Who asks.
pub(super) struct Unanswered {
    watchers: Watchers,
    engine: Engine,
    /// Behind which of those that are owed the next round goes on.
    after: Option<JobId>,
    answered: Answered,
    dead: Dead,
}

impl Unanswered {
    /// One that asks the ledger of `engine`, which is in `database`, and notes in `state_dir` what it has told of.
    pub(super) fn new(watchers: Watchers, engine: Engine, database: Database, state_dir: &Path) -> Self {
        Self {
            answered: Answered::new(watchers.clone(), engine.clone()),
            dead: Dead::new(watchers.clone(), engine.clone(), database, state_dir),
            watchers,
            engine,
            after: None,
        }
    }

    /// Asks until `stop`, at first for those that were left behind when this process began.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut rounds = interval(ROUND);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = rounds.tick() => {}
            }
            within_time(self.watch_owed()).await;
            within_time(self.answered.look()).await;
            within_time(self.dead.look()).await;
        }
    }

    /// Whose time is over is missed at once; the others are looked at in another round.
    async fn watch_owed(&mut self) -> Result<(), Unread> {
        for _ in 0..PAGES_MAX {
            let jobs = self.engine.ledger().owed_jobs(Lane::Crisis, self.after, PAGE).await?;
            for job in &jobs {
                let came_ms = self.engine.ledger().here_ms(job.id, job.created_ms);
                self.watchers.found(job, came_ms);
            }
            let is_full = jobs.len() >= PAGE as usize;
            self.after = jobs.last().map(|job| job.id).filter(|_| is_full);
            if !is_full {
                break;
            }
        }
        Ok(())
    }
}

async fn within_time(look: impl Future<Output = Result<(), Unread>>) {
    if !matches!(timeout(LEDGER_TIMEOUT, look).await, Ok(Ok(()))) {
        tracing::debug!("the ledger does not say now which crises are answered");
    }
}
