//! What is counted of care, for metrics. Numbers only: never who.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::{backfill::Taken, reconcile::Reconciled};

/// What is counted.
#[derive(Debug, Default)]
pub struct Tallies {
    emergencies: AtomicU64,
    missed: AtomicU64,
    granted: AtomicU64,
    contacts_found_dead: AtomicU64,
    access_checked: AtomicU64,
    access_missing: AtomicU64,
    access_mended: AtomicU64,
    backfilled: [AtomicU64; Taken::ALL.len()],
    reconciled: [AtomicU64; Reconciled::ALL.len()],
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

    /// A job about contacts was found dead that had died elsewhere, or before this process began.
    pub fn contact_job_found_dead(&self) {
        self.contacts_found_dead.fetch_add(1, Relaxed);
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

    /// An event that a back-fill came upon was taken like this.
    pub fn backfilled(&self, taken: Taken) {
        self.backfilled[taken as usize].fetch_add(1, Relaxed);
    }

    /// So many subscriptions were found like this.
    pub fn reconciled(&self, found: Reconciled, count: u64) {
        self.reconciled[found as usize].fetch_add(count, Relaxed);
    }

    /// How many events were taken so by back-fills.
    pub fn backfills(&self, taken: Taken) -> u64 {
        self.backfilled[taken as usize].load(Relaxed)
    }

    /// How many subscriptions were found so.
    pub fn reconciliations(&self, found: Reconciled) -> u64 {
        self.reconciled[found as usize].load(Relaxed)
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

    /// How many jobs about contacts were found dead.
    pub fn contact_jobs_found_dead(&self) -> u64 {
        self.contacts_found_dead.load(Relaxed)
    }

    /// How often somebody was granted the basic set from memory.
    pub fn granted(&self) -> u64 {
        self.granted.load(Relaxed)
    }
}
