//! Which alerts are open, as the keeper saw them last: for metrics, which must not ask the database.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use keepwell_jobs::alerts::plan::OpenAlert;

/// How many alerts of each rule are open. Cheap to clone; clones share it.
#[derive(Debug, Clone, Default)]
pub struct AlertBoard(Arc<Mutex<BTreeMap<String, u64>>>);

impl AlertBoard {
    /// These are open.
    pub(super) fn write(&self, open: &[OpenAlert]) {
        let mut counts = BTreeMap::new();
        for alert in open {
            *counts.entry(alert.told.rule.clone()).or_insert(0) += 1;
        }
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = counts;
    }

    /// How many of `rule` are open.
    pub(crate) fn open(&self, rule: &str) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(rule).copied().unwrap_or(0)
    }
}
