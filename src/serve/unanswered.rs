//! Crises that are not answered and that nobody here watches: they came to another process, or to one that is no more,
//! or what should answer them is dead. The ledger knows all of them, whoever took them; it is asked beside the work.

use std::{error::Error, time::Duration};

use keepwell_jobs::{care::emergency::GRANTED_MS, kinds, watch::recorded_urgency};
use keepwell_workers::{engine::Engine, id::JobId, lane::Lane};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::watchers::Watchers;

/// How often the ledger is asked for crises that it owes, and so how much later than its own process another one grants
/// what is missed.
const ROUND: Duration = Duration::from_secs(5);

/// In every so many rounds it is asked for those that are dead, which takes it longer: once a minute.
const ROUNDS_PER_LOOK_AT_DEAD: u64 = 12;

/// How long the ledger may take.
const LEDGER_TIMEOUT: Duration = Duration::from_secs(2);

/// Crises that are read at once.
const PAGE: u32 = 256;

/// Pages that are read in one round, at most. The next round goes on behind them.
const PAGES_MAX: usize = 4;

/// Who asks.
pub(super) struct Unanswered {
    pub(super) watchers: Watchers,
    pub(super) engine: Engine,
}

impl Unanswered {
    /// Has them watched until `stop`, at first those that were left behind when this process began.
    pub(super) async fn run(self, stop: CancellationToken) {
        let mut rounds = interval(ROUND);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut rounds_until_dead, mut after) = (0, None);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = rounds.tick() => {}
            }
            if !matches!(timeout(LEDGER_TIMEOUT, self.watch_owed(&mut after)).await, Ok(Ok(()))) {
                tracing::debug!("the ledger does not say now which crises are not answered");
            }
            if rounds_until_dead > 0 {
                rounds_until_dead -= 1;
            } else if matches!(timeout(LEDGER_TIMEOUT, self.watch_dead()).await, Ok(Ok(()))) {
                rounds_until_dead = ROUNDS_PER_LOOK_AT_DEAD - 1;
            }
        }
    }

    /// Goes on behind `after`. Whose time is over is missed at once; the others are looked at in another round.
    async fn watch_owed(&self, after: &mut Option<JobId>) -> Result<(), Box<dyn Error + Send + Sync>> {
        let Self { watchers, engine } = self;
        for _ in 0..PAGES_MAX {
            let jobs = engine.ledger().owed_jobs(Lane::Crisis, *after, PAGE).await?;
            for job in &jobs {
                watchers.found(job);
            }
            *after = jobs.last().map(|job| job.id);
            if jobs.len() < PAGE as usize {
                *after = None;
                break;
            }
        }
        Ok(())
    }

    /// However many of our own are dead, they hide none. What is granted because of them ends a day after they died,
    /// however often a process begins anew.
    async fn watch_dead(&self) -> Result<(), Box<dyn Error + Send + Sync>> {
        let Self { watchers, engine } = self;
        let since_ms = watchers.clock.now_ms().saturating_sub(GRANTED_MS);
        for (job, died_ms) in engine.ledger().dead_since(Lane::Crisis, since_ms, kinds::OUR_OWN, PAGE).await?
        {
            if recorded_urgency(&job).is_some() && !watchers.care.watch.watches(job.id) {
                watchers.failed(&job, died_ms);
            }
        }
        Ok(())
    }
}
