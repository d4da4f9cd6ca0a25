//! The settlers: they take what has come to an end and settle it in the ledger, as much as is there in one transaction.
//!
//! SQLite has one writer, so a pool has one settler. PostgreSQL has many, and each statement costs a round trip: one
//! settler behind a proxy was seen to settle no more than 300 jobs a second while the machine had time to spare, and a
//! transaction that waits there (for a lock, for a connection that died) held up all others. What must not overlap
//! takes turns, and a turn ends only after its settlement.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{Mutex, mpsc, oneshot},
    time::Instant,
};

use super::{Journal, Member, run::Move};
use crate::{
    clock::UnixMs,
    database::{Dialect, turn::Urgency},
    id::{JobId, NodeId},
    lane::Lane,
    lanes::{Lanes, PlacementQueue},
    ledger::{Ledger, Settled, Verdict},
    observer::{Observer, RunEnded},
};

/// Jobs settled in one transaction, at most.
const SETTLED_AT_ONCE_MAX: usize = 64;

/// Crises settled in one transaction where writers take turns, at most: of those that have ended already, so that none
/// waits for another to end. Each by itself, they were recorded faster than they could be settled, and the last of a
/// hundred waited for a hundred commits; the first of eight waits for the statements of seven more. Where writers work
/// side by side each is settled by itself.
const CRISES_SETTLED_AT_ONCE_MAX: usize = 8;

/// How long a shared transaction should take where writers take turns. A crisis writer that comes in between waits for
/// at most one of these, so the number of jobs follows from how long the last ones took.
const SHARED_TRANSACTION: Duration = Duration::from_millis(3);

/// The same where writers work side by side: a crisis waits only if it is about one of the same people. Every statement
/// is a round trip there, so a shorter one would be worn out by its own beginning and end.
const SHARED_TRANSACTION_SIDE_BY_SIDE: Duration = Duration::from_millis(10);

/// How long a job waits whose settlement the database could not take, in milliseconds.
const UNSETTLED_DELAY_MS: i64 = 1_000;

/// A run that has come to its end and waits for the ledger.
pub(crate) struct Ended {
    pub(crate) verdict: Verdict,
    pub(crate) claimed_ms: UnixMs,
    pub(crate) claimed_at: Instant,
    /// It has seen a worker die.
    pub(crate) is_suspect: bool,
    /// Told when the ledger has spoken.
    pub(crate) settled: Option<oneshot::Sender<()>>,
}

/// Where runs that have come to their end wait for a settler, each kind for its own.
#[derive(Debug, Clone)]
pub(crate) struct Verdicts {
    /// For those of the crisis lane. A general slot takes a crisis job too, and with 50 slots busy with grace periods
    /// that ended it was seen to wait behind the others for up to a second.
    pub(crate) crisis: mpsc::Sender<Ended>,
    /// For those that have seen a worker die. Until it is settled such a job counts as running, and with it the next
    /// death; behind a backlog, 72 deaths within eight minutes had 37 innocent ones quarantined.
    pub(crate) suspects: mpsc::Sender<Ended>,
    /// For all others.
    pub(crate) general: mpsc::Sender<Ended>,
}

impl Verdicts {
    /// Brings `ended` before a settler; `false` if there is none any more.
    pub(crate) async fn bring(&self, ended: Ended) -> bool {
        let settlers = match ended.verdict.job.lane {
            Lane::Crisis => &self.crisis,
            _ if ended.is_suspect => &self.suspects,
            _ => &self.general,
        };
        settlers.send(ended).await.is_ok()
    }
}

/// One of a pool's settlers; a run goes to whichever is free.
#[derive(Clone)]
pub(crate) struct Settler {
    pub(crate) ledger: Ledger,
    pub(crate) urgency: Urgency,
    pub(crate) lanes: Lanes,
    pub(crate) member: Arc<Member>,
    pub(crate) verdicts: Arc<Mutex<mpsc::Receiver<Ended>>>,
    pub(crate) moves: mpsc::UnboundedSender<Move>,
    pub(crate) placements: PlacementQueue,
    pub(crate) observer: Arc<dyn Observer>,
    /// What has seen workers die, until it is settled.
    pub(crate) journal: Option<Arc<Journal>>,
}

impl Settler {
    /// Runs until nobody can end a run any more.
    pub(crate) async fn run(self) {
        let (mut verdicts, mut ends) = (Vec::new(), Vec::new());
        let (target, crises) = match self.ledger.database.dialect() {
            Dialect::Sqlite => (SHARED_TRANSACTION, CRISES_SETTLED_AT_ONCE_MAX),
            Dialect::Postgres => (SHARED_TRANSACTION_SIDE_BY_SIDE, 1),
        };
        let mut at_once = if self.urgency == Urgency::Crisis { crises } else { 1 };
        loop {
            let ended = self.next(at_once).await;
            if ended.is_empty() {
                return;
            }
            let node = self.member.node();
            let taken = self.taken_away(&ended, node).await;
            let ends_with_suspect = ended.last().is_some_and(|last| self.goes_alone(last));
            for Ended { verdict, claimed_ms, claimed_at, settled, .. } in ended {
                if taken.contains(&verdict.job.id) {
                    self.tell(&verdict, &Settled::Unsettled, claimed_ms, claimed_at);
                    say(settled);
                    continue;
                }
                verdicts.push(verdict);
                ends.push((claimed_ms, claimed_at, settled));
            }
            if verdicts.is_empty() {
                continue;
            }
            // Should its effects be what kills, those before it have theirs.
            let (together, suspect) = verdicts.split_at(verdicts.len() - usize::from(ends_with_suspect));
            let mut settled = Vec::with_capacity(verdicts.len());
            let mut took = Duration::ZERO;
            for runs in [together, suspect].into_iter().filter(|runs| !runs.is_empty()) {
                let all = self.ledger.settle(runs, self.urgency, node, &self.placements).await;
                settled.extend(all.settled);
                took += all.took;
            }
            if self.urgency != Urgency::Crisis {
                at_once = next_share(at_once, took / verdicts.len() as u32, target);
            }
            for ((verdict, settled), (claimed_ms, claimed_at, told)) in
                verdicts.drain(..).zip(settled).zip(ends.drain(..))
            {
                self.tell(&verdict, &settled, claimed_ms, claimed_at);
                say(told);
            }
        }
    }

