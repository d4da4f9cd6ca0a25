//! The fetcher: tells the lanes what has ended, claims for the slots that are free, reads the jobs from the ledger.

mod survive;

use std::{collections::HashSet, sync::Arc, time::Duration};

use tokio::{
    sync::{Semaphore, mpsc},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use survive::Survived;

use super::{
    Journal, Member,
    run::{Move, Run, Suspicion},
    settler::{Ended, Verdicts},
};
use crate::{
    backoff::Backoff,
    database::{STATEMENT_TIMEOUT_MS, turn::Urgency},
    id::{JobId, NodeId},
    job::Job,
    lane::Lane,
    lanes::{Behind, Bells, ClaimScope, Claimed, LaneError, Lanes, Moves, crashes_max},
    ledger::{Ledger, Loaded, QUARANTINED, Verdict},
    outcome::Outcome,
    turns::Turns,
};

/// Jobs claimed in one round trip.
const CLAIMED_AT_ONCE_MAX: usize = 128;

/// Moves told in one round trip. Lua can take about 8 000 arguments; this is far below.
const MOVES_AT_ONCE_MAX: usize = 512;

/// Moves remembered while Redis is away. Forgotten ones are harmless: a second delivery finds nothing owed.
const MOVES_REMEMBERED_MAX: usize = 10_000;

/// Waits between attempts while Redis or the database is away.
const BACKOFF_MIN: Duration = Duration::from_millis(20);
const BACKOFF_MAX: Duration = Duration::from_millis(500);

/// How long the ledger is waited for at most, with room to spare: for a connection and for a statement, and once more
/// if that one broke. Whoever still waits then waits for nothing, and is no sign of life any more.
const WAIT_MAX: Duration = Duration::from_millis(3 * STATEMENT_TIMEOUT_MS);

pub(crate) struct Fetcher {
    scope: ClaimScope,
    lanes: Lanes,
    ledger: Ledger,
    member: Arc<Member>,
    slots: Arc<Semaphore>,
    runs: Option<mpsc::Sender<Arc<Run>>>,
    verdicts: Option<Verdicts>,
    ended: mpsc::UnboundedReceiver<Move>,
    behind: Arc<Behind>,
    bells: Arc<Bells>,
    drain: CancellationToken,
    /// What this pool is running, so that the same job is never run twice at once here.
    in_flight: HashSet<JobId>,
    moves: Moves,
    /// After an error the server may hold claims that we never heard of.
    claims_unsure: bool,
    /// When to see again whether it does.
    next_check: Instant,
    /// Whether the lanes, or the rows of claimed jobs, could not be read last time: the log has a line at each change.
    away: bool,
    unread: bool,
    /// How long to stay idle at most.
    next_look: Duration,
    suspects: Arc<Semaphore>,
    /// Counts this loop's turns, at least one a second while its runtime is alive.
    turns: Turns,
    journal: Option<Arc<Journal>>,
}

enum Woken {
    Ended(Option<Move>),
    Look,
    Drain,
}

impl Fetcher {
    #[allow(clippy::too_many_arguments)] // Each is a different end of the pool's loops.
    pub(crate) fn new(
        scope: ClaimScope,
        lanes: Lanes,
        ledger: Ledger,
        member: Arc<Member>,
        slots: Arc<Semaphore>,
        runs: mpsc::Sender<Arc<Run>>,
        verdicts: Verdicts,
        ended: mpsc::UnboundedReceiver<Move>,
        behind: Arc<Behind>,
        bells: Arc<Bells>,
        drain: CancellationToken,
        turns: Turns,
        journal: Option<Arc<Journal>>,
    ) -> Self {
        Self {
            next_look: lanes.idle_look(),
            scope,
            lanes,
            ledger,
            member,
            slots,
            runs: Some(runs),
            verdicts: Some(verdicts),
            ended,
            behind,
            bells,
            drain,
            in_flight: HashSet::new(),
            moves: Moves::default(),
            claims_unsure: false,
            next_check: Instant::now() + survive::CHECK_EVERY,
            away: false,
            unread: false,
            suspects: Arc::new(Semaphore::new(1)),
            turns,
            journal,
        }
    }

    /// Runs until draining and every run has ended and been told.
    pub(crate) async fn run(mut self) {
        let mut hungry = true;
        let mut backoff = Backoff::new(BACKOFF_MIN, BACKOFF_MAX);
        loop {
            self.turns.count();
            while let Ok(ended) = self.ended.try_recv() {
                self.note(ended);
            }
            let draining = self.runs.is_none();
            let free = if draining { 0 } else { self.slots.available_permits().min(CLAIMED_AT_ONCE_MAX) };
            if self.moves.is_empty() && (free == 0 || !hungry) && !self.check_is_due() {
                match self.wait(draining, hungry).await {
                    Woken::Ended(Some(ended)) => self.note(ended),
                    // Nobody can end a run any more: everything is told.
                    Woken::Ended(None) => return,
                    Woken::Look => hungry = true,
                    Woken::Drain => (self.runs, self.verdicts) = (None, None),
                }
                continue;
            }
            let node = self.member.node();
            match self.claim(node, free).await {
                Ok(more) => {
                    // With no slot free nothing was looked at.
                    hungry = more || (free == 0 && hungry);
                    backoff.reset();
                    self.answered().await;
                }
                Err(error) => {
                    self.claims_unsure = true;
                    hungry = true;
                    let survived = self.survive(&error, node, free).await;
                    if survived == Survived::Entered {
                        // The bell of a crisis that lies there by now has rung.
                        backoff.reset();
                    }
                    if draining && self.drain_is_over() {
                        return;
                    }
                    tokio::select! {
                        () = tokio::time::sleep(backoff.next()) => {}
                        () = self.bell() => {}
                        _ = self.slots.acquire(), if survived == Survived::MoreDue && !draining => {}
                    }
                }
            }
            if self.drain.is_cancelled() {
                (self.runs, self.verdicts) = (None, None);
            }
        }
    }

    /// While draining with Redis away: once every run has ended there is nobody left to tell.
    fn drain_is_over(&mut self) -> bool {
        self.in_flight.is_empty() && self.ended.is_closed()
    }

    async fn bell(&self) {
        match self.scope {
            ClaimScope::Crisis => self.bells.crisis.notified().await,
            ClaimScope::General => self.bells.general.notified().await,
        }
    }

    async fn wait(&mut self, draining: bool, hungry: bool) -> Woken {
        let bell = match self.scope {
            ClaimScope::Crisis => &self.bells.crisis,
            ClaimScope::General => &self.bells.general,
        };
        tokio::select! {
            ended = self.ended.recv() => Woken::Ended(ended),
            () = bell.notified(), if !draining => Woken::Look,
            // A slot comes free a moment after the end of its run was told.
            _ = self.slots.acquire(), if hungry && !draining => Woken::Look,
            () = self.drain.cancelled(), if !draining => Woken::Drain,
            () = tokio::time::sleep(self.next_look), if !draining => Woken::Look,
        }
    }

    fn note(&mut self, ended: Move) {
        match ended {
            Move::Ack(id) => {
                self.in_flight.remove(&id);
                self.moves.acks.push(id);
            }
            Move::Later(id, run_at_ms) => {
                self.in_flight.remove(&id);
                self.moves.retries.push((id, run_at_ms));
            }
        }
    }

    /// One round trip; says whether more may be waiting.
    async fn claim(&mut self, node: NodeId, free: usize) -> Result<bool, LaneError> {
        if self.check_is_due() {
            self.check_claims(node).await?;
        }
        // What was decided of a lane meanwhile holds from the first claim on. Crises wait for nothing.
        if self.away && self.scope == ClaimScope::General {
            self.lanes.compare_pauses(&self.ledger).await?;
        }
        let now = self.moves.take(MOVES_AT_ONCE_MAX);
        let claim = match self.lanes.claim(node, self.scope, free, &now).await {
            Ok(claim) => claim,
            Err(error) => {
                self.moves.put_back(now, MOVES_REMEMBERED_MAX);
                return Err(error);
            }
        };
        let full = claim.jobs.len() >= free && free > 0;
        self.next_look = match claim.next_ms {
            Some(next_ms) => {
                let until_ms = u64::try_from(next_ms - self.ledger.clock.now_ms()).unwrap_or(0);
                Duration::from_millis(until_ms + 1).min(self.lanes.idle_look())
            }
            None => self.lanes.idle_look(),
        };
        self.deliver(claim.jobs).await;
        Ok(full || claim.more)
    }

    /// Reads the claimed jobs and hands them to the worker.
    async fn deliver(&mut self, claimed: Vec<Claimed>) {
        // A job that lies in its lane twice may be claimed while it runs; its end acknowledges both.
        let fresh = claimed.into_iter().filter(|job| self.in_flight.insert(job.id));
        let (crisis, rest): (Vec<_>, Vec<_>) = fresh.partition(|claimed| claimed.lane == Lane::Crisis);
        // Those of the crisis lane do not wait until the others are read, nor behind other readers.
        for (fresh, urgency) in [(crisis, Urgency::Crisis), (rest, Urgency::General)] {
            if !fresh.is_empty() {
                self.hand_over(&fresh, urgency).await;
            }
        }
    }

    async fn hand_over(&mut self, fresh: &[Claimed], urgency: Urgency) {
        let ids: Vec<JobId> = fresh.iter().map(|claimed| claimed.id).collect();
        let loaded = match self.turns.during(WAIT_MAX, self.ledger.load(&ids, urgency)).await {
            Ok(loaded) => {
                self.unread = false;
                loaded
            }
            Err(error) => {
                if !std::mem::replace(&mut self.unread, true) {
                    tracing::warn!(error = %error, jobs = ids.len(), "claimed jobs cannot be read; they go back to their lanes");
                }
                for id in &ids {
                    self.in_flight.remove(id);
                }
                self.moves.returns.extend(ids);
                tokio::time::sleep(BACKOFF_MAX).await;
                return;
            }
        };
        let mut missing: HashSet<JobId> = ids.into_iter().collect();
        let now_ms = self.ledger.clock.now_ms();
        for loaded in loaded {
            match loaded {
                Loaded::Ready { job, run_at_ms } if run_at_ms > now_ms => {
                    missing.remove(&job.id);
                    self.note(Move::Later(job.id, run_at_ms));
                }
                Loaded::Ready { job, .. } => {
                    missing.remove(&job.id);
                    let crashes = fresh
                        .iter()
                        .find(|claimed| claimed.id == job.id)
                        .map_or(0, |claimed| claimed.crashes);
                    self.start(job, crashes).await;
                }
                Loaded::Sealed { job, error } => {
                    missing.remove(&job.id);
                    self.condemn(job, Outcome::retry(error.to_string())).await;
                }
            }
        }
        for id in missing {
            // Nothing owed: settled before, by somebody who could not say so.
            self.note(Move::Ack(id));
        }
    }

    async fn start(&mut self, job: Arc<Job>, crashes: u32) {
        let Some(handler) = self.ledger.registry.get(&job.kind).cloned() else {
            let outcome = Outcome::retry(format!("no handler for kind `{}` in this process", job.kind));
            return self.condemn(job, outcome).await;
        };
        let deaths = self.journal.as_ref().map_or(0, |journal| journal.deaths(job.id));
        if deaths >= crashes_max(job.lane) {
            tracing::error!(job.id = %job.id, "{QUARANTINED}");
            return self.condemn(job, Outcome::dead(QUARANTINED)).await;
        }
        // What the lanes themselves have counted they have had wait.
        let waits = self.journal.as_ref().filter(|_| deaths > crashes);
        if let Some(wait) = waits.and_then(|journal| journal.has_to_wait(job.lane, deaths)) {
            let wait_ms = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
            return self.note(Move::Later(job.id, self.ledger.clock.now_ms().saturating_add(wait_ms)));
        }
        let crashes = crashes.max(deaths);
        // The claim was for free slots only, and nobody else takes them.
        let Ok(slot) = Arc::clone(&self.slots).acquire_owned().await else { return };
        let run = Run {
            policy: self.ledger.registry.policy(&job.kind),
            handler,
            suspicion: (crashes > 0).then(|| self.suspicion(crashes)),
            claimed_ms: self.ledger.clock.now_ms(),
            claimed_at: Instant::now(),
            _slot: slot,
            job,
        };
        self.send(run).await;
    }

    async fn send(&mut self, run: Run) {
        let id = run.job.id;
        let sent = match &self.runs {
            Some(runs) => runs.send(Arc::new(run)).await.is_ok(),
            None => false,
        };
        if !sent {
            self.in_flight.remove(&id);
            self.moves.returns.push(id);
        }
    }

    fn suspicion(&self, crashes: u32) -> Suspicion {
        Suspicion {
            one_at_a_time: (crashes > 1).then(|| Arc::clone(&self.suspects)),
            lanes: self.lanes.clone(),
            node: self.member.node(),
        }
    }

    /// Has a job settled that cannot even be run.
    async fn condemn(&mut self, job: Arc<Job>, outcome: Outcome) {
        let policy = self.ledger.registry.policy(&job.kind);
        let id = job.id;
        let ended = Ended {
            claimed_ms: self.ledger.clock.now_ms(),
            claimed_at: Instant::now(),
            verdict: Verdict { job, policy, prepared: Err(outcome) },
            is_suspect: false,
            settled: None,
        };
        let sent = match &self.verdicts {
            Some(verdicts) => self.turns.during(WAIT_MAX, verdicts.bring(ended)).await,
            None => false,
        };
        if !sent {
            self.in_flight.remove(&id);
            self.moves.returns.push(id);
        }
    }
}
