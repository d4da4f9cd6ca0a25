//! How often a loop has turned, for whoever judges whether its thread still runs: the watchdog.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::{Instant, sleep};

/// While a loop waits for something, it turns this often: each time its thread has come by and found it still waiting.
const WAITING_TURN: Duration = Duration::from_millis(500);

/// The turns of one loop. Clones count together.
#[derive(Debug, Clone, Default)]
pub struct Turns(Arc<AtomicU64>);

impl Turns {
    /// One more.
    pub fn count(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// So many so far.
    pub fn total(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Waits for `work` and counts turns meanwhile, because whoever waits for a database does not stand still: its
    /// thread comes by and looks. What takes longer than `longest` will never come, and counts no more.
    pub async fn during<T>(&self, longest: Duration, work: impl Future<Output = T>) -> T {
        self.during_every(WAITING_TURN, longest, work).await
    }

    async fn during_every<T>(&self, turn: Duration, longest: Duration, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        let begun = Instant::now();
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = sleep(turn), if begun.elapsed() < longest => self.count(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(1);

    async fn turned(turns: &Turns, often: u64) {
        while turns.total() < often {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn whoever_waits_turns_and_whoever_waits_for_ever_turns_no_more() {
        let (waits, gave_up) = (Turns::default(), Turns::default());
        gave_up
            .during_every(SOON, Duration::ZERO, waits.during_every(SOON, Duration::MAX, turned(&waits, 5)))
            .await;
        assert_eq!((waits.total(), gave_up.total()), (5, 0));
    }
}
