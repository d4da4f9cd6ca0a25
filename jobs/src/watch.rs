//! The watch over crises that are being answered (003: crisis response time monitoring): each has its time, and when
//! that has passed, the person is granted the basic set from memory until the answer is there.
//!
//! The watch has neither a clock nor a task: whoever keeps it says what time it is, and asks what is overdue.
//!
//! What it grants is in the memory of one process, and lasts until the crisis is answered (the database says more from
//! then on) or for [`GRANTED_MS`]. A crisis that could not be recorded at all is granted the same: its sender is told
//! so and tries again, and meanwhile the person is not left with less than what a recorded crisis would open first.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use keepwell_workers::{clock::UnixMs, id::JobId, job::NewJob, lane::Lane};

use crate::{
    care::{
        emergency::{GRANTED_MS, Granted},
        severity::{EmergencyLevel, HIGH_LIMIT_MS, Severity},
    },
    kinds,
    signal::{Signal, assessment, stated_severity},
};

/// What happens when a crisis is not answered in time, in this order (003: `escalationPath`).
pub const ESCALATION_PATH: [&str; 4] =
    ["activate_emergency_bypass", "preserve_therapeutic_access", "notify_crisis_team", "audit_incident"];

/// Crises that are watched, and people who are granted something, at most; of more, the oldest are let go.
const WATCHED_MAX: usize = 16_384;

/// Jobs whose end is remembered, because it may be there before whoever recorded them has said so.
const ENDED_MAX: usize = 4_096;

/// How severe the crisis is that `job` tells of; `None` if nobody waits for it. What is in the crisis lane only because
/// the person is marked is as urgent as a crisis of unknown severity (003: 200 ms).
pub fn urgency(job: &NewJob) -> Option<(&str, Severity)> {
    let customer = job.subject.as_deref().filter(|_| job.lane == Lane::Crisis)?;
    let data = || Signal::parse(&job.payload).ok().map(|signal| signal.data);
    let severity = match &*job.kind {
        kinds::CRISIS_SIGNALLED => stated_severity(data().and_then(|data| data.fields(["severity"])[0])),
        kinds::ASSESSMENT_COMPLETED => {
            data().and_then(|data| assessment(data).crisis()).unwrap_or(Severity::High)
        }
        kinds::CRISIS_ANSWERED_LATE => return None,
        _ => Severity::High,
    };
    Some((customer, severity))
}

/// The watch. Cheap to clone; clones are the same watch.
#[derive(Clone)]
pub struct CrisisWatch {
    watch: Arc<Mutex<Watch>>,
    high_limit_ms: u64,
}

impl Default for CrisisWatch {
    /// With the limits of the crisis safety protocols.
    fn default() -> Self {
        Self::new(HIGH_LIMIT_MS)
    }
}

/// One crisis on the watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(u64);

/// A crisis that was not answered within its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missed {
    /// Its place on the watch.
    pub ticket: Ticket,
    /// The job that should answer it, if it was recorded.
    pub job: Option<JobId>,
    /// Whose crisis.
    pub customer: String,
    /// How severe.
    pub severity: Severity,
    /// When it came.
    pub since_ms: UnixMs,
    /// When it should have been answered.
    pub due_ms: UnixMs,
}

impl Missed {
    /// How long it may take, in milliseconds.
    pub const fn limit_ms(&self) -> i64 {
        self.due_ms.saturating_sub(self.since_ms)
    }
}

#[derive(Default)]
struct Watch {
    watched: BTreeMap<Ticket, Missed>,
    deadlines: BTreeSet<(UnixMs, Ticket)>,
    by_job: HashMap<JobId, Ticket>,
    granted: HashMap<String, (Ticket, Granted)>,
    ended: VecDeque<JobId>,
    tickets: u64,
}

impl CrisisWatch {
    /// A watch on which a high crisis may take `high_limit_ms`, and the others as much more or less as the protocols
    /// give them.
    pub fn new(high_limit_ms: u64) -> Self {
        Self { watch: Arc::default(), high_limit_ms }
    }

    /// How long the answer to a crisis may take, in milliseconds.
    pub fn limit_ms(&self, severity: Severity) -> i64 {
        let limit_ms = severity.response_limit_ms().saturating_mul(self.high_limit_ms) / HIGH_LIMIT_MS;
        i64::try_from(limit_ms.max(1)).unwrap_or(i64::MAX)
    }

