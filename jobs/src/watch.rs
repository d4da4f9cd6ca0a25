//! The watch over crises that are being answered (003: crisis response time monitoring): each has its time, and when
//! that has passed, the person is granted the basic set from memory until the answer is there.
//!
//! The watch has neither a clock nor a task: whoever keeps it says what time it is, and asks what is overdue.
//!
//! What it grants is in the memory of one process, and lasts until the very crisis is answered for which it was granted
//! (the database says more from then on) or for [`GRANTED_MS`](crate::care::emergency::GRANTED_MS). That something
//! else was done for the same person ends nothing. A crisis that could not be recorded at all is granted the same: its
//! sender is told so and tries again, and meanwhile the person is not left with less than what a recorded crisis would
//! open first.

mod grants;
mod urgency;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use keepwell_workers::{clock::UnixMs, id::JobId};

use crate::care::{
    emergency::Granted,
    severity::{HIGH_LIMIT_MS, Severity},
};
use grants::Grants;

pub(crate) use urgency::urgency_of;
pub use urgency::{recorded_urgency, urgency};

/// What happens when a crisis is not answered in time, in this order (003: `escalationPath`).
pub const ESCALATION_PATH: [&str; 4] =
    ["activate_emergency_bypass", "preserve_therapeutic_access", "notify_crisis_team", "audit_incident"];

/// Crises that are watched at most, and those for which something is granted; of more, the oldest are let go.
pub const WATCHED_MAX: usize = 16_384;

/// Jobs whose end is remembered, because it may be there before whoever recorded them has said so.
const ENDED_MAX: usize = 4_096;

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
    /// What tells it from others of the same person: the dedupe key of its job, if it has one. Told again after it
    /// could not be recorded, it is the same crisis.
    pub key: Option<String>,
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

/// A crisis for which something is granted, and what the ledger knows it by: its job if it was recorded here, else the
/// dedupe key under which its sender may have it recorded elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantedCrisis {
    /// Its place on the watch.
    pub ticket: Ticket,
    /// The job that should answer it.
    pub job: Option<JobId>,
    /// The dedupe key of that job.
    pub key: Option<String>,
}

#[derive(Default)]
struct Watch {
    watched: BTreeMap<Ticket, Missed>,
    deadlines: BTreeSet<(UnixMs, Ticket)>,
    by_job: HashMap<JobId, Ticket>,
    granted: Grants,
    /// Those that nothing will answer, and since when.
    failed: BTreeMap<Ticket, UnixMs>,
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

    /// A crisis of `customer` came at `now_ms`, known by the dedupe key `key` if it has one.
    pub fn begin(&self, customer: &str, key: Option<&str>, severity: Severity, now_ms: UnixMs) -> Ticket {
        let due_ms = now_ms.saturating_add(self.limit_ms(severity));
        let mut watch = self.lock();
        let ticket = watch.put(customer, key, severity, now_ms, due_ms);
        watch.deadlines.insert((due_ms, ticket));
        ticket
    }

    /// The ledger says that the crisis of `customer` that `job` tells of came at `since_ms` and is not answered, after
    /// its time: it came to another process, or to one that is no more. From now on it is overdue.
    pub fn found(&self, job: JobId, customer: &str, severity: Severity, since_ms: UnixMs) {
        let due_ms = since_ms.saturating_add(self.limit_ms(severity));
        let mut watch = self.lock();
        // What is watched already was told already, and its end may be there before whoever found it says so.
        if watch.by_job.contains_key(&job) || watch.ended.contains(&job) {
            return;
        }
        let ticket = watch.put(customer, None, severity, since_ms, due_ms);
        watch.deadlines.insert((due_ms, ticket));
        watch.is_recorded(ticket, job);
    }

    /// What there is to tell of the crisis of `customer` that `job` told of and that came at `since_ms`, if it was
    /// answered too late: it may be on the watch or not, and stays so.
    pub fn missed(&self, job: JobId, customer: &str, severity: Severity, since_ms: UnixMs) -> Missed {
        let due_ms = since_ms.saturating_add(self.limit_ms(severity));
        let ticket = self.lock().ticket();
        Missed {
            ticket,
            key: None,
            job: Some(job),
            customer: customer.to_owned(),
            severity,
            since_ms,
            due_ms,
        }
    }

    /// Whether it is known here that `job`, which died at `died_ms`, will not answer the crisis that it tells of. One
    /// that is on the watch only because it is late may have died since.
    pub fn knows_failed(&self, job: JobId, died_ms: UnixMs) -> bool {
        let watch = self.lock();
        let failed_ms = watch.by_job.get(&job).and_then(|ticket| watch.failed.get(ticket));
        failed_ms.is_some_and(|failed_ms| *failed_ms >= died_ms)
    }

    /// The crisis was recorded as `job`, for the first time or again.
    pub fn recorded(&self, ticket: Ticket, job: JobId, duplicate: bool) {
        let mut watch = self.lock();
        if let Some(first) = watch.by_job.get(&job).copied() {
            // It is watched since it came first, and what was granted then stays until it is answered.
            watch.let_go(ticket);
            watch.granted.give(ticket, first);
            watch.granted.is_recorded(first, job);
            return;
        }
        let has_ended = watch.ended.contains(&job);
        if duplicate && !has_ended && !watch.granted.has(ticket) {
            // Whoever recorded it first watches it, or did.
            watch.let_go(ticket);
            return;
        }
        watch.is_recorded(ticket, job);
        if has_ended {
            watch.answered(ticket);
        }
    }

