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

use keepwell_workers::{
    clock::UnixMs,
    id::JobId,
    job::{Job, NewJob},
    lane::Lane,
};

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
    urgency_of(&job.kind, job.lane, job.subject.as_deref(), &job.payload)
}

/// The same of a job that was recorded as `job`.
pub fn recorded_urgency(job: &Job) -> Option<(&str, Severity)> {
    urgency_of(&job.kind, job.lane, job.subject.as_deref(), &job.payload)
}

/// The same of what a job was recorded with.
pub(crate) fn urgency_of<'j>(
    kind: &str,
    lane: Lane,
    subject: Option<&'j str>,
    payload: &[u8],
) -> Option<(&'j str, Severity)> {
    let customer = subject.filter(|_| lane == Lane::Crisis)?;
    let data = || Signal::parse(payload).ok().map(|signal| signal.data);
    let severity = match kind {
        kinds::CRISIS_SIGNALLED => stated_severity(data().and_then(|data| data.fields(["severity"])[0])),
        kinds::ASSESSMENT_COMPLETED => {
            data().and_then(|data| assessment(data).crisis()).unwrap_or(Severity::High)
        }
        // Whoever says that it is over waits for nothing, nobody watches the watch, and a canary is watched elsewhere.
        // What is done for the person's contacts, or said of them, answers nothing: a number that leads nowhere is no
        // crisis of theirs.
        kinds::CRISIS_RESOLVED
        | kinds::CRISIS_ANSWERED_LATE
        | kinds::CRISIS_CANARY
        | kinds::CONTACTS_DUE
        | kinds::CONTACT_TOLD
        | kinds::PERSON_DATA_UPDATED => return None,
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
    recorded_late: VecDeque<Missed>,
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
        let due_ms = now_ms.saturating_add(self.limit_ms(severity));
        let mut watch = self.lock();
        let ticket = watch.put(customer, severity, now_ms, due_ms);
        watch.deadlines.insert((due_ms, ticket));
        ticket
    }

    /// The crisis was recorded as `job`, for the first time or again.
    pub fn recorded(&self, ticket: Ticket, job: JobId, duplicate: bool) {
        let mut watch = self.lock();
        if watch.by_job.contains_key(&job) {
            // It is watched since it came first, and what was granted then stays until it is answered.
            watch.let_go(ticket);
            return;
        }
        let has_ended = watch.ended.contains(&job);
        if duplicate && !has_ended && !watch.is_granted(ticket) {
            // Whoever recorded it first watches it, or did.
            watch.let_go(ticket);
            return;
        }
        watch.is_recorded(ticket, job);
        if has_ended {
            watch.answered(ticket);
        }
    }

    /// Those that were told of as overdue before they were recorded, and have been recorded since then. Each is told
    /// once.
    pub fn recorded_late(&self) -> Vec<Missed> {
        self.lock().recorded_late.drain(..).collect()
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

    /// Nothing will answer the crisis of `customer` that `job` tells of, unless somebody has it run again: the basic
    /// set is granted, as it is to whoever is answered too late (003: the fallback when activation fails). Answers
    /// with what was granted.
    pub fn failed(&self, job: JobId, customer: &str, severity: Severity, now_ms: UnixMs) -> Option<Granted> {
        let mut watch = self.lock();
        let watched = watch.by_job.get(&job).copied();
        let ticket = watched.unwrap_or_else(|| watch.put(customer, severity, now_ms, now_ms));
        watch.by_job.insert(job, ticket);
        // It is on the watch: whoever is known by a job is, and whoever was put there is.
        let missed = watch.watched.get_mut(&ticket)?;
        missed.job = Some(job);
        let missed = missed.clone();
        watch.deadlines.remove(&(missed.due_ms, ticket));
        Some(watch.grant(&missed, now_ms))
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
    fn put(&mut self, customer: &str, severity: Severity, since_ms: UnixMs, due_ms: UnixMs) -> Ticket {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        if self.watched.len() >= WATCHED_MAX
            && let Some(oldest) = self.watched.keys().next().copied()
        {
            self.let_go(oldest);
        }
        let customer = customer.to_owned();
        self.watched.insert(ticket, Missed { ticket, job: None, customer, severity, since_ms, due_ms });
        ticket
    }

    fn is_recorded(&mut self, ticket: Ticket, job: JobId) {
        let Some(missed) = self.watched.get_mut(&ticket) else { return };
        missed.job = Some(job);
        self.by_job.insert(job, ticket);
        if !self.deadlines.contains(&(missed.due_ms, ticket)) {
            if self.recorded_late.len() >= ENDED_MAX {
                self.recorded_late.pop_front();
            }
            self.recorded_late.push_back(missed.clone());
        }
    }

    /// Whether whoever it concerns is granted anything, because of this or of something before.
    fn is_granted(&self, ticket: Ticket) -> bool {
        self.watched.get(&ticket).is_some_and(|missed| self.granted.contains_key(&missed.customer))
    }

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
mod tests;
