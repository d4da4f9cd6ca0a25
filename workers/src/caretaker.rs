//! What the engine does by itself, quietly, so that operators need not: rebuilds lanes that miss something, buries
//! what is quarantined, notices a Redis that is not the one it was, folds the log back, deletes what retention lets
//! go.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    engine::Pulse,
    lanes::{Bells, LaneError, Lanes},
    ledger::Ledger,
    pool::Member,
    state::State,
};

/// How often the caretaker looks around.
const ROUND: Duration = Duration::from_millis(250);

/// How long a look at the ledger or the lanes may take before they count as away.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// Between two comparisons of what is owed with what the lanes hold.
const AUDIT_EVERY: Duration = Duration::from_secs(60);

/// Between two rounds of deletion.
const PRUNE_EVERY: Duration = Duration::from_secs(600);

/// Batches deleted in one round.
const PRUNE_BATCHES_MAX: u32 = 200;

/// For how long finished jobs are kept, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    /// Jobs that were done or cancelled. Stripe can send an event again for 30 days, so by default a little longer.
    pub done_ms: i64,
    /// Jobs that were given up on.
    pub dead_ms: i64,
}

impl Default for Retention {
    fn default() -> Self {
        const DAY_MS: i64 = 24 * 60 * 60 * 1_000;
        Self { done_ms: 35 * DAY_MS, dead_ms: 90 * DAY_MS }
    }
}

pub(crate) struct Caretaker {
    pub(crate) ledger: Ledger,
    pub(crate) lanes: Lanes,
    pub(crate) member: Arc<Member>,
    pub(crate) bells: Arc<Bells>,
    pub(crate) behind: Arc<AtomicBool>,
    pub(crate) pulse: Arc<Pulse>,
    pub(crate) retention: Retention,
    /// Whether this process runs jobs. Only then does it delete, audit and bury on its rounds; any process rebuilds
    /// (one at a time, by the lanes' lock) when placements of its own may be missing.
    pub(crate) works: bool,
    pub(crate) stop: CancellationToken,
}

impl Caretaker {
    /// Runs until stopped.
    pub(crate) async fn run(self) {
        let mut rounds = tokio::time::interval(ROUND);
        rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut database_life, mut server_life) = (None, None);
        let mut short_before = false;
        let (mut audited, mut pruned) = (Instant::now(), Instant::now());
        let mut round = 0_u64;
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return,
                _ = rounds.tick() => {}
            }
            if round.is_multiple_of(4) {
                self.probe(&mut database_life, &mut server_life).await;
                if let Err(error) = self.ledger.database.checkpoint().await {
                    tracing::debug!(error = %error, "no checkpoint");
                }
            }
            round += 1;
            // Also in a process that runs no jobs: its own placements may have been lost.
            if self.behind.load(Ordering::Acquire) {
                self.bury_quarantined().await;
                self.rebuild().await;
            }
            if !self.works {
                continue;
            }
            if round.is_multiple_of(8) {
                self.bury_quarantined().await;
            }
            if audited.elapsed() >= AUDIT_EVERY {
                audited = Instant::now();
                short_before = self.audit(short_before).await;
            }
            if pruned.elapsed() >= PRUNE_EVERY {
                pruned = Instant::now();
                self.prune().await;
            }
        }
    }

    async fn probe(&self, database_life: &mut Option<String>, server_life: &mut Option<String>) {
        let ledger = timeout(PROBE_TIMEOUT, self.ledger.life()).await;
        let ok = matches!(ledger, Ok(Ok(_)));
        match (self.pulse.ledger_ok.swap(ok, Ordering::AcqRel), ok) {
            (true, false) => tracing::warn!("the database is away; nothing can be recorded"),
            (false, true) => {
                // A server that died may have lost its last relaxed commits: those jobs are owed again, and the lanes
                // were told that they are done.
                tracing::info!("the database answers; comparing the lanes with the ledger");
                self.behind.store(true, Ordering::Release);
            }
            _ => {}
        }
        if let Ok(Ok(life)) = ledger {
            if database_life.as_ref().is_some_and(|before| *before != life) {
                tracing::warn!(
                    "the database was restarted or lost connections; comparing the lanes with the ledger"
                );
                self.behind.store(true, Ordering::Release);
            }
            *database_life = Some(life);
        }
        let lanes = timeout(PROBE_TIMEOUT, self.lanes.server_life()).await;
        let ok = matches!(lanes, Ok(Ok(_)));
        match (self.pulse.lanes_ok.swap(ok, Ordering::AcqRel), ok) {
            (true, false) => {
                tracing::warn!("redis is away; jobs are recorded, and crisis jobs run from the ledger");
            }
            (false, true) => tracing::info!("redis answers"),
            _ => {}
        }
        if let Ok(Ok(life)) = lanes {
            if server_life.as_ref().is_some_and(|before| *before != life) {
                tracing::warn!("redis was restarted or failed over; comparing the lanes with the ledger");
                self.behind.store(true, Ordering::Release);
            }
            *server_life = Some(life);
        }
    }

    async fn rebuild(&self) {
        // Whatever goes missing from now on has to be found by another round.
        self.behind.store(false, Ordering::Release);
        let started = Instant::now();
        match self.lanes.rebuild(&self.ledger, self.member.node()).await {
            Ok(rebuilt) => {
                self.bells.ring_all();
                tracing::info!(
                    owed = rebuilt.owed,
                    placed = rebuilt.placed,
                    duration_ms = started.elapsed().as_secs_f64() * 1_000.0,
                    "compared the lanes with the ledger"
                );
            }
            Err(error) => {
                self.behind.store(true, Ordering::Release);
                if !matches!(error, LaneError::Redis(_)) {
                    tracing::warn!(error = %error, "the lanes cannot be rebuilt now");
                }
            }
        }
    }

    /// The ledger first, then the lanes: a job that dies in between is reported twice rather than lost.
    async fn bury_quarantined(&self) {
        let Ok(ids) = self.lanes.quarantined().await else { return };
        for id in ids {
            let now_ms = self.ledger.clock.now_ms();
            match self.ledger.quarantine(id, self.member.node(), now_ms).await {
                Ok(()) => {
                    tracing::error!(job.id = %id, "quarantined: its workers kept dying while running it");
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

    /// More owed than held, twice in a row, means that the lanes lost something unnoticed.
    async fn audit(&self, short_before: bool) -> bool {
        let (Ok(held), Ok(owed)) = (self.lanes.held().await, self.ledger.owed_count().await) else {
            return false;
        };
        let short = owed > held;
        if short && short_before {
            tracing::warn!(owed, held, "the lanes hold less than is owed");
            self.behind.store(true, Ordering::Release);
        }
        short
    }

    async fn prune(&self) {
        let now_ms = self.ledger.clock.now_ms();
        for (state, keep_ms) in [
            (State::Done, self.retention.done_ms),
            (State::Cancelled, self.retention.done_ms),
            (State::Dead, self.retention.dead_ms),
        ] {
            for _ in 0..PRUNE_BATCHES_MAX {
                match self.ledger.prune(state, now_ms - keep_ms).await {
                    Ok(0) => break,
                    Ok(deleted) => tracing::debug!(deleted, state = %state, "retention"),
                    Err(error) => {
                        tracing::warn!(error = %error, "retention could not delete");
                        break;
                    }
                }
                if self.stop.is_cancelled() {
                    return;
                }
            }
        }
    }
}
