//! Deleting what retention lets go: a little at a time, so that neither the caretaker's other duties nor anybody who
//! writes waits for it, and for as long as there is more, so that no flood outgrows it.

use std::time::Duration;

use tokio::time::Instant;

use crate::{
    ledger::{Expired, JOBS_PER_SWEEP, Ledger},
    state::State,
};

/// The first look for something to delete, after the start: a process that is started again often comes to it too, and
/// one that has just been started has other things to do. In milliseconds.
const FIRST_LOOK_MS: u64 = 60_000;

/// After this long the caretaker sees to its other duties first.
const AT_ONCE: Duration = Duration::from_millis(200);

/// For how long finished jobs are kept, in milliseconds. What was sent with a job and what became of its runs goes with
/// it; what is owed is kept until it is done.
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    /// Jobs that were done or cancelled. Stripe can send an event again for 30 days, so by default a little longer.
    pub done_ms: i64,
    /// Jobs that were given up on.
    pub dead_ms: i64,
    /// Jobs of this kind are kept until they are done: what they say counts, whatever has become of them.
    pub until_done: Option<&'static str>,
    /// Jobs that come again and again and that nobody looks for later.
    pub passing: &'static [Passing],
    /// Between two looks for something to delete; ten minutes by default.
    pub look_every_ms: u64,
}

/// Jobs of one kind about one subject that are kept for a time of their own, whatever has become of them.
#[derive(Debug, Clone, Copy)]
pub struct Passing {
    /// What they do.
    pub kind: &'static str,
    /// Whom or what they concern: by it they are found among millions of others.
    pub subject: &'static str,
    /// For how long they are kept once they are finished, in milliseconds.
    pub keep_ms: i64,
}

impl Default for Retention {
    fn default() -> Self {
        const DAY_MS: i64 = 24 * 60 * 60 * 1_000;
        Self {
            done_ms: 35 * DAY_MS,
            dead_ms: 90 * DAY_MS,
            until_done: None,
            passing: &[],
            look_every_ms: 600_000,
        }
    }
}

/// When there is something to do again.
#[derive(Debug)]
pub(crate) struct Pruning {
    retention: Retention,
    next: Instant,
}

impl Pruning {
    /// What `retention` asks for, from a while after now on.
    pub(crate) fn by(retention: Retention) -> Self {
        let first = Duration::from_millis(retention.look_every_ms.min(FIRST_LOOK_MS));
        Self { retention, next: Instant::now() + first }
    }

    /// Deletes some of what is old enough, if it is time. Then it rests as long as that took if there is more, so that
    /// half of the time belongs to everybody else.
    pub(crate) async fn round(&mut self, ledger: &Ledger) {
        let started = Instant::now();
        if started < self.next {
            return;
        }
        let look_every = Duration::from_millis(self.retention.look_every_ms);
        let rest = match self.some(ledger, started + AT_ONCE).await {
            Ok(true) => started.elapsed(),
            Ok(false) => look_every,
            Err(error) => {
                tracing::warn!(error = %error, "retention could not delete");
                look_every
            }
        };
        self.next = Instant::now() + rest;
    }

    /// Deletes until there is no more, or until `until`; says whether there may be more.
    async fn some(&self, ledger: &Ledger, until: Instant) -> Result<bool, sqlx::Error> {
        let now_ms = ledger.clock.now_ms();
        let Retention { done_ms, dead_ms, until_done, passing, .. } = self.retention;
        let passing = passing.iter().map(|passing| (Expired::Passing(passing), passing.keep_ms));
        let finished = [
            (Expired::In { state: State::Done, but: None }, done_ms),
            (Expired::In { state: State::Cancelled, but: until_done }, done_ms),
            (Expired::In { state: State::Dead, but: until_done }, dead_ms),
        ];
        for (expired, keep_ms) in passing.chain(finished) {
            loop {
                if Instant::now() >= until {
                    return Ok(true);
                }
                let deleted = ledger.prune(expired, now_ms - keep_ms).await?;
                if deleted > 0 {
                    tracing::debug!(deleted, ?expired, "retention");
                }
                if deleted < JOBS_PER_SWEEP {
                    break;
                }
            }
        }
        Ok(false)
    }
}
