//! What the engine does by itself, quietly, so that operators need not: rebuilds lanes that miss something, buries
//! what is quarantined, notices a Redis that is not the one it was, tells Redis which lanes are held up, folds the log
//! back, deletes what retention lets go.
//!
//! A rebuild of a large ledger takes a while, and goes on beside everything else.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::time::{Instant, Interval, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    backoff::shortened,
    clock::UnixMs,
    database::turn::Urgency,
    engine::Pulse,
    id::JobId,
    lanes::{Behind, Bells, LaneError, Lanes, Trouble},
    ledger::{Ledger, Loaded, QUARANTINED},
    observer::{Observer, RunEnded},
    pool::Member,
    pruning::{Pruning, Retention},
};

/// How often the caretaker looks around.
const ROUND: Duration = Duration::from_millis(250);

/// How long a look at the ledger may take before it counts as away. The lanes have a limit of their own.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// Between two comparisons of what is owed with what the lanes hold.
const AUDIT_EVERY: Duration = Duration::from_secs(60);

/// Waits before a rebuild that failed is tried again; each is shortened by chance by up to a half.
const REBUILD_DELAY_MIN: Duration = Duration::from_millis(250);
const REBUILD_DELAY_MAX: Duration = Duration::from_secs(5);

/// What the last look at the database and at Redis found, so that the log has a line for each change and not for each
/// look.
#[derive(Debug, Default)]
struct Seen {
    database_life: Option<String>,
    answered: bool,
    life: Option<String>,
    trouble: Option<Trouble>,
}

/// When a rebuild may be tried again, and why the last one failed.
#[derive(Debug, Default)]
struct Rebuilds {
    next: Option<Instant>,
    delay: Duration,
    failed: Option<Trouble>,
}

impl Rebuilds {
    fn are_due(&self) -> bool {
        self.next.is_none_or(|next| Instant::now() >= next)
    }

    /// Puts the next one off; `true` if this is another failure than the last.
    fn failed(&mut self, trouble: Trouble) -> bool {
        self.delay = (self.delay * 2).clamp(REBUILD_DELAY_MIN, REBUILD_DELAY_MAX);
        self.next = Some(Instant::now() + shortened(self.delay));
        self.failed.replace(trouble) != Some(trouble)
    }
}

pub(crate) struct Caretaker {
    pub(crate) ledger: Ledger,
    pub(crate) lanes: Lanes,
    pub(crate) member: Arc<Member>,
    pub(crate) bells: Arc<Bells>,
    pub(crate) behind: Arc<Behind>,
    pub(crate) pulse: Arc<Pulse>,
    pub(crate) retention: Retention,
    pub(crate) observer: Arc<dyn Observer>,
    /// Whether this process runs jobs. Only then does it delete, audit and bury on its rounds; any process rebuilds
    /// (one at a time, by the lanes' lock) when placements of its own may be missing.
    pub(crate) works: bool,
    pub(crate) stop: CancellationToken,
}

fn rounds() -> Interval {
    let mut rounds = interval(ROUND);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    rounds
}

impl Caretaker {
    /// Runs until stopped. A rebuild is broken off then: the next life compares the lanes by itself.
    pub(crate) async fn run(self) {
        tokio::join!(self.stop.run_until_cancelled(self.rebuild_when_due()), self.go_round());
    }

    /// Also in a process that runs no jobs: its own placements may have been lost.
    async fn rebuild_when_due(&self) {
        let mut looks = rounds();
        let mut rebuilds = Rebuilds::default();
        loop {
            looks.tick().await;
            self.behind.mark_doubts(Instant::now());
            if self.behind.is_marked() && rebuilds.are_due() {
                self.bury_quarantined().await;
                self.rebuild(&mut rebuilds).await;
            }
        }
    }

