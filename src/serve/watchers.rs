//! What puts crises on the watch and takes them off, and grants in time what the watch grants.

use std::{sync::Arc, time::Duration};

use keepwell_jobs::{
    Care,
    alerts::rules,
    care::{emergency::Granted, severity::Severity},
    watch::{ESCALATION_PATH, Missed, Ticket, recorded_urgency, urgency},
};
use keepwell_workers::{
    clock::{SharedClock, UnixMs},
    job::{Job, NewJob, Recorded},
    lane::Lane,
    observer::{Observer, RunEnded},
};
use tokio::{
    sync::{
        Notify,
        mpsc::{self, error::TrySendError},
    },
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use super::{
    granted::GrantedFromMemory, late::LateAnswers, monitors::CanaryEar, responses::Responses, untold::Untold,
};

/// How long nothing is looked at, at most, should the machine's clock jump.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// What puts crises on the watch and takes them off. Cheap to clone.
#[derive(Clone)]
pub(super) struct Watchers {
    pub(super) care: Care,
    pub(super) clock: SharedClock,
    pub(super) responses: Responses,
    pub(super) late: LateAnswers,
    pub(super) canaries: CanaryEar,
    pub(super) untold: Untold,
    pub(super) granted: GrantedFromMemory,
    wake: Arc<Notify>,
    metrics: Arc<dyn Observer>,
}

impl Watchers {
    /// Watches crises of `care`, and tells `metrics` of every run.
    pub(super) fn new(care: &Care, clock: SharedClock, metrics: Arc<dyn Observer>) -> Self {
        let (wake, responses, canaries) = (Arc::default(), Responses::default(), CanaryEar::default());
        let (untold, granted) = (Untold::default(), GrantedFromMemory::default());
        let late = LateAnswers::default();
        Self { care: care.clone(), clock, responses, late, canaries, untold, granted, wake, metrics }
    }

    /// Puts the crisis that `job` tells of on the watch, if it does.
    pub(super) fn begin(&self, job: &NewJob) -> Option<Watched> {
        let (customer, severity) = urgency(job)?;
        let ticket =
            self.care.watch.begin(customer, job.dedupe_key.as_deref(), severity, self.clock.now_ms());
        self.wake.notify_one();
        let customer = customer.to_owned();
        Some(Watched { watchers: self.clone(), ticket: Some(ticket), customer, severity })
    }

    /// Grants the basic set the moment a crisis is late, however long telling of the others takes, and hands over who
    /// they are.
    pub(super) async fn grant_in_time(&self, told: mpsc::Sender<Missed>, stop: CancellationToken) {
        loop {
            let now_ms = self.clock.now_ms();
            let due_ms = self.care.watch.next_deadline_ms().unwrap_or(UnixMs::MAX);
            let pause_ms = u64::try_from(due_ms.saturating_sub(now_ms)).unwrap_or(0);
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.wake.notified() => {}
                () = sleep(Duration::from_millis(pause_ms).min(PAUSE_MAX)) => {}
            }
            for missed in self.care.watch.overdue(self.clock.now_ms()) {
                if let Err(TrySendError::Full(missed) | TrySendError::Closed(missed)) = told.try_send(missed)
                {
                    self.tell_of(&missed, missed.limit_ms());
                }
            }
        }
    }

    /// Says aloud that a crisis is late, for which the basic set was granted (003: `notify_crisis_team`). What another
    /// process turns out to have answered in time was granted for a moment too, and is told and counted as nothing.
    pub(super) fn tell_of(&self, missed: &Missed, took_ms: i64) {
        self.care.tallies.granted_from_memory();
        self.tell_of_late(missed, took_ms);
    }

    /// Says aloud that a crisis was answered late.
    pub(super) fn tell_of_late(&self, missed: &Missed, took_ms: i64) {
        self.care.tallies.response_missed();
        self.care.alert_sink.tell(&rules::CRISIS_ANSWERED_LATE);
        tracing::error!(
            alert = "crisis_response_time_violation",
            job.id = missed.job.map(tracing::field::display),
            severity = missed.severity.name(),
            response_time_ms = took_ms,
            threshold_ms = missed.limit_ms(),
            therapeutic_impact = "potential_interruption",
            action_required = "immediate_escalation",
            escalation_path = ?ESCALATION_PATH,
            "a crisis is not answered within its time"
        );
    }

    /// Puts the crisis that `job` tells of on the watch, if it does and its time is over, counted from `came_ms` by our
    /// clock: whoever watched it may be no more.
    pub(super) fn found(&self, job: &Job, came_ms: UnixMs) {
        let Some((customer, severity)) = recorded_urgency(job) else { return };
        let due_ms = came_ms.saturating_add(self.care.watch.limit_ms(severity));
        if due_ms <= self.clock.now_ms() {
            self.care.watch.found(job.id, customer, severity, came_ms);
            self.wake.notify_one();
        }
    }

    /// Nothing answers the crisis that `job` tells of, if it does, since `now_ms`: the person has the basic set at
    /// least. Says whether it does: then somebody is to be [alerted](Watchers::alert_failed).
    pub(super) fn failed(&self, job: &Job, now_ms: UnixMs) -> bool {
        let Some((customer, severity, granted)) = self.grant_failed(job, now_ms) else { return false };
        self.care.tallies.granted_from_memory();
        self.granted.put(customer, Some(job.id), severity, granted, now_ms);
        tracing::error!(
            alert = "crisis_not_answered",
            job.id = %job.id,
            job.kind = &*job.kind,
            severity = severity.name(),
            level = granted.level.name(),
            until_ms = granted.until_ms,
            "a crisis could not be answered; the basic set is granted from memory"
        );
        true
    }

    /// Alerts somebody of what [failed](Watchers::failed), however many did.
    pub(super) fn alert_failed(&self) {
        self.care.alert_sink.tell(&rules::CRISIS_GRANTED_FROM_MEMORY);
    }

    /// The same of one that was told of before this process began: it is neither told nor counted again. Says whether
    /// it is a crisis.
    pub(super) fn failed_before(&self, job: &Job, now_ms: UnixMs) -> bool {
        self.grant_failed(job, now_ms).is_some()
    }

    /// Alerts somebody of dead jobs about contacts, however many there are.
    pub(super) fn alert_contact_not_told(&self) {
        self.care.alert_sink.tell(&rules::CONTACT_NOT_TOLD);
    }

    /// The job about contacts `job` was found dead, and had died at `died_ms`. Says whether that is news: then somebody
    /// is to be [alerted](Watchers::alert_contact_not_told).
    pub(super) fn contact_job_died(&self, job: &Job, died_ms: UnixMs) -> bool {
        if !self.untold.died(job.id, died_ms) {
            return false;
        }
        self.care.tallies.contact_job_found_dead();
        tracing::error!(
            alert = "contact_not_told",
            job.id = %job.id,
            job.kind = &*job.kind,
            "a job about emergency contacts is dead, and whoever saw it die may not have said so"
        );
        true
    }

    fn grant_failed<'j>(&self, job: &'j Job, now_ms: UnixMs) -> Option<(&'j str, Severity, Granted)> {
        let (customer, severity) = recorded_urgency(job)?;
        let granted = self.care.watch.failed(job.id, customer, severity, now_ms)?;
        Some((customer, severity, granted))
    }
}

