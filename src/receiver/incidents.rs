//! Requests that look like an attack, counted by source until somebody takes them away (once a minute, for the audit
//! trail): a flood of them is one entry, not a flood of entries.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
};

use keepwell_workers::clock::UnixMs;

/// Addresses that are told apart for one source; the others are counted together.
pub const ADDRESSES_MAX: usize = 16;

/// What was refused at one source since the last time that somebody asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Incident {
    /// The first of them.
    pub since_ms: UnixMs,
    /// The last of them.
    pub until_ms: UnixMs,
    /// How often, by reason.
    pub refused: BTreeMap<&'static str, u64>,
    /// How often, by address, for the first [`ADDRESSES_MAX`] addresses.
    pub addresses: BTreeMap<IpAddr, u64>,
    /// From further addresses.
    pub others: u64,
}

impl Incident {
    fn count(&mut self, address: IpAddr, times: u64) {
        let is_known = self.addresses.contains_key(&address);
        if is_known || self.addresses.len() < ADDRESSES_MAX {
            *self.addresses.entry(address).or_default() += times;
        } else {
            self.others += times;
        }
    }

    fn followed_by(mut self, later: Self) -> Self {
        self.until_ms = later.until_ms;
        for (code, times) in later.refused {
            *self.refused.entry(code).or_default() += times;
        }
        for (address, times) in later.addresses {
            self.count(address, times);
        }
        self.others += later.others;
        self
    }
}

/// What was refused, by source.
#[derive(Debug, Default)]
pub struct Incidents(Mutex<BTreeMap<&'static str, Incident>>);

impl Incidents {
    /// Notes that `source` refused a request from `address` for the reason `code`.
    pub(super) fn note(&self, source: &'static str, code: &'static str, address: IpAddr, now_ms: UnixMs) {
        // Counts that a panic interrupted are still counts.
        let mut sources = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let incident =
            sources.entry(source).or_insert_with(|| Incident { since_ms: now_ms, ..Incident::default() });
        incident.until_ms = now_ms;
        *incident.refused.entry(code).or_default() += 1;
        incident.count(address, 1);
    }

    /// Takes what was noted since the last time.
    pub fn take(&self) -> BTreeMap<&'static str, Incident> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts back what could not be written, in front of what came meanwhile.
    pub fn put_back(&self, taken: BTreeMap<&'static str, Incident>) {
        let mut sources = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (source, earlier) in taken {
            let whole = match sources.remove(source) {
                Some(later) => earlier.followed_by(later),
                None => earlier,
            };
            sources.insert(source, whole);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[test]
    fn a_flood_is_one_incident_of_bounded_size() {
        let incidents = Incidents::default();
        for number in 0..10_000_u32 {
            incidents.note("stripe", "signature_invalid", address((number % 200) as u8), i64::from(number));
        }
        incidents.note("stripe", "rate_limited", address(1), 10_000);
        incidents.note("app", "address_not_allowed", address(1), 5);
        let taken = incidents.take();
        let stripe = &taken["stripe"];
        assert_eq!((stripe.since_ms, stripe.until_ms), (0, 10_000));
        assert_eq!(stripe.refused, BTreeMap::from([("signature_invalid", 10_000), ("rate_limited", 1)]));
        assert_eq!(stripe.addresses.len(), ADDRESSES_MAX);
        assert_eq!(stripe.addresses.values().sum::<u64>() + stripe.others, 10_001);
        assert_eq!(taken["app"].refused, BTreeMap::from([("address_not_allowed", 1)]));
        assert!(incidents.take().is_empty());
    }

    #[test]
    fn what_could_not_be_written_is_not_forgotten() {
        let incidents = Incidents::default();
        incidents.note("stripe", "signature_invalid", address(1), 1);
        let taken = incidents.take();
        incidents.note("stripe", "signature_invalid", address(2), 1);
        incidents.put_back(taken);
        incidents.note("stripe", "signature_invalid", address(2), 2);
        let taken = incidents.take();
        let stripe = &taken["stripe"];
        assert_eq!((stripe.since_ms, stripe.until_ms, stripe.refused["signature_invalid"]), (1, 2, 3));
        assert_eq!(stripe.addresses, BTreeMap::from([(address(1), 1), (address(2), 2)]));
        incidents.put_back(taken.clone());
        assert_eq!(incidents.take(), taken);
    }
}