    /// A crisis of `customer` came at `now_ms`.
    pub fn begin(&self, customer: &str, severity: Severity, now_ms: UnixMs) -> Ticket {
        let mut watch = self.lock();
        watch.tickets += 1;
        let ticket = Ticket(watch.tickets);
        if watch.watched.len() >= WATCHED_MAX
            && let Some(oldest) = watch.watched.keys().next().copied()
        {
            watch.let_go(oldest);
        }
        let due_ms = now_ms.saturating_add(self.limit_ms(severity));
        let customer = customer.to_owned();
        let missed = Missed { ticket, job: None, customer, severity, since_ms: now_ms, due_ms };
        watch.deadlines.insert((due_ms, ticket));
        watch.watched.insert(ticket, missed);
        ticket
    }

    /// The crisis was recorded as `job`, for the first time or again.
    pub fn recorded(&self, ticket: Ticket, job: JobId, duplicate: bool) {
        let mut watch = self.lock();
        if duplicate && watch.by_job.contains_key(&job) {
            // It is watched since it came first, and what was granted then stays until it is answered.
            watch.let_go(ticket);
        } else if duplicate || watch.ended.contains(&job) {
            watch.answered(ticket);
        } else if let Some(missed) = watch.watched.get_mut(&ticket) {
            missed.job = Some(job);
            watch.by_job.insert(job, ticket);
        }
    }

    /// The crisis could not be recorded: the person is granted the basic set. Answers with what was granted.
    pub fn refused(&self, ticket: Ticket, now_ms: UnixMs) -> Option<Granted> {
        let mut watch = self.lock();
        let missed = watch.let_go(ticket)?;
        Some(watch.grant(&missed, now_ms))
    }

    /// The run of `job` has ended, and what it changes is in the database.
    pub fn ended(&self, job: JobId) {
        let mut watch = self.lock();
        if let Some(ticket) = watch.by_job.get(&job).copied() {
            watch.answered(ticket);
            return;
        }
        if watch.ended.len() >= ENDED_MAX {
            watch.ended.pop_front();
        }
        watch.ended.push_back(job);
    }

    /// Grants the basic set to everybody whose crisis is overdue at `now_ms`, and answers with who they are. Each is
    /// told once.
    pub fn overdue(&self, now_ms: UnixMs) -> Vec<Missed> {
        let mut watch = self.lock();
        let due: Vec<Ticket> =
            watch.deadlines.range(..=(now_ms, Ticket(u64::MAX))).map(|due| due.1).collect();
        watch.deadlines.retain(|(deadline_ms, _)| *deadline_ms > now_ms);
        let mut overdue = Vec::with_capacity(due.len());
        for ticket in due {
            let Some(missed) = watch.watched.get(&ticket).cloned() else { continue };
            watch.grant(&missed, now_ms);
            overdue.push(missed);
        }
        overdue
    }

    /// When the next crisis is overdue.
    pub fn next_deadline_ms(&self) -> Option<UnixMs> {
        self.lock().deadlines.first().map(|(deadline_ms, _)| *deadline_ms)
    }

    /// What `customer` is granted at `now_ms`.
    pub fn granted(&self, customer: &str, now_ms: UnixMs) -> Option<Granted> {
        let granted = self.lock().granted.get(customer).map(|(_, granted)| *granted);
        granted.filter(|granted| granted.until_ms > now_ms)
    }

    /// Whether anybody is granted anything at `now_ms`.
    pub fn grants_anything(&self, now_ms: UnixMs) -> bool {
        self.lock().granted.values().any(|(_, granted)| granted.until_ms > now_ms)
    }

    fn lock(&self) -> MutexGuard<'_, Watch> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watch {
    fn grant(&mut self, missed: &Missed, now_ms: UnixMs) -> Granted {
        if self.granted.len() >= WATCHED_MAX {
            let newest_half = self.tickets.saturating_sub(WATCHED_MAX as u64 / 2);
            self.granted
                .retain(|_, (Ticket(ticket), granted)| granted.until_ms > now_ms && *ticket > newest_half);
        }
        let level = EmergencyLevel::CrisisOnly;
        let until_ms = now_ms.saturating_add(GRANTED_MS);
        let granted = Granted { level, since_ms: missed.since_ms, until_ms };
        self.granted.insert(missed.customer.clone(), (missed.ticket, granted));
        granted
    }

    /// Takes a crisis off the watch, and what was granted because of it.
    fn answered(&mut self, ticket: Ticket) {
        let Some(missed) = self.let_go(ticket) else { return };
        // What a later crisis was granted stays.
        if self.granted.get(&missed.customer).is_some_and(|(of, _)| *of <= ticket) {
            self.granted.remove(&missed.customer);
        }
    }

