//! SQLite has one writer at a time and lets the others poll for the lock with growing sleeps, which would cost a crisis
//! job tens of milliseconds. So writers of one process queue here instead: first the crisis ones, then the rest, each
//! woken at the moment the one before is done.

//!
//! Whoever holds the turn for effects of general jobs can learn that a crisis writer waits, and gives way to it; see
//! [`WriteTurns::crisis_has_waited`].

use std::{
    collections::VecDeque,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Notify, oneshot},
    time::{Instant, sleep_until},
};

/// Who asks to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Urgency {
    /// Goes before everybody else who waits.
    Crisis,
    /// In the order of arrival.
    General,
}

#[derive(Debug, Default)]
struct Queue {
    taken: bool,
    /// Since when each of them waits.
    crisis: VecDeque<(Instant, oneshot::Sender<WriteTurn>)>,
    general: VecDeque<oneshot::Sender<WriteTurn>>,
}

impl Queue {
    /// Since when the first crisis writer has waited that still does.
    fn crisis_since(&self) -> Option<Instant> {
        self.crisis.iter().find(|(_, waiting)| !waiting.is_closed()).map(|(since, _)| *since)
    }
}

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    /// Rung when a crisis writer begins to wait.
    crisis_came: Notify,
}

/// The queue of writers of one database.
#[derive(Debug, Clone, Default)]
pub struct WriteTurns(Arc<Shared>);

/// The right to write; the next writer gets it when this is dropped.
#[derive(Debug)]
pub struct WriteTurn(Option<WriteTurns>);

impl WriteTurns {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        // The queue holds no invariant that a panic elsewhere could have broken halfway.
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the right to write.
    pub async fn take(&self, urgency: Urgency) -> WriteTurn {
        let waiting = {
            let mut queue = self.queue();
            if !queue.taken {
                queue.taken = true;
                return WriteTurn(Some(self.clone()));
            }
            let (sender, receiver) = oneshot::channel();
            match urgency {
                Urgency::Crisis => {
                    queue.crisis.push_back((Instant::now(), sender));
                    self.0.crisis_came.notify_waiters();
                }
                Urgency::General => queue.general.push_back(sender),
            }
            receiver
        };
        // A sender is only dropped together with the whole queue, and then nobody else can be writing.
        waiting.await.unwrap_or(WriteTurn(None))
    }

    /// Returns once a crisis writer has waited for `patience`.
    pub(crate) async fn crisis_has_waited(&self, patience: Duration) {
        loop {
            let mut came = pin!(self.0.crisis_came.notified());
            // From here on no ring is missed.
            came.as_mut().enable();
            let since = self.queue().crisis_since();
            match since {
                None => came.await,
                Some(since) => {
                    sleep_until(since + patience).await;
                    if self.queue().crisis_since().is_some_and(|still| still + patience <= Instant::now()) {
                        return;
                    }
                }
            }
        }
    }

    fn pass_on(&self) {
        loop {
            let next = {
                let mut queue = self.queue();
                let next = queue
                    .crisis
                    .pop_front()
                    .map(|(_, waiting)| waiting)
                    .or_else(|| queue.general.pop_front());
                if next.is_none() {
                    queue.taken = false;
                }
                next
            };
            let Some(next) = next else { return };
            // Whoever gave up waiting gives the turn back, and the loop offers it to the one behind.
            match next.send(WriteTurn(Some(self.clone()))) {
                Ok(()) => return,
                Err(mut refused) => refused.0 = None,
            }
        }
    }
}

impl WriteTurn {
    /// The queue that this turn belongs to.
    pub(crate) fn turns(&self) -> Option<WriteTurns> {
        self.0.clone()
    }
}

impl Drop for WriteTurn {
    fn drop(&mut self) {
        if let Some(turns) = self.0.take() {
            turns.pass_on();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_crisis_writer_goes_before_those_who_came_earlier() {
        let turns = WriteTurns::default();
        let first = turns.take(Urgency::General).await;
        let order = Arc::new(Mutex::new(Vec::new()));
        let writer = |urgency, name: &'static str| {
            let (turns, order) = (turns.clone(), Arc::clone(&order));
            async move {
                let _turn = turns.take(urgency).await;
                order.lock().unwrap_or_else(PoisonError::into_inner).push(name);
            }
        };
        let release = async move { drop(first) };
        tokio::join!(
            biased;
            writer(Urgency::General, "general"),
            writer(Urgency::Crisis, "crisis"),
            release,
        );
        assert_eq!(*order.lock().unwrap_or_else(PoisonError::into_inner), ["crisis", "general"]);
    }

    #[tokio::test]
    async fn the_holder_of_the_turn_learns_of_a_crisis_that_waits_and_of_nobody_else() {
        let turns = WriteTurns::default();
        let first = turns.take(Urgency::General).await;
        let mut told = Box::pin(turns.crisis_has_waited(Duration::ZERO));
        let mut general = Box::pin(turns.take(Urgency::General));
        assert!(futures_util::poll!(&mut general).is_pending());
        assert!(futures_util::poll!(&mut told).is_pending(), "general writers wait for their turn");
        {
            let mut gave_up = Box::pin(turns.take(Urgency::Crisis));
            assert!(futures_util::poll!(&mut gave_up).is_pending());
        }
        assert!(futures_util::poll!(&mut told).is_pending(), "this one has gone again");
        let mut crisis = Box::pin(turns.take(Urgency::Crisis));
        assert!(futures_util::poll!(&mut crisis).is_pending());
        told.await;
        drop(first);
        let _held = crisis.await;
        let mut told = Box::pin(turns.crisis_has_waited(Duration::ZERO));
        assert!(futures_util::poll!(&mut told).is_pending(), "it has its turn now");
    }

    #[tokio::test]
    async fn a_writer_that_gave_up_does_not_keep_the_turn() {
        let turns = WriteTurns::default();
        let first = turns.take(Urgency::General).await;
        {
            let mut gave_up = Box::pin(turns.take(Urgency::General));
            assert!(futures_util::poll!(&mut gave_up).is_pending());
        }
        drop(first);
        let _next = turns.take(Urgency::General).await;
    }
}