    /// Those of `ended` that failed and that the lanes have given to somebody else meanwhile, because this process
    /// stood still for longer than its lease. How they failed here is no attempt of theirs, and no end. If the lanes do
    /// not say, nobody can have taken anything either. A crisis does not wait for the question: one attempt too many is
    /// counted rather than a grant kept waiting.
    async fn taken_away(&self, ended: &[Ended], node: NodeId) -> Vec<JobId> {
        let failed = ended.iter().filter(|ended| ended.verdict.prepared.is_err());
        let failed: Vec<JobId> = failed.map(|ended| ended.verdict.job.id).collect();
        if failed.is_empty() || self.urgency == Urgency::Crisis {
            return Vec::new();
        }
        self.lanes.not_claimed_by(node, &failed).await.unwrap_or_else(|error| {
            tracing::debug!(error = %error, "the lanes do not say whose jobs they are");
            Vec::new()
        })
    }

    /// Whether it is settled by itself, whatever else has ended: a crisis that may be what kills.
    fn goes_alone(&self, ended: &Ended) -> bool {
        self.urgency == Urgency::Crisis && ended.is_suspect
    }

    /// Whatever has ended, at most `at_once`, and at most one that is settled by itself, as the last; waits for the
    /// first. Nothing once nobody can end a run any more.
    async fn next(&self, at_once: usize) -> Vec<Ended> {
        let mut verdicts = self.verdicts.lock().await;
        let mut ended: Vec<Ended> = verdicts.recv().await.into_iter().collect();
        while ended.last().is_some_and(|last| !self.goes_alone(last)) && ended.len() < at_once {
            let Ok(another) = verdicts.try_recv() else { break };
            ended.push(another);
        }
        ended
    }

    fn tell(&self, verdict: &Verdict, settled: &Settled, claimed_ms: UnixMs, claimed_at: Instant) {
        let job = &verdict.job;
        if let (Some(journal), Settled::Done | Settled::NothingOwed | Settled::Over) =
            (&self.journal, settled)
        {
            journal.is_settled(job.id);
        }
        let to = match settled {
            Settled::Done | Settled::NothingOwed | Settled::Over => Move::Ack(job.id),
            Settled::Later(run_at_ms) => Move::Later(job.id, *run_at_ms),
            Settled::Unsettled => Move::Later(job.id, self.ledger.clock.now_ms() + UNSETTLED_DELAY_MS),
        };
        // The fetcher outlives every sender.
        let _ = self.moves.send(to);
        let outcome = outcome_name(verdict, settled);
        let ran = claimed_at.elapsed();
        let waited = self.ledger.clocks.since(job.id, job.created_ms, claimed_ms);
        let duration_ms = ran.as_secs_f64() * 1_000.0;
        match settled {
            Settled::Done | Settled::NothingOwed => {
                tracing::debug!(
                    job.id = %job.id, job.kind = %job.kind, lane = %job.lane, attempt = job.attempts + 1,
                    duration_ms, outcome, "a run ended");
            }
            Settled::Later(_) | Settled::Over | Settled::Unsettled => {
                let error = verdict.prepared.as_ref().err().map(|outcome| format!("{outcome:?}"));
                tracing::warn!(
                    job.id = %job.id, job.kind = %job.kind, lane = %job.lane, attempt = job.attempts + 1,
                    duration_ms, outcome, error, "a run did not end in done");
            }
        }
        self.observer.run_ended(&RunEnded { job, outcome, waited, ran });
    }
}

/// Tells whoever waits for it that the ledger has spoken.
fn say(settled: Option<oneshot::Sender<()>>) {
    if let Some(settled) = settled {
        let _ = settled.send(());
    }
}

/// How many jobs the next transaction may share, after a share of `before` jobs that took `each`: towards `target` for
/// all of them, at most twice as many as before.
fn next_share(before: usize, each: Duration, target: Duration) -> usize {
    let fitting = target.as_nanos() / each.as_nanos().max(1);
    let fitting = usize::try_from(fitting).unwrap_or(SETTLED_AT_ONCE_MAX);
    fitting.min(before * 2).clamp(1, SETTLED_AT_ONCE_MAX)
}

fn outcome_name(verdict: &Verdict, settled: &Settled) -> &'static str {
    match (settled, &verdict.prepared) {
        (Settled::Done, _) => "done",
        (Settled::NothingOwed, _) => "nothing_owed",
        (Settled::Unsettled, _) => "unsettled",
        (Settled::Over, Err(outcome)) if outcome.name() == "cancel" => "cancel",
        (Settled::Over, _) => "dead",
        (Settled::Later(_), Err(outcome)) => outcome.name(),
        (Settled::Later(_), Ok(_)) => "retry",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_follows_the_time_that_its_jobs_take() {
        let next = |before, each| next_share(before, each, SHARED_TRANSACTION);
        assert_eq!(next(64, Duration::from_micros(300)), 10);
        assert_eq!(next(10, Duration::from_micros(10)), 20);
        assert_eq!(next(40, Duration::from_micros(10)), 64);
        assert_eq!(next(64, Duration::from_secs(1)), 1);
    }
}