    fn let_go(&mut self, ticket: Ticket) -> Option<Missed> {
        let missed = self.watched.remove(&ticket)?;
        self.deadlines.remove(&(missed.due_ms, ticket));
        if let Some(job) = missed.job {
            self.by_job.remove(&job);
        }
        Some(missed)
    }
}

impl fmt::Debug for CrisisWatch {
    /// How many, never who.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let watch = self.lock();
        f.debug_struct("CrisisWatch")
            .field("watched", &watch.watched.len())
            .field("granted", &watch.granted.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(number: i64) -> JobId {
        JobId::new(number)
    }

    #[test]
    fn a_crisis_that_is_not_answered_in_time_is_granted_the_basic_set_until_it_is() {
        let watch = CrisisWatch::default();
        let ticket = watch.begin("cus_1", Severity::Critical, 1_000);
        let id = job(1);
        watch.recorded(ticket, id, false);
        assert_eq!((watch.next_deadline_ms(), watch.overdue(1_099)), (Some(1_100), vec![]));
        let missed = watch.overdue(1_100);
        assert_eq!((missed.len(), missed[0].job, &*missed[0].customer), (1, Some(id), "cus_1"));
        assert_eq!(missed[0].limit_ms(), 100);
        let granted = watch.granted("cus_1", 1_100).unwrap();
        assert_eq!((granted.level, granted.since_ms), (EmergencyLevel::CrisisOnly, 1_000));
        assert_eq!((watch.overdue(9_999), watch.next_deadline_ms()), (vec![], None), "each is told once");
        assert!(watch.grants_anything(1_100) && !watch.grants_anything(1_100 + GRANTED_MS));
        assert_eq!(watch.granted("cus_1", 1_100 + GRANTED_MS), None);
        watch.ended(id);
        assert_eq!(watch.granted("cus_1", 1_101), None, "the database says more from now on");
    }

    #[test]
    fn every_severity_has_its_time() {
        for (severity, limit_ms) in
            [(Severity::Critical, 100), (Severity::High, 200), (Severity::Moderate, 300)]
        {
            let watch = CrisisWatch::default();
            watch.begin("cus_1", severity, 0);
            assert_eq!((watch.overdue(limit_ms - 1).len(), watch.overdue(limit_ms).len()), (0, 1));
            assert_eq!(CrisisWatch::new(2_000).limit_ms(severity), 10 * limit_ms);
            assert!(CrisisWatch::new(0).limit_ms(severity) > 0);
        }
    }

    #[test]
    fn what_is_answered_in_time_or_was_told_before_is_granted_nothing() {
        let watch = CrisisWatch::default();
        let ticket = watch.begin("cus_1", Severity::Critical, 0);
        watch.recorded(ticket, job(1), true);
        // The end may be there before the recording is said to be.
        let ticket = watch.begin("cus_2", Severity::Critical, 0);
        let second = job(2);
        watch.ended(second);
        watch.recorded(ticket, second, false);
        let ticket = watch.begin("cus_3", Severity::Critical, 0);
        let third = job(3);
        watch.recorded(ticket, third, false);
        watch.ended(third);
        assert_eq!((watch.overdue(1_000), watch.next_deadline_ms()), (vec![], None));
        assert!(!watch.grants_anything(0));
    }

    #[test]
    fn what_could_not_be_recorded_is_granted_and_the_next_attempt_takes_over() {
        let watch = CrisisWatch::default();
        let ticket = watch.begin("cus_1", Severity::High, 0);
        assert_eq!(watch.refused(ticket, 5).unwrap().until_ms, 5 + GRANTED_MS);
        assert_eq!(watch.refused(ticket, 5), None);
        assert!(watch.granted("cus_1", 6).is_some() && watch.granted("cus_2", 6).is_none());
        assert_eq!(watch.overdue(1_000), [], "its sender was told");
        let again = watch.begin("cus_1", Severity::High, 2_000);
        let id = job(1);
        watch.recorded(again, id, false);
        watch.ended(id);
        assert_eq!(watch.granted("cus_1", 2_001), None);
        // It had been recorded after all, and was answered: its sender only heard of it too late.
        let ticket = watch.begin("cus_1", Severity::High, 3_000);
        watch.refused(ticket, 3_000);
        let again = watch.begin("cus_1", Severity::High, 4_000);
        watch.recorded(again, job(2), true);
        assert_eq!(watch.granted("cus_1", 4_001), None);
    }

    #[test]
    fn of_too_many_grants_the_newer_half_stays_and_none_that_has_ended() {
        let watch = CrisisWatch::default();
        let refuse = |number: u64, now_ms| {
            let ticket = watch.begin(&format!("cus_{number}"), Severity::High, now_ms);
            watch.refused(ticket, now_ms);
        };
        let count = || watch.watch.lock().unwrap().granted.len();
        let full = WATCHED_MAX as u64;
        (0..full).for_each(|number| refuse(number, 0));
        assert_eq!(count(), WATCHED_MAX);
        refuse(full, 1);
        assert_eq!(count(), WATCHED_MAX / 2);
        assert!(watch.granted(&format!("cus_{}", full / 2), 1).is_none());
        assert!(watch.granted(&format!("cus_{}", full / 2 + 2), 1).is_some());
        assert!(watch.granted(&format!("cus_{full}"), 1).is_some(), "the newest");
        (full + 1..full * 3 / 2 + 1).for_each(|number| refuse(number, 2));
        assert_eq!(count(), WATCHED_MAX);
        // All but those of the last instant have ended.
        refuse(0, 1 + GRANTED_MS);
        let left = count();
        refuse(1, 2 + GRANTED_MS);
        assert_eq!((left, count()), (WATCHED_MAX / 2, WATCHED_MAX / 2 + 1));
        assert!(watch.granted("cus_1", 2 + GRANTED_MS).is_some());
    }

    #[test]
    fn what_is_told_again_before_it_is_answered_takes_nothing_away() {
        let watch = CrisisWatch::default();
        let (ticket, id) = (watch.begin("cus_1", Severity::Critical, 0), job(1));
        watch.recorded(ticket, id, false);
        assert_eq!(watch.overdue(100).len(), 1);
        let again = watch.begin("cus_1", Severity::Critical, 150);
        watch.recorded(again, id, true);
        assert!(watch.granted("cus_1", 151).is_some(), "it is not answered yet");
        assert_eq!(watch.next_deadline_ms(), None);
        watch.ended(id);
        assert_eq!(watch.granted("cus_1", 151), None);
    }

    #[test]
    fn a_flood_takes_bounded_memory_and_the_newest_are_watched() {
        let watch = CrisisWatch::default();
        for number in 0..WATCHED_MAX as i64 + 50 {
            watch.ended(job(number));
            watch.begin(&format!("cus_{number}"), Severity::High, number);
        }
        assert_eq!(format!("{watch:?}"), format!("CrisisWatch {{ watched: {WATCHED_MAX}, granted: 0, .. }}"));
        assert_eq!(watch.overdue(UnixMs::MAX / 2).len(), WATCHED_MAX);
        assert_eq!(watch.watch.lock().unwrap().ended.len(), ENDED_MAX);
    }

    #[test]
    fn how_urgent_a_job_is_follows_from_what_it_tells() {
        let of = |kind: &'static str, lane, data: &str| {
            let body = format!(r#"{{"type":"x","data":{{"customer":"cus_1"{data}}}}}"#);
            let job = NewJob::new(kind, lane, body).subject("cus_1");
            urgency(&job).map(|(customer, severity)| (customer.to_owned(), severity))
        };
        let cus = |severity| Some(("cus_1".to_owned(), severity));
        let signalled = kinds::CRISIS_SIGNALLED;
        assert_eq!(of(signalled, Lane::Crisis, r#","severity":"moderate""#), cus(Severity::Moderate));
        assert_eq!(of(signalled, Lane::Crisis, ""), cus(Severity::Critical));
        let assessed = kinds::ASSESSMENT_COMPLETED;
        let thoughts = r#","suicidal_ideation":true"#;
        assert_eq!(of(assessed, Lane::Crisis, thoughts), cus(Severity::Critical));
        assert_eq!(of(assessed, Lane::Crisis, ""), cus(Severity::High), "of somebody who is marked");
        assert_eq!(of(assessed, Lane::Therapeutic, thoughts), None);
        assert_eq!(of(kinds::INVOICE_PAYMENT_FAILED, Lane::Crisis, ""), cus(Severity::High));
        assert_eq!(of(kinds::CRISIS_ANSWERED_LATE, Lane::Crisis, ""), None, "nobody watches the watch");
        assert_eq!(urgency(&crate::crisis_rehearsed::rehearsal()), None);
    }
}