    /// The next of those that were told of as overdue before they were recorded, and have been recorded since then.
    /// Each is told once.
    pub fn next_recorded_late(&self) -> Option<Missed> {
        self.lock().recorded_late.pop_front()
    }

    /// The crisis could not be recorded: the person is granted the basic set. Answers with what was granted.
    pub fn refused(&self, ticket: Ticket, now_ms: UnixMs) -> Option<Granted> {
        let mut watch = self.lock();
        let missed = watch.let_go(ticket)?;
        Some(watch.granted.grant(&missed, now_ms))
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
        let ticket = watched.unwrap_or_else(|| watch.put(customer, None, severity, now_ms, now_ms));
        watch.by_job.insert(job, ticket);
        // It is on the watch: whoever is known by a job is, and whoever was put there is.
        let missed = watch.watched.get_mut(&ticket)?;
        missed.job = Some(job);
        let missed = missed.clone();
        watch.failed.insert(ticket, now_ms);
        watch.deadlines.remove(&(missed.due_ms, ticket));
        Some(watch.granted.grant(&missed, now_ms))
    }

    /// Grants the basic set to everybody whose crisis is overdue at `now_ms`, and answers with who they are. Each is
    /// told once.
    pub fn overdue(&self, now_ms: UnixMs) -> Vec<Missed> {
        let mut watch = self.lock();
        // What should have until later than anything that comes now came before the clock was set back.
        let last_ms = now_ms.saturating_add(self.limit_ms(Severity::Moderate));
        let (past, odd) = (..=(now_ms, Ticket(u64::MAX)), (last_ms.saturating_add(1), Ticket(0))..);
        let due = watch.deadlines.range(past).chain(watch.deadlines.range(odd));
        let due: Vec<(UnixMs, Ticket)> = due.copied().collect();
        let mut overdue = Vec::with_capacity(due.len());
        for (due_ms, ticket) in due {
            watch.deadlines.remove(&(due_ms, ticket));
            let Some(missed) = watch.watched.get(&ticket).cloned() else { continue };
            watch.granted.grant(&missed, now_ms);
            overdue.push(missed);
        }
        overdue
    }

    /// When the next crisis is overdue.
    pub fn next_deadline_ms(&self) -> Option<UnixMs> {
        self.lock().deadlines.first().map(|(deadline_ms, _)| *deadline_ms)
    }

    /// At most `limit` crises behind `after` for which something is granted, whatever else is watched: so that the
    /// ledger can be asked whether another process has answered them.
    pub fn granted_behind(&self, after: Option<Ticket>, limit: usize) -> Vec<GrantedCrisis> {
        self.lock().granted.behind(after, limit)
    }

    /// The ledger says that the crisis was answered: what was granted for it ends.
    pub fn answered(&self, ticket: Ticket) {
        self.lock().answered(ticket);
    }

    /// What `customer` is granted at `now_ms`.
    pub fn granted(&self, customer: &str, now_ms: UnixMs) -> Option<Granted> {
        self.lock().granted.of(customer, now_ms)
    }

    /// Whether anybody is granted anything at `now_ms`.
    pub fn grants_anything(&self, now_ms: UnixMs) -> bool {
        self.lock().granted.is_anything(now_ms)
    }

    fn lock(&self) -> MutexGuard<'_, Watch> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watch {
    /// One that nobody has yet.
    fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket(self.tickets)
    }

    fn put(
        &mut self,
        customer: &str,
        key: Option<&str>,
        severity: Severity,
        since_ms: UnixMs,
        due_ms: UnixMs,
    ) -> Ticket {
        let refused = key.and_then(|key| self.granted.ticket_of(customer, key));
        // Of two that come at the same time, the second is watched by itself until both are recorded.
        let ticket = refused.filter(|ticket| !self.watched.contains_key(ticket));
        let ticket = ticket.unwrap_or_else(|| self.ticket());
        if self.watched.len() >= WATCHED_MAX
            && let Some(oldest) = self.watched.keys().next().copied()
        {
            self.let_go(oldest);
        }
        let (customer, key) = (customer.to_owned(), key.map(str::to_owned));
        self.watched.insert(ticket, Missed { ticket, key, job: None, customer, severity, since_ms, due_ms });
        ticket
    }

    fn is_recorded(&mut self, ticket: Ticket, job: JobId) {
        let Some(missed) = self.watched.get_mut(&ticket) else { return };
        missed.job = Some(job);
        self.by_job.insert(job, ticket);
        self.granted.is_recorded(ticket, job);
        if !self.deadlines.contains(&(missed.due_ms, ticket)) {
            if self.recorded_late.len() >= ENDED_MAX {
                self.recorded_late.pop_front();
            }
            self.recorded_late.push_back(missed.clone());
        }
    }

    /// Takes a crisis off the watch, and what was granted because of it.
    fn answered(&mut self, ticket: Ticket) {
        self.let_go(ticket);
        self.granted.end(ticket);
    }

    fn let_go(&mut self, ticket: Ticket) -> Option<Missed> {
        let missed = self.watched.remove(&ticket)?;
        self.deadlines.remove(&(missed.due_ms, ticket));
        self.failed.remove(&ticket);
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
