//! One connection to Redis that is replaced as soon as it cannot be trusted any more.
//!
//! A connection whose peer has vanished without a word (a machine that is gone, a firewall that forgot) looks open for
//! many minutes, and a primary that was demoted answers every write with `READONLY` for as long as one asks it. So
//! after an answer that did not come in time, and after a reply that says "not here, not now", the connection is
//! dropped and the next command opens another, which may lead to another server.
//!
//! Between two attempts commands fail at once with the last error instead of waiting: who has something urgent to do
//! asks the ledger meanwhile.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use redis::{
    AsyncConnectionConfig, Cmd, Pipeline, RedisError, RedisFuture, RedisResult, Value,
    aio::{ConnectionLike, MultiplexedConnection},
};
use tokio::time::Instant;

use super::{address::Address, trouble::Trouble};
use crate::backoff::shortened;

/// How long connecting may take at most.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Waits between attempts to connect again; each is shortened by chance by up to a half.
const DELAY_MIN: Duration = Duration::from_millis(40);
const DELAY_MAX: Duration = Duration::from_millis(500);

/// A connection that is opened when first used, and again after it was lost. Cheap to clone; clones share it.
#[derive(Clone)]
pub(super) struct Link(Arc<Shared>);

struct Shared {
    address: Arc<Address>,
    config: AsyncConnectionConfig,
    state: Mutex<State>,
    /// Held by whoever connects; the others wait for the result.
    connecting: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    open: Option<MultiplexedConnection>,
    /// Counts the connections that there have been, so that a late error does not condemn a newer one.
    number: u64,
    /// Attempts or commands that failed since the last answer.
    failures: u32,
    /// Until when nothing is tried, and why.
    closed: Option<(Instant, RedisError)>,
}

impl State {
    fn lose(&mut self, error: RedisError) {
        self.open = None;
        // A connection that was closed may well have been closed by a restart that is over by now.
        let wait = if self.failures == 0 && error.is_connection_dropped() {
            Duration::ZERO
        } else {
            let doubled = DELAY_MIN.saturating_mul(1 << self.failures.min(8)).min(DELAY_MAX);
            shortened(doubled)
        };
        self.failures = self.failures.saturating_add(1);
        self.closed = Some((Instant::now() + wait, error));
    }
}

impl Link {
    /// A link whose commands, and whose attempts to connect, take no longer than `response_timeout`.
    pub(super) fn new(address: Arc<Address>, response_timeout: Duration) -> Self {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT.min(response_timeout)))
            .set_response_timeout(Some(response_timeout));
        Self(Arc::new(Shared {
            address,
            config,
            state: Mutex::default(),
            connecting: tokio::sync::Mutex::default(),
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Whatever a panic elsewhere left behind is at worst a connection too few.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The open connection; nothing if it is time to open one; the last error if it is not.
    fn present(&self) -> RedisResult<Option<(MultiplexedConnection, u64)>> {
        let state = self.state();
        match (&state.open, &state.closed) {
            (Some(open), _) => Ok(Some((open.clone(), state.number))),
            (None, Some((until, error))) if Instant::now() < *until => Err(error.clone()),
            (None, _) => Ok(None),
        }
    }

    async fn connection(&self) -> RedisResult<(MultiplexedConnection, u64)> {
        if let Some(present) = self.present()? {
            return Ok(present);
        }
        let _connecting = self.0.connecting.lock().await;
        if let Some(present) = self.present()? {
            return Ok(present);
        }
        let opened = self.0.address.connect(&self.0.config).await;
        let mut state = self.state();
        match opened {
            Ok(open) => {
                state.number += 1;
                state.open = Some(open.clone());
                state.closed = None;
                Ok((open, state.number))
            }
            Err(error) => {
                state.lose(error.clone());
                Err(error)
            }
        }
    }

    /// Draws the conclusions from what the connection with `number` answered.
    fn judge<'v>(&self, number: u64, answer: Result<impl IntoIterator<Item = &'v Value>, &RedisError>) {
        let lost = match answer {
            Ok(replies) => replies.into_iter().find_map(refusal),
            Err(error) => Some(error.clone()),
        };
        let mut state = self.state();
        if state.number != number {
            return;
        }
        match lost {
            Some(error) => state.lose(error),
            None => state.failures = 0,
        }
    }
}

/// The error in a reply that another connection may not meet.
fn refusal(reply: &Value) -> Option<RedisError> {
    let Value::ServerError(error) = reply else { return None };
    let error = RedisError::from(error.clone());
    Trouble::of(&error).may_be_elsewhere().then_some(error)
}

impl ConnectionLike for Link {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        Box::pin(async move {
            let (mut connection, number) = self.connection().await?;
            let reply = connection.send_packed_command(command).await;
            self.judge(number, reply.as_ref().map(std::slice::from_ref));
            reply
        })
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        Box::pin(async move {
            let (mut connection, number) = self.connection().await?;
            let replies = connection.send_packed_commands(pipeline, offset, count).await;
            self.judge(number, replies.as_ref());
            replies
        })
    }

    fn get_db(&self) -> i64 {
        self.0.address.database()
    }
}

#[cfg(test)]
mod tests {
    use redis::ErrorKind;

    use super::*;

    fn timed_out() -> RedisError {
        std::io::Error::from(std::io::ErrorKind::TimedOut).into()
    }

    fn dropped() -> RedisError {
        (ErrorKind::Io, "closed").into()
    }

    #[test]
    fn a_closed_connection_is_replaced_at_once_and_a_silent_one_after_a_while() {
        let now = Instant::now();
        let mut state = State::default();
        state.lose(dropped());
        assert!(state.closed.as_ref().is_some_and(|(until, _)| *until <= Instant::now()));
        let mut state = State::default();
        state.lose(timed_out());
        assert!(state.closed.as_ref().is_some_and(|(until, _)| *until >= now + DELAY_MIN / 2));
    }

    #[test]
    fn the_wait_grows_to_its_limit_and_no_further() {
        let mut state = State::default();
        for _ in 0..100 {
            state.lose(dropped());
        }
        let (until, _) = state.closed.expect("it is closed");
        let wait = until.duration_since(Instant::now());
        assert!(wait > DELAY_MAX / 3 && wait <= DELAY_MAX, "{wait:?}");
    }
}
