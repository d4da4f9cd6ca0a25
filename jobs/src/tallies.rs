//! What is counted of care, for metrics. Numbers only: never who.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What is counted.
#[derive(Debug, Default)]
pub struct Tallies {
    emergencies: AtomicU64,
    missed: AtomicU64,
    granted: AtomicU64,
    graces: AtomicU64,
}

impl Tallies {
    /// Emergency access was activated: somebody's crisis opened.
    pub fn emergency_activated(&self) {
        self.emergencies.fetch_add(1, Relaxed);
    }

    /// A crisis was not answered within its time.
    pub fn response_missed(&self) {
        self.missed.fetch_add(1, Relaxed);
    }

    /// Somebody was granted the basic set from memory.
    pub fn granted_from_memory(&self) {
        self.granted.fetch_add(1, Relaxed);
    }

    /// So many grace periods have begun.
    pub fn graces_begun(&self, count: u64) {
        self.graces.fetch_add(count, Relaxed);
    }

    /// How many grace periods have begun.
    pub fn graces(&self) -> u64 {
        self.graces.load(Relaxed)
    }

    /// How often emergency access was activated.
    pub fn emergencies(&self) -> u64 {
        self.emergencies.load(Relaxed)
    }

    /// How many crises were not answered within their time.
    pub fn missed(&self) -> u64 {
        self.missed.load(Relaxed)
    }

    /// How often somebody was granted the basic set from memory.
    pub fn granted(&self) -> u64 {
        self.granted.load(Relaxed)
    }
}
