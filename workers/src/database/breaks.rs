//! Connections to a server break: it restarts, fails over, throws us out, or a network in between forgets us. The first
//! connection that is found broken makes every other one of before suspicious, so that not each of them has to fail
//! somebody first.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use sqlx::{Connection as _, PgConnection, pool::PoolConnectionMetadata, postgres::PgPoolOptions};
use tokio::time::{Instant, timeout};

/// How long a connection may take to show that it lives, in milliseconds.
const SIGN_OF_LIFE_MS: u64 = 1_000;

/// A connection that nobody has used for this long shows that it lives before it is used again, in milliseconds.
/// Firewalls forget connections in silence, and whoever uses one of those waits until a time-out.
const TRUSTED_IDLE_MS: u64 = 1_000;

/// The broken connections of one database. Clones count together.
#[derive(Debug, Clone, Default)]
pub(super) struct Breaks(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    count: AtomicU64,
    last: Mutex<Option<Instant>>,
}

impl Breaks {
    /// How many have ended without our doing. Each may mean that the server died and lost what was not yet on disk.
    pub(super) fn count(&self) -> u64 {
        self.0.count.load(Ordering::Acquire)
    }

    /// Has the connections of a pool looked at when they are taken and when they are given back.
    pub(super) fn watch(&self, pool: PgPoolOptions) -> PgPoolOptions {
        let (taken, given_back) = (self.clone(), self.clone());
        pool.test_before_acquire(false)
            .before_acquire(move |connection, seen: PoolConnectionMetadata| {
                let breaks = taken.clone();
                Box::pin(
                    async move { Ok(!breaks.is_suspicious(seen.idle_for) || breaks.lives(connection).await) },
                )
            })
            // The pool would ask for a sign of life by itself, and wait for it for ever.
            .after_release(move |connection, _| {
                let breaks = given_back.clone();
                Box::pin(async move { Ok(breaks.lives(connection).await) })
            })
    }

    fn is_suspicious(&self, idle_for: Duration) -> bool {
        let last = *self.0.last.lock().unwrap_or_else(PoisonError::into_inner);
        idle_for >= Duration::from_millis(TRUSTED_IDLE_MS)
            || last.is_some_and(|broken_at| broken_at.elapsed() <= idle_for)
    }

    async fn lives(&self, connection: &mut PgConnection) -> bool {
        let sign = timeout(Duration::from_millis(SIGN_OF_LIFE_MS), connection.ping()).await;
        if matches!(sign, Ok(Ok(()))) {
            return true;
        }
        *self.0.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        // One that is merely silent says nothing about what the server still knows.
        if sign.is_ok() {
            self.0.count.fetch_add(1, Ordering::AcqRel);
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_break_makes_those_suspicious_that_lay_idle_when_it_happened() {
        let breaks = Breaks::default();
        assert!(!breaks.is_suspicious(Duration::from_millis(1)));
        assert!(breaks.is_suspicious(Duration::from_secs(1)));
        *breaks.0.last.lock().unwrap() = Some(Instant::now() - Duration::from_millis(500));
        assert!(breaks.is_suspicious(Duration::from_millis(900)));
        assert!(!breaks.is_suspicious(Duration::from_millis(100)));
    }
}
