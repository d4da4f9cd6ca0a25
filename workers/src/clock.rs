//! The one clock. Nothing in keepwell asks the operating system for the time except [`SystemClock`],
//! so a test can move time instead of waiting for it.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

/// Milliseconds since 1970-01-01T00:00:00Z: the unit of every instant that keepwell stores or compares.
pub type UnixMs = i64;

/// Where "now" comes from.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// The present instant in milliseconds since the Unix epoch.
    fn now_ms(&self) -> UnixMs;
}

/// A clock handed down to everything that needs one.
pub type SharedClock = Arc<dyn Clock>;

/// The operating system's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods)] // This is the one place that may ask.
    fn now_ms(&self) -> UnixMs {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
            // A clock set before 1970 is a broken machine; the epoch is the nearest sane answer.
            Err(_) => 0,
        }
    }
}

/// A clock that stands still until it is told to move.
#[derive(Debug, Default)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// A clock that shows `now_ms`.
    pub fn at(now_ms: UnixMs) -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(now_ms)))
    }

    /// Moves the clock by `by_ms` milliseconds (backwards if negative).
    pub fn advance_ms(&self, by_ms: i64) {
        self.0.fetch_add(by_ms, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now_ms(&self) -> UnixMs {
        self.0.load(Ordering::SeqCst)
    }
}
