//! What is counted of care, for metrics. Numbers only: never who.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What is counted.
#[derive(Debug, Default)]
pub struct Tallies {
    emergencies: AtomicU64,
    missed: AtomicU64,
    granted: AtomicU64,
    access_checked: AtomicU64,
    access_missing: AtomicU64,
    access_mended: AtomicU64,
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

    /// It was looked whether somebody has what a crisis calls for.
    pub fn access_checked(&self) {
        self.access_checked.fetch_add(1, Relaxed);
    }

    /// Somebody lacked something of it, and has it now if that is `mended`.
    pub fn access_missing(&self, mended: bool) {
        self.access_missing.fetch_add(1, Relaxed);
        self.access_mended.fetch_add(u64::from(mended), Relaxed);
    }

    /// How often it was looked whether somebody has what a crisis calls for, how often something was missing, and how
    /// often that could be mended.
    pub fn access(&self) -> [u64; 3] {
        [&self.access_checked, &self.access_missing, &self.access_mended].map(|count| count.load(Relaxed))
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
