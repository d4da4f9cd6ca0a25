//! What is granted from memory, crisis by crisis: what was granted for one ends with that one and no other.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::Bound,
};

use keepwell_workers::{clock::UnixMs, id::JobId};

use super::{GrantedCrisis, Missed, Ticket, WATCHED_MAX};
use crate::care::{
    emergency::{GRANTED_MS, Granted},
    severity::EmergencyLevel,
};

/// What is granted, by the crisis it is granted for: [`WATCHED_MAX`] at most, of more the oldest are let go.
#[derive(Default)]
pub(super) struct Grants {
    by_ticket: BTreeMap<Ticket, Grant>,
    by_customer: HashMap<String, BTreeSet<Ticket>>,
}

/// What was granted for one crisis, and whose it is.
pub(super) struct Grant {
    customer: String,
    key: Option<String>,
    job: Option<JobId>,
    granted: Granted,
}

impl Grants {
    /// Grants the basic set because of `missed`, for [`GRANTED_MS`] from `now_ms` on. Granted again for the same crisis
    /// it lasts longer, and counts from the first time.
    pub(super) fn grant(&mut self, missed: &Missed, now_ms: UnixMs) -> Granted {
        let Missed { ticket, key, job, customer, since_ms, .. } = missed.clone();
        let until_ms = now_ms.saturating_add(GRANTED_MS);
        let granted = Granted { level: EmergencyLevel::CrisisOnly, since_ms, until_ms };
        self.keep(ticket, Grant { customer, key, job, granted })
    }

    /// What was granted for the crisis `from` is granted for the crisis `to`: they are one.
    pub(super) fn give(&mut self, from: Ticket, to: Ticket) {
        if from != to
            && let Some(grant) = self.end(from)
        {
            self.keep(to, grant);
        }
    }

    /// The crisis was recorded as `job`.
    pub(super) fn is_recorded(&mut self, ticket: Ticket, job: JobId) {
        if let Some(grant) = self.by_ticket.get_mut(&ticket) {
            grant.job = Some(job);
        }
    }

    /// At most `limit` crises behind `after` for which something is granted.
    pub(super) fn behind(&self, after: Option<Ticket>, limit: usize) -> Vec<GrantedCrisis> {
        let behind = (after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
        let crisis = |(ticket, grant): (&Ticket, &Grant)| GrantedCrisis {
            ticket: *ticket,
            job: grant.job,
            key: grant.key.clone(),
        };
        self.by_ticket.range(behind).take(limit).map(crisis).collect()
    }

    /// The crisis is answered: what was granted for it ends.
    pub(super) fn end(&mut self, ticket: Ticket) -> Option<Grant> {
        let grant = self.by_ticket.remove(&ticket)?;
        if let Some(tickets) = self.by_customer.get_mut(&grant.customer) {
            tickets.remove(&ticket);
            if tickets.is_empty() {
                self.by_customer.remove(&grant.customer);
            }
        }
        Some(grant)
    }

    /// Whether anything was granted for the crisis.
    pub(super) fn has(&self, ticket: Ticket) -> bool {
        self.by_ticket.contains_key(&ticket)
    }

    /// The crisis of `customer` that is known by `key`, if anything was granted for it.
    pub(super) fn ticket_of(&self, customer: &str, key: &str) -> Option<Ticket> {
        let known = |ticket: &&Ticket| {
            self.by_ticket.get(ticket).is_some_and(|grant| grant.key.as_deref() == Some(key))
        };
        self.by_customer.get(customer)?.iter().find(known).copied()
    }

    /// What `customer` is granted at `now_ms`, for whichever crisis: from the first until the last.
    pub(super) fn of(&self, customer: &str, now_ms: UnixMs) -> Option<Granted> {
        let tickets = self.by_customer.get(customer)?.iter();
        let granted = tickets.filter_map(|ticket| Some(self.by_ticket.get(ticket)?.granted));
        granted.filter(|granted| granted.until_ms > now_ms).reduce(both)
    }

    /// Whether anything is granted at `now_ms`.
    pub(super) fn is_anything(&self, now_ms: UnixMs) -> bool {
        self.by_ticket.values().any(|grant| grant.granted.until_ms > now_ms)
    }

    /// For how many crises something is granted.
    pub(super) fn len(&self) -> usize {
        self.by_ticket.len()
    }

    fn keep(&mut self, ticket: Ticket, grant: Grant) -> Granted {
        let granted = match self.by_ticket.get(&ticket) {
            Some(known) => both(known.granted, grant.granted),
            None => grant.granted,
        };
        self.by_customer.entry(grant.customer.clone()).or_default().insert(ticket);
        self.by_ticket.insert(ticket, Grant { granted, ..grant });
        while self.by_ticket.len() > WATCHED_MAX
            && let Some(oldest) = self.by_ticket.keys().next().copied()
        {
            self.end(oldest);
        }
        granted
    }
}

fn both(one: Granted, other: Granted) -> Granted {
    Granted {
        level: one.level.max(other.level),
        since_ms: one.since_ms.min(other.since_ms),
        until_ms: one.until_ms.max(other.until_ms),
    }
}
