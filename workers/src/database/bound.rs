//! How long a database may take over anything.
//!
//! A server that was stopped, a network that swallows packets, a disk that stands still: none of them ever says that
//! it will not answer. So whoever asks stops waiting, and every transaction that is given up on is rolled back or, if
//! its connection does not even answer to that, closed.

use std::{future::Future, io, time::Duration};

use tokio::time::timeout;

/// How long one statement, `BEGIN` or `COMMIT` may take before its connection counts as lost, in milliseconds. A
/// PostgreSQL that still lives gives up first (`statement_timeout`), and says so.
pub const STATEMENT_TIMEOUT_MS: u64 = 15_000;

/// Waits for `statement`, at most [`STATEMENT_TIMEOUT_MS`].
///
/// Given up on, the statement may have had its effect all the same; its transaction can no longer be used.
pub async fn bounded<T>(statement: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    within(Duration::from_millis(STATEMENT_TIMEOUT_MS), statement).await
}

/// Waits for `work`, at most for `limit`.
pub(crate) async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    timeout(limit, work).await.unwrap_or_else(|_| Err(silent(limit)))
}

fn silent(limit: Duration) -> sqlx::Error {
    let text = format!("the database did not answer within {} ms", limit.as_millis());
    sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, text))
}
