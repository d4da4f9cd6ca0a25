//! How long running jobs may take to end at shutdown: one stretch of time for both pools.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use tokio::time::Instant;

/// The time that both pools share. Clones share it too.
#[derive(Debug, Clone)]
pub(crate) struct DrainTime {
    length: Duration,
    until: Arc<OnceLock<Instant>>,
}

impl DrainTime {
    /// So much from the moment on in which somebody first asks.
    pub(crate) fn of(length: Duration) -> Self {
        Self { length, until: Arc::default() }
    }

    /// When it is over.
    pub(crate) fn until(&self) -> Instant {
        *self.until.get_or_init(|| Instant::now() + self.length)
    }

    /// When only `rest` of it is left; now or before if it is not as long as that.
    pub(crate) fn but(&self, rest: Duration) -> Instant {
        self.until() - rest.min(self.length)
    }
}
