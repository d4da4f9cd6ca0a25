//! Since when a process has not seen what is open. An alert is over when what it tells of has been well for long
//! enough, and not because it is well in the moment of a look: whoever has not looked for a while (a machine that stood
//! still, a clock that was set) knows nothing of what was between, and what flaps is well again and again.

use std::collections::BTreeMap;

use keepwell_workers::clock::UnixMs;

use super::{plan::OpenAlert, watch::Seen};

/// Since which look a process has not seen which alert. It counts from the first look at which it was well, as
/// `keep_firing_for` does in Prometheus, and again from the next such look if it was seen between, or if nobody looked
/// for as long as an alert has to be well to be over.
#[derive(Debug, Clone)]
pub struct Unseen {
    quiet_ms: i64,
    looked_ms: Option<UnixMs>,
    /// By the alerts' ids.
    since: BTreeMap<String, UnixMs>,
}

impl Unseen {
    /// One that has not looked yet; what is well for `quiet_ms` milliseconds is over.
    pub fn new(quiet_ms: i64) -> Self {
        Self { quiet_ms, looked_ms: None, since: BTreeMap::new() }
    }

    /// At `now_ms` these are `seen`, and these are `open`.
    pub fn look(&mut self, seen: &[Seen], open: &[OpenAlert], now_ms: UnixMs) {
        let is_late = self.looked_ms.is_some_and(|looked_ms| now_ms - looked_ms > self.quiet_ms);
        let known = if is_late { BTreeMap::new() } else { std::mem::take(&mut self.since) };
        let unseen = open.iter().filter(|alert| !seen.iter().any(|seen| seen.is_of(&alert.told)));
        let since = |alert: &OpenAlert| {
            let id = alert.told.id.clone();
            // A clock that was set back must not make anything wait for the future.
            let since_ms = known.get(&id).map_or(now_ms, |since_ms| now_ms.min(*since_ms));
            (id, since_ms)
        };
        self.since = unseen.map(since).collect();
        self.looked_ms = Some(now_ms);
    }

    /// Whether `alert` has been well for long enough to be over.
    pub fn is_well(&self, alert: &OpenAlert, now_ms: UnixMs) -> bool {
        self.since.get(&alert.told.id).is_some_and(|since_ms| now_ms - since_ms >= self.quiet_ms)
    }
}
