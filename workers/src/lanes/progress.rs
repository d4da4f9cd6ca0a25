//! How far a comparison of the lanes with the ledger has come.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::clock::UnixMs;

/// A comparison of the lanes with the ledger that is under way in this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RebuildProgress {
    /// When it began, in milliseconds since the Unix epoch.
    pub started_ms: UnixMs,
    /// Owed jobs compared so far.
    pub compared: u64,
    /// Of these, jobs that no lane held and that were placed.
    pub placed: u64,
    /// Owed jobs that there are to compare. Counted in the ledger once the crisis lane is done, and not again: jobs
    /// come and go meanwhile, so [`RebuildProgress::compared`] may end a little below or above. Until then, as many
    /// as were compared.
    pub owed: u64,
}

/// Where the present comparison writes how far it has come.
#[derive(Debug, Default)]
pub(super) struct Progress {
    present: Mutex<Option<RebuildProgress>>,
    /// Held by the one comparison that is under way; another one of this process waits for it.
    pub(super) turn: tokio::sync::Mutex<()>,
}

/// A comparison under way; when it is dropped, none is.
#[derive(Debug)]
pub(super) struct Underway(Arc<Progress>);

impl Progress {
    /// How far the present comparison has come, if there is one.
    pub(super) fn present(&self) -> Option<RebuildProgress> {
        *self.lock()
    }

    fn lock(&self) -> MutexGuard<'_, Option<RebuildProgress>> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins one.
    pub(super) fn begin(self: &Arc<Self>, started_ms: UnixMs) -> Underway {
        *self.lock() = Some(RebuildProgress { started_ms, compared: 0, placed: 0, owed: 0 });
        Underway(Arc::clone(self))
    }
}

impl Underway {
    /// Notes that `compared` further jobs were compared, and that `placed` of them were placed.
    pub(super) fn add(&self, compared: u64, placed: u64) {
        self.change(|progress| {
            progress.compared += compared;
            progress.placed += placed;
            progress.owed = progress.owed.max(progress.compared);
        });
    }

    /// Notes how many there are.
    pub(super) fn estimate(&self, owed: u64) {
        self.change(|progress| progress.owed = owed.max(progress.compared));
    }

    fn change(&self, change: impl FnOnce(&mut RebuildProgress)) {
        if let Some(progress) = self.0.lock().as_mut() {
            change(progress);
        }
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        *self.0.lock() = None;
    }
}