impl Observer for Watchers {
    fn run_ended(&self, ended: &RunEnded<'_>) {
        self.metrics.run_ended(ended);
        self.responses.run_ended(ended, &self.care);
        self.late.run_ended(ended, &self.care);
        self.canaries.run_ended(ended);
        if self.untold.run_ended(ended, self.clock.now_ms()) {
            self.alert_contact_not_told();
        }
        match ended.outcome {
            // What is not owed may be done or dead: the ledger is asked when its time is over.
            "done" | "cancel" if ended.job.lane == Lane::Crisis => {
                self.care.watch.ended(ended.job.id);
            }
            "dead" if self.failed(ended.job, self.clock.now_ms()) => self.alert_failed(),
            _ => {}
        }
    }

    fn cancelled(&self) {
        self.metrics.cancelled();
        self.untold.cancelled();
    }
}

/// A crisis on the watch that is being recorded. Dropped before it was, it is refused: the person is granted the basic
/// set from memory.
pub(super) struct Watched {
    watchers: Watchers,
    ticket: Option<Ticket>,
    customer: String,
    severity: Severity,
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
        let now_ms = clock.now_ms();
        if let Some(granted) = care.watch.refused(ticket, now_ms) {
            self.watchers.granted.put(&self.customer, None, self.severity, granted, now_ms);
            care.tallies.granted_from_memory();
            care.alert_sink.tell(&rules::CRISIS_GRANTED_FROM_MEMORY);
            let (level, until_ms) = (granted.level.name(), granted.until_ms);
            tracing::error!(
                alert = "crisis_not_recorded",
                level,
                until_ms,
                "a crisis could not be recorded; the basic set is granted from memory. Whose it is, `keepwell audit list \
                 --action crisis.granted_from_memory` says once the database takes it"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use keepwell_config::TIERS_TOML;
    use keepwell_jobs::{care::tiers::Tiers, kinds, marks::Marks};
    use keepwell_workers::{
        clock::ManualClock,
        id::JobId,
        observer::Unobserved,
        seal::{KeyRing, SealingKey},
    };
    use zeroize::Zeroizing;

    use super::*;

    fn ended(watchers: &Watchers, kind: &str, lane: Lane, outcome: &'static str) {
        let job = Job {
            id: JobId::new(1),
            kind: kind.into(),
            lane,
            dedupe_key: None,
            subject: Some("cus_1".to_owned()),
            payload: "{".into(),
            attempts: 0,
            created_ms: 0,
            trace: None,
        };
        let ran = Duration::ZERO;
        watchers.run_ended(&RunEnded { job: &job, outcome, waited: Some(ran), ran });
    }

    #[test]
    fn a_crisis_that_nothing_answers_opens_the_basic_set() {
        let keys = KeyRing::new(SealingKey::new("test", &Zeroizing::new([7; 32])), []);
        let care = Care::new(Tiers::from_toml(TIERS_TOML).unwrap(), Marks::default(), keys);
        let watchers = Watchers::new(&care, ManualClock::at(0), Arc::new(Unobserved));
        ended(&watchers, kinds::CRISIS_SIGNALLED, Lane::Crisis, "retry");
        ended(&watchers, kinds::INVOICE_PAYMENT_FAILED, Lane::Standard, "dead");
        ended(&watchers, kinds::CRISIS_ANSWERED_LATE, Lane::Crisis, "dead");
        ended(&watchers, kinds::CONTACT_TOLD, Lane::Crisis, "dead");
        assert_eq!(care.watch.granted("cus_1", 1), None);
        ended(&watchers, kinds::CRISIS_SIGNALLED, Lane::Crisis, "dead");
        assert!(care.watch.granted("cus_1", 1).is_some());
        assert_eq!(care.tallies.granted(), 1);
    }
}
