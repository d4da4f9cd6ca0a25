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

/// Jobs settled in one transaction. A crisis writer that comes in between waits for at most one of these.
const SETTLED_AT_ONCE_MAX: usize = 64;

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
        let at_once = match self.urgency {
            Urgency::Crisis => 1,
            Urgency::General => SETTLED_AT_ONCE_MAX,
        };
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
            let (settled, placements) = self.ledger.settle(&verdicts, self.urgency, self.member.node()).await;
            self.placements.push(placements);
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
                tracing::debug!(job.id = %job.id, job.kind = %job.kind, lane = %job.lane, subject = job.subject.as_deref(),
                    attempt = job.attempts + 1, duration_ms, outcome, "a run ended");
            }
            Settled::Later(_) | Settled::Over | Settled::Unsettled => {
                let error = verdict.prepared.as_ref().err().map(|outcome| format!("{outcome:?}"));
                tracing::warn!(job.id = %job.id, job.kind = %job.kind, lane = %job.lane, subject = job.subject.as_deref(),
                    attempt = job.attempts + 1, duration_ms, outcome, error, "a run did not end in done");
            }
        }
        self.observer.run_ended(&RunEnded { job, outcome, waited, ran });
    }
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
