//! The settler: takes what has come to an end and settles it in the ledger, as much as is there in one transaction.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use super::{Member, run::Move};
use crate::{
    clock::UnixMs,
    database::turn::Urgency,
    lanes::PlacementQueue,
    ledger::{Ledger, Settled, Verdict},
    observer::{Observer, RunEnded},
};

/// Jobs settled in one transaction, at most.
const SETTLED_AT_ONCE_MAX: usize = 64;

/// How long a shared transaction should take. A crisis writer that comes in between waits for at most one of these,
/// so the number of jobs follows from how long the last ones took.
const SHARED_TRANSACTION: Duration = Duration::from_millis(3);

/// How long a job waits whose settlement the database could not take, in milliseconds.
const UNSETTLED_DELAY_MS: i64 = 1_000;

/// A run that has come to its end and waits for the ledger.
pub(crate) struct Ended {
    pub(crate) verdict: Verdict,
    pub(crate) claimed_ms: UnixMs,
    pub(crate) claimed_at: Instant,
    /// Told when the ledger has spoken.
    pub(crate) settled: Option<oneshot::Sender<()>>,
}

pub(crate) struct Settler {
    pub(crate) ledger: Ledger,
    pub(crate) urgency: Urgency,
    pub(crate) member: Arc<Member>,
    pub(crate) verdicts: mpsc::Receiver<Ended>,
    pub(crate) moves: mpsc::UnboundedSender<Move>,
    pub(crate) placements: PlacementQueue,
    pub(crate) observer: Arc<dyn Observer>,
}

impl Settler {
    /// Runs until nobody can end a run any more.
    pub(crate) async fn run(mut self) {
        let mut at_once = 1;
        let (mut verdicts, mut ends) = (Vec::new(), Vec::new());
        while let Some(first) = self.verdicts.recv().await {
            let mut next = Some(first);
            while let Some(Ended { verdict, claimed_ms, claimed_at, settled }) = next.take() {
                verdicts.push(verdict);
                ends.push((claimed_ms, claimed_at, settled));
                if verdicts.len() < at_once {
                    next = self.verdicts.try_recv().ok();
                }
            }
            let began = Instant::now();
            let node = self.member.node();
            let settled = self.ledger.settle(&verdicts, self.urgency, node, &self.placements).await;
            if self.urgency == Urgency::General {
                at_once = next_share(at_once, began.elapsed() / verdicts.len() as u32);
            }
            for ((verdict, settled), (claimed_ms, claimed_at, told)) in
                verdicts.drain(..).zip(settled).zip(ends.drain(..))
            {
                self.tell(&verdict, &settled, claimed_ms, claimed_at);
                if let Some(told) = told {
                    let _ = told.send(());
                }
            }
        }
    }

    fn tell(&self, verdict: &Verdict, settled: &Settled, claimed_ms: UnixMs, claimed_at: Instant) {
        let job = &verdict.job;
        let to = match settled {
            Settled::Done | Settled::NothingOwed | Settled::Over => Move::Ack(job.id),
            Settled::Later(run_at_ms) => Move::Later(job.id, *run_at_ms),
            Settled::Unsettled => Move::Later(job.id, self.ledger.clock.now_ms() + UNSETTLED_DELAY_MS),
        };
        // The fetcher outlives every sender.
        let _ = self.moves.send(to);
        let outcome = outcome_name(verdict, settled);
        let ran = claimed_at.elapsed();
        let waited = Duration::from_millis(u64::try_from(claimed_ms - job.created_ms).unwrap_or(0));
        let duration_ms = ran.as_secs_f64() * 1_000.0;
        match settled {
            Settled::Done | Settled::NothingOwed => {
                tracing::debug!(
                    job.id = %job.id, job.kind = %job.kind, lane = %job.lane, subject = job.subject.as_deref(),
                    attempt = job.attempts + 1, duration_ms, outcome, "a run ended");
            }
            Settled::Later(_) | Settled::Over | Settled::Unsettled => {
                let error = verdict.prepared.as_ref().err().map(|outcome| format!("{outcome:?}"));
                tracing::warn!(
                    job.id = %job.id, job.kind = %job.kind, lane = %job.lane, subject = job.subject.as_deref(),
                    attempt = job.attempts + 1, duration_ms, outcome, error, "a run did not end in done");
            }
        }
        self.observer.run_ended(&RunEnded { job, outcome, waited, ran });
    }
}

/// How many jobs the next transaction may share, after a share of `before` jobs that took `each`: towards
/// [`SHARED_TRANSACTION`], at most twice as many as before.
fn next_share(before: usize, each: Duration) -> usize {
    let fitting = SHARED_TRANSACTION.as_nanos() / each.as_nanos().max(1);
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
        assert_eq!(next_share(64, Duration::from_micros(300)), 10);
        assert_eq!(next_share(10, Duration::from_micros(10)), 20);
        assert_eq!(next_share(40, Duration::from_micros(10)), 64);
        assert_eq!(next_share(64, Duration::from_secs(1)), 1);
    }
}