    /// Everything else.
    async fn go_round(&self) {
        let mut rounds = rounds();
        let mut seen = Seen::default();
        let mut short_before = false;
        let mut audited = Instant::now();
        let mut pruning = Pruning::by(self.retention);
        let mut round = 0_u64;
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return,
                _ = rounds.tick() => {}
            }
            if round.is_multiple_of(4) {
                self.probe(&mut seen).await;
            }
            // Often: what it leaves for the disk to write at once, a crisis that is recorded meanwhile waits behind.
            if let Err(error) = self.ledger.database.checkpoint().await {
                tracing::debug!(error = %error, "no checkpoint");
            }
            round += 1;
            if !self.works {
                continue;
            }
            if round.is_multiple_of(8) {
                self.bury_quarantined().await;
            }
            if audited.elapsed() >= AUDIT_EVERY {
                audited = Instant::now();
                // While they are compared the lanes hold less, and that is known.
                short_before = !self.behind.is_marked() && self.audit(short_before).await;
            }
            pruning.round(&self.ledger).await;
        }
    }

    async fn probe(&self, seen: &mut Seen) {
        let ledger = timeout(PROBE_TIMEOUT, self.ledger.life()).await;
        let ok = matches!(ledger, Ok(Ok(_)));
        match (self.pulse.ledger_ok.swap(ok, Ordering::AcqRel), ok) {
            (true, false) => tracing::warn!("the database is away; nothing can be recorded"),
            (false, true) => {
                // A server that died may have lost its last relaxed commits: those jobs are owed again, and the lanes
                // were told that they are done.
                tracing::info!("the database answers; comparing the lanes with the ledger");
                self.behind.mark();
            }
            _ => {}
        }
        if let Ok(Ok(life)) = ledger {
            if seen.database_life.as_ref().is_some_and(|before| *before != life) {
                tracing::warn!(
                    "the database was restarted or lost connections; comparing the lanes with the ledger"
                );
                self.behind.mark();
            }
            seen.database_life = Some(life);
        }
        let lanes = match self.lanes.server_life().await {
            Ok(life) => self.lanes.check(&self.ledger.clocks, life.as_deref()).await.map(|()| life),
            Err(error) => Err(error),
        };
        self.pulse.lanes_ok.store(lanes.is_ok(), Ordering::Release);
        match lanes {
            Ok(life) => {
                self.greet(seen, life);
                // Whoever paused or resumed a lane while Redis was away may be another process, or dead by now.
                if ok && let Err(error) = self.lanes.compare_pauses(&self.ledger).await {
                    tracing::debug!(error = %error, "whether the right lanes are held up is not known");
                }
            }
            Err(error) => {
                let trouble = error.trouble().unwrap_or(Trouble::Other);
                if seen.trouble.replace(trouble) != Some(trouble) {
                    tracing::warn!(
                        error = %error,
                        hint = error.hint(),
                        "redis cannot be used; jobs are recorded, and crisis jobs run from the ledger"
                    );
                }
            }
        }
    }

    /// Redis answers, as the server `life` if it says so.
    fn greet(&self, seen: &mut Seen, life: Option<String>) {
        if seen.trouble.take().is_some() || !seen.answered {
            tracing::info!("redis answers");
        }
        if life.is_none() && !seen.answered {
            tracing::info!(
                "redis does not say which server it is; one that was emptied is noticed a little later"
            );
        }
        seen.answered = true;
        if seen.life.is_some() && life.is_some() && seen.life != life {
            tracing::warn!("redis was restarted or failed over; comparing the lanes with the ledger");
            self.behind.mark();
        }
        seen.life = life.or(seen.life.take());
    }

    async fn rebuild(&self, rebuilds: &mut Rebuilds) {
        // Whatever goes missing from now on has to be found by another round.
        let upto = self.behind.marked();
        let started = Instant::now();
        match self.lanes.rebuild(&self.ledger, self.member.node()).await {
            Ok(rebuilt) => {
                self.behind.mend(upto);
                *rebuilds = Rebuilds::default();
                self.bells.ring_all();
                tracing::info!(
                    owed = rebuilt.owed,
                    placed = rebuilt.placed,
                    duration_ms = started.elapsed().as_secs_f64() * 1_000.0,
                    "compared the lanes with the ledger"
                );
            }
            Err(error) => {
                // What there was room for can be worked off.
                self.bells.ring_all();
                let trouble = error.trouble().unwrap_or(Trouble::Other);
                let elsewhere = matches!(error, LaneError::RebuildElsewhere);
                // That Redis is away is said by the probe.
                if rebuilds.failed(trouble) && trouble != Trouble::Away && !elsewhere {
                    tracing::warn!(
                        error = %error,
                        hint = error.hint(),
                        "jobs that the lanes miss cannot all be put back now; trying again until they are"
                    );
                }
            }
        }
    }

    /// The ledger first, then the lanes: a job that dies in between is reported twice rather than lost.
    async fn bury_quarantined(&self) {
        let Ok(ids) = self.lanes.quarantined().await else { return };
        for id in ids {
            let now_ms = self.ledger.clock.now_ms();
            match self.bury(id, now_ms).await {
                Ok(()) => {
                    if let Err(error) = self.lanes.release_quarantined(id).await {
                        tracing::debug!(error = %error, "a quarantined job is buried but still listed");
                    }
                }
                Err(error) => {
                    tracing::warn!(error = %error, job.id = %id, "a quarantined job cannot be buried yet");
                }
            }
        }
    }

    /// Whoever hears of runs hears of this one's end too: somebody may wait for what the job was to do.
    async fn bury(&self, id: JobId, now_ms: UnixMs) -> Result<(), sqlx::Error> {
        let job = self.ledger.load(&[id], Urgency::General).await?.pop().map(Loaded::job);
        if !self.ledger.quarantine(id, self.member.node(), now_ms).await? {
            return Ok(());
        }
        tracing::error!(job.id = %id, "{QUARANTINED}");
        if let Some(job) = job {
            let waited = self.ledger.clocks.since(job.id, job.created_ms, now_ms);
            self.observer.run_ended(&RunEnded { job: &job, outcome: "dead", waited, ran: Duration::ZERO });
        }
        Ok(())
    }

    /// More owed than held, twice in a row, means that the lanes lost something unnoticed.
    async fn audit(&self, short_before: bool) -> bool {
        let (Ok(held), Ok(owed)) = (self.lanes.held().await, self.ledger.owed_count().await) else {
            return false;
        };
        let short = owed > held;
        if short && short_before {
            tracing::warn!(owed, held, "the lanes hold less than is owed");
            self.behind.mark();
        }
        short
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rebuild_that_fails_is_put_off_further_each_time_and_complained_about_once() {
        let mut rebuilds = Rebuilds::default();
        assert!(rebuilds.are_due());
        assert!(rebuilds.failed(Trouble::Full) && !rebuilds.failed(Trouble::Full));
        assert!(!rebuilds.are_due());
        let first = rebuilds.delay;
        for _ in 0..20 {
            rebuilds.failed(Trouble::Full);
        }
        assert!(rebuilds.delay > first && rebuilds.delay == REBUILD_DELAY_MAX);
        assert!(rebuilds.failed(Trouble::Away));
    }
}
