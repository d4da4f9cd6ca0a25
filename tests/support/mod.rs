//! What the tests stand on: servers that they start themselves and that are gone when they end, a client, signatures,
//! and
//! [`eventually`], the only place that waits for something.

// Not every theme needs every helper.
#![allow(dead_code)]

pub mod browser;
pub mod daemon;
pub mod door;
pub mod envelopes;
pub mod events;
pub mod gateway;
pub mod http;
pub mod personal;
pub mod postgres;
pub mod process;
pub mod proxy;
pub mod redis;
pub mod redis_node;
pub mod service_manager;
pub mod sign;
pub mod stripe;

use std::time::Duration;

/// How long anything may take before a test gives up on it. Far more than it needs: a machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Lets `duration` pass: for load that has a rate and for faults that have a length, never in the hope that something
/// will have happened by then.
pub async fn pass(duration: Duration) {
    tokio::time::sleep(duration).await;
}

/// Asks `probe` again and again until it answers; fails the test, saying `what` was awaited, when [`PATIENCE`] runs
/// out.
pub async fn eventually<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let answered = tokio::time::timeout(PATIENCE, async {
        loop {
            if let Some(answer) = probe().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    answered.await.unwrap_or_else(|_| panic!("waited {PATIENCE:?} in vain: {what}"))
}
