//! Keeps the watch over crises (see [`CrisisWatch`](keepwell_jobs::watch::CrisisWatch)): what is not answered in time
//! is escalated along the path of the crisis safety protocols.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use keepwell_jobs::{
    Care, violation,
    watch::{ESCALATION_PATH, Missed, Ticket, urgency},
};
use keepwell_workers::{
    clock::SharedClock,
    engine::Engine,
    id::JobId,
    job::{NewJob, Recorded},
    lane::Lane,
    observer::{Observer, RunEnded},
    state::State,
};
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{audit::audited, desk::CareDesk};

/// How often it is looked whether something late has been answered elsewhere, and what could not be recorded is tried
/// again.
const ROUND: Duration = Duration::from_millis(ROUND_MS.cast_unsigned());

/// The same in milliseconds.
const ROUND_MS: i64 = 1_000;

/// How long the ledger may take to say whether a crisis was answered, or to take a violation.
const LEDGER_TIMEOUT: Duration = Duration::from_millis(200);

/// Late crises that are looked after, at most; of more, the oldest are let go.
const LATE_MAX: usize = 256;

/// What puts crises on the watch and takes them off. Cheap to clone.
#[derive(Clone)]
pub(super) struct Watchers {
    care: Care,
    clock: SharedClock,
    wake: Arc<Notify>,
    metrics: Arc<dyn Observer>,
}

impl Watchers {
    /// Watches crises of `care`, and tells `metrics` of every run.
    pub(super) fn new(care: &Care, clock: SharedClock, metrics: Arc<dyn Observer>) -> Self {
        Self { care: care.clone(), clock, wake: Arc::default(), metrics }
    }

    /// Puts the crisis that `job` tells of on the watch, if it does.
    pub(super) fn begin(&self, job: &NewJob) -> Option<Watched> {
        let (customer, severity) = urgency(job)?;
        let ticket = self.care.watch.begin(customer, severity, self.clock.now_ms());
        self.wake.notify_one();
        Some(Watched { watchers: self.clone(), ticket: Some(ticket) })
    }
}

impl Observer for Watchers {
    fn run_ended(&self, ended: &RunEnded<'_>) {
        self.metrics.run_ended(ended);
        let over = matches!(ended.outcome, "done" | "nothing_owed" | "dead" | "cancel");
        if over && ended.job.lane == Lane::Crisis {
            self.care.watch.ended(ended.job.id);
        }
    }
}

/// A crisis on the watch that is being recorded. Dropped before it was, it is refused: the person is granted the basic
/// set from memory.
pub(super) struct Watched {
    watchers: Watchers,
    ticket: Option<Ticket>,
}

impl Watched {
    /// It was recorded.
    pub(super) fn recorded(mut self, recorded: Recorded) {
        if let Some(ticket) = self.ticket.take() {
            self.watchers.care.watch.recorded(ticket, recorded.id, recorded.duplicate);
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket.take() else { return };
        let Watchers { care, clock, .. } = &self.watchers;
        if let Some(granted) = care.watch.refused(ticket, clock.now_ms()) {
            care.tallies.granted_from_memory();
            let (level, until_ms) = (granted.level.name(), granted.until_ms);
            tracing::error!(
                alert = "crisis_not_recorded",
                level,
                until_ms,
                "a crisis could not be recorded; the basic set is granted from memory"
            );
        }
    }
}

/// Who keeps the watch.
pub(super) struct Keeper {
    pub(super) watchers: Watchers,
    pub(super) engine: Engine,
    pub(super) desk: CareDesk,
    /// Answered late, and perhaps not yet.
    late: VecDeque<Missed>,
    /// What the ledger did not take.
    unrecorded: VecDeque<NewJob>,
}

impl Keeper {
    pub(super) fn new(watchers: Watchers, engine: Engine, desk: CareDesk) -> Self {
        Self { watchers, engine, desk, late: VecDeque::new(), unrecorded: VecDeque::new() }
    }

