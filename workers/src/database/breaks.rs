//! Connections to a server break: it restarts, fails over, throws us out, or a network in between forgets us. The first
//! connection that is found broken makes every other one of before suspicious, so that not each of them has to fail
//! somebody first. And one that is found silent takes every other one of before along: asking them would cost a second
//! each, and opening new ones costs a few milliseconds.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use sqlx::{PgConnection, PgPool, Postgres, Row as _, pool::PoolConnectionMetadata, postgres::PgPoolOptions};
use tokio::time::{Instant, timeout};

/// How long a connection may take to show that it lives, in milliseconds.
const SIGN_OF_LIFE_MS: u64 = 1_000;

/// A connection that nobody has used for this long shows that it lives before it is used again, in milliseconds.
/// Firewalls forget connections in silence, and whoever uses one of those waits until a time-out.
const TRUSTED_IDLE_MS: u64 = 1_000;

/// How long the first attempt to begin a transaction may take before the connection counts as silent, in milliseconds.
/// Nothing but the network can hold a `BEGIN` up; if no connection was free in all this time, no harm is done.
const SILENT_BEGIN_MS: u64 = 2_000;

/// How often a transaction is begun before its caller hears of a broken connection. Twice is enough, because by then
/// all others are asked first; those that the server ends one after the other may take once more.
const BEGINS_MAX: u32 = 3;

/// The broken connections of one database. Clones count together.
#[derive(Debug, Clone, Default)]
pub(super) struct Breaks(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    count: AtomicU64,
    /// When a connection was found broken last.
    last: Mutex<Option<Instant>>,
    /// Since when at the latest a connection has been silent.
    silent: Mutex<Option<Instant>>,
}

/// What to do with an idle connection before it is used.
#[derive(Debug, PartialEq, Eq)]
enum Trust {
    Whole,
    OnceItAnswers,
    Gone,
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
                Box::pin(async move {
                    Ok(match breaks.trust(seen.idle_for) {
                        Trust::Whole => true,
                        Trust::OnceItAnswers => breaks.lives(connection).await,
                        Trust::Gone => false,
                    })
                })
            })
            // The pool would ask for a sign of life by itself, and wait for it for ever.
            .after_release(move |connection, _| {
                let breaks = given_back.clone();
                Box::pin(async move { Ok(breaks.lives(connection).await) })
            })
    }

    /// Begins a transaction with `statement` on a connection of `pool` that is alive. A server that was restarted
    /// leaves every idle connection dead; as long as nothing has begun, another one can be taken instead.
    pub(super) async fn begin(
        &self,
        pool: &PgPool,
        statement: &'static str,
    ) -> sqlx::Result<sqlx::Transaction<'static, Postgres>> {
        let asked = Instant::now();
        match timeout(Duration::from_millis(SILENT_BEGIN_MS), pool.begin_with(statement)).await {
            Ok(Err(error)) if self.is_break(&error) => {}
            Ok(begun) => return begun,
            Err(_) => self.fell_silent(asked),
        }
        let mut begins_left = BEGINS_MAX - 1;
        loop {
            begins_left -= 1;
            match pool.begin_with(statement).await {
                Err(error) if begins_left > 0 && self.is_break(&error) => {}
                begun => return begun,
            }
        }
    }

    /// A connection was asked for something and has not answered for too long.
    fn fell_silent(&self, asked: Instant) {
        *lock(&self.0.silent) = Some(asked);
        *lock(&self.0.last) = Some(Instant::now());
    }

    /// Whether `error` says that its connection has ended. If so, what is idle now is looked at before it is used.
    pub(super) fn is_break(&self, error: &sqlx::Error) -> bool {
        let broken = match error {
            sqlx::Error::Io(_) => true,
            // An operator's or the server's own end of a session: 57P01 to 57P05.
            sqlx::Error::Database(error) => error.code().is_some_and(|code| code.starts_with("57P")),
            _ => false,
        };
        if broken {
            *lock(&self.0.last) = Some(Instant::now());
        }
        broken
    }

    fn trust(&self, idle_for: Duration) -> Trust {
        let was_idle = |instant: &Mutex<Option<Instant>>| {
            lock(instant).is_some_and(|instant| instant.elapsed() <= idle_for)
        };
        if was_idle(&self.0.silent) {
            Trust::Gone
        } else if idle_for >= Duration::from_millis(TRUSTED_IDLE_MS) || was_idle(&self.0.last) {
            Trust::OnceItAnswers
        } else {
            Trust::Whole
        }
    }

    async fn lives(&self, connection: &mut PgConnection) -> bool {
        let asked = Instant::now();
        match timeout(Duration::from_millis(SIGN_OF_LIFE_MS), is_between_transactions(connection)).await {
            Ok(Ok(between)) => return between,
            Ok(Err(_)) => {
                self.0.count.fetch_add(1, Ordering::AcqRel);
                *lock(&self.0.last) = Some(Instant::now());
            }
            // One that is merely silent says nothing about what the server still knows.
            Err(_) => self.fell_silent(asked),
        }
        false
    }
}

/// Whether a connection that answers has no transaction open. A `BEGIN` that nobody waited for to the end has its
/// effect all the same, and sqlx knows nothing of it: whoever read on that connection next would read what was true
/// when it began, for as long as it is in use. PostgreSQL's two clocks are the same in the first statement of a
/// transaction only.
async fn is_between_transactions(connection: &mut PgConnection) -> sqlx::Result<bool> {
    const SQL: &str = "SELECT now() = statement_timestamp()";
    sqlx::raw_sql(SQL).fetch_one(connection).await?.try_get(0)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_break_makes_those_suspicious_that_lay_idle_when_it_happened() {
        let breaks = Breaks::default();
        let trust = |ms| breaks.trust(Duration::from_millis(ms));
        assert_eq!(trust(1), Trust::Whole);
        assert_eq!(trust(1_000), Trust::OnceItAnswers);
        *lock(&breaks.0.last) = Some(Instant::now() - Duration::from_millis(500));
        assert_eq!(trust(900), Trust::OnceItAnswers);
        assert_eq!(trust(100), Trust::Whole);
    }

    #[test]
    fn silence_takes_those_along_that_lay_idle_when_it_fell() {
        let breaks = Breaks::default();
        *lock(&breaks.0.silent) = Some(Instant::now() - Duration::from_millis(500));
        assert_eq!(breaks.trust(Duration::from_millis(900)), Trust::Gone);
        assert_eq!(breaks.trust(Duration::from_millis(100)), Trust::Whole);
    }

    #[test]
    fn only_the_end_of_a_connection_is_a_break() {
        let breaks = Breaks::default();
        assert!(!breaks.is_break(&sqlx::Error::PoolTimedOut));
        assert_eq!(breaks.trust(Duration::from_millis(900)), Trust::Whole);
        assert!(breaks.is_break(&sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into())));
        assert_eq!(breaks.trust(Duration::from_millis(900)), Trust::OnceItAnswers);
    }
}
