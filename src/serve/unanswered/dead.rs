//! Crises whose job is dead: whoever's they are has the basic set for a day from then on, however often a process
//! begins anew. Each is told of once, also one that died while nobody was there to say so. What was told is known by
//! the alert: what died while that was still being seen is a part of it, and whoever looks into it finds them all.

use keepwell_jobs::{alerts::rules, care::emergency::GRANTED_MS, kinds, store::alerts::last_seen_ms};
use keepwell_workers::{clock::UnixMs, database::Database, engine::Engine, id::JobId, lane::Lane};

use super::{PAGE, PAGES_MAX, Unread, Watchers};

/// Rounds from the end of one walk through the dead to the beginning of the next: a minute.
const ROUNDS_BETWEEN_WALKS: u64 = 12;

/// Walks through the dead.
pub(super) struct Dead {
    watchers: Watchers,
    engine: Engine,
    database: Database,
    rounds_until_walk: u64,
    /// Behind which the walk goes on.
    after: Option<JobId>,
    /// Until when deaths were told of before this process began; asked once.
    told_until_ms: Option<UnixMs>,
    /// Those in this walk that were told of before.
    told_before: usize,
}

impl Dead {
    pub(super) fn new(watchers: Watchers, engine: Engine, database: Database) -> Self {
        let (after, told_until_ms) = (None, None);
        Self { watchers, engine, database, rounds_until_walk: 0, after, told_until_ms, told_before: 0 }
    }

    /// Walks on, if it is time. However many of our own are dead, they hide none.
    pub(super) async fn look(&mut self) -> Result<(), Unread> {
        self.rounds_until_walk = self.rounds_until_walk.saturating_sub(1);
        if self.rounds_until_walk > 0 {
            return Ok(());
        }
        let told_until_ms = self.told_until_ms().await?;
        let since_ms = self.watchers.clock.now_ms().saturating_sub(GRANTED_MS);
        for _ in 0..PAGES_MAX {
            let ledger = self.engine.ledger();
            let page = ledger.dead_since(Lane::Crisis, since_ms, kinds::OUR_OWN, self.after, PAGE).await?;
            let mut is_news = false;
            for (job, died_ms) in &page.jobs {
                if self.watchers.care.watch.watches(job.id) {
                    continue;
                }
                if *died_ms <= told_until_ms {
                    self.told_before += usize::from(self.watchers.failed_before(job, *died_ms));
                } else {
                    is_news |= self.watchers.failed(job, *died_ms);
                }
            }
            if is_news {
                self.watchers.alert_failed();
            }
            self.after = page.next;
            if self.after.is_none() {
                self.end_walk();
                break;
            }
        }
        Ok(())
    }

    fn end_walk(&mut self) {
        self.rounds_until_walk = ROUNDS_BETWEEN_WALKS;
        let crises = std::mem::take(&mut self.told_before);
        if crises > 0 {
            tracing::warn!(
                crises,
                "the basic set is granted from memory again for crises that died before and were told of then; \
                 `keepwell job list --lane crisis --state dead` says which"
            );
        }
    }

    async fn told_until_ms(&mut self) -> Result<UnixMs, Unread> {
        if let Some(known_ms) = self.told_until_ms {
            return Ok(known_ms);
        }
        let told_ms = last_seen_ms(&self.database, &rules::CRISIS_GRANTED_FROM_MEMORY).await?;
        Ok(*self.told_until_ms.insert(told_ms.unwrap_or(UnixMs::MIN)))
    }
}