    /// Keeps the watch until `stop`.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut round_ms = self.watchers.clock.now_ms();
        loop {
            let now_ms = self.watchers.clock.now_ms();
            let due_ms = self.watchers.care.watch.next_deadline_ms().unwrap_or(round_ms).min(round_ms);
            let pause_ms = u64::try_from(due_ms.saturating_sub(now_ms)).unwrap_or(0);
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.watchers.wake.notified() => {}
                // Should the machine's clock jump, no longer than a round.
                () = sleep(Duration::from_millis(pause_ms).min(ROUND)) => {}
            }
            for missed in self.watchers.care.watch.overdue(self.watchers.clock.now_ms()) {
                self.escalate(missed).await;
            }
            let now_ms = self.watchers.clock.now_ms();
            if now_ms >= round_ms || round_ms.saturating_sub(now_ms) > ROUND_MS {
                round_ms = now_ms.saturating_add(ROUND_MS);
                self.look_after().await;
            }
        }
    }

    /// What 003 has done about a crisis that was not answered in time. The first step, the bypass, was taken by the
    /// watch itself: the person has the basic set already.
    async fn escalate(&mut self, missed: Missed) {
        let limit_ms = missed.limit_ms();
        let waited_ms = self.watchers.clock.now_ms().saturating_sub(missed.since_ms);
        let took_ms = match self.answered_after_ms(&missed).await {
            // Another process has answered it in time.
            Some(took_ms) if took_ms <= limit_ms => return self.is_answered(&missed),
            Some(took_ms) => took_ms,
            None => waited_ms,
        };
        let Watchers { care, .. } = &self.watchers;
        care.tallies.response_missed();
        care.tallies.granted_from_memory();
        tracing::error!(
            alert = "crisis_response_time_violation",
            job.id = missed.job.map(tracing::field::display),
            severity = missed.severity.name(),
            response_time_ms = took_ms,
            threshold_ms = limit_ms,
            therapeutic_impact = "potential_interruption",
            action_required = "immediate_escalation",
            escalation_path = ?ESCALATION_PATH,
            "a crisis is not answered within its time"
        );
        audited("escalated", "crisis_response_time_violation", missed.severity.name(), None);
        if let Some(violation) = violation(&missed, took_ms) {
            self.record(violation).await;
        }
        if self.late.len() >= LATE_MAX {
            self.late.pop_front();
        }
        self.late.push_back(missed);
    }

    /// Looks which late crises were answered by now, and records what could not be recorded before.
    async fn look_after(&mut self) {
        for missed in std::mem::take(&mut self.late) {
            if self.answered_after_ms(&missed).await.is_some() {
                self.is_answered(&missed);
            } else {
                self.late.push_back(missed);
            }
        }
        for job in std::mem::take(&mut self.unrecorded) {
            self.record(job).await;
        }
        self.desk.catch_up().await;
    }

    fn is_answered(&self, missed: &Missed) {
        if let Some(job) = missed.job {
            self.watchers.care.watch.ended(job);
        }
    }

    async fn record(&mut self, job: NewJob) {
        match timeout(LEDGER_TIMEOUT, self.engine.enqueue(job.clone())).await {
            Ok(Ok(_)) => {}
            _ if self.unrecorded.len() < LATE_MAX => self.unrecorded.push_back(job),
            _ => tracing::error!("a violation of a crisis' time is not recorded: too many wait for that"),
        }
    }

    /// How long after its arrival the crisis was answered, in milliseconds; `None` if it is not, or nobody can say.
    async fn answered_after_ms(&self, missed: &Missed) -> Option<i64> {
        let job: JobId = missed.job?;
        let shown = timeout(LEDGER_TIMEOUT, self.engine.ledger().show(job)).await.ok()?.ok()??;
        let (view, _) = shown;
        let finished_ms = view.finished_at_ms.filter(|_| view.state != State::Owed)?;
        Some(finished_ms.saturating_sub(view.created_at_ms))
    }
}
