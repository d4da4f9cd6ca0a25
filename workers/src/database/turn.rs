//! SQLite has one writer at a time and lets the others poll for the lock with growing sleeps, which would cost a crisis
//! job tens of milliseconds. So writers of one process queue here instead: first the crisis ones, then the rest, each
//! woken at the moment the one before is done.
//!
//! Crises that come as fast as they can be written would keep everybody else waiting for as long as they come: with
//! eight senders whose people were in a crisis, on a machine that had other work, nobody else's event was recorded for
//! half a minute. So of the others one has a turn after [`GENERAL_WAIT_MAX`], which costs crises about 3 ms in 100.
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

/// How long crisis writers keep the others waiting until one of them has a turn.
const GENERAL_WAIT_MAX: Duration = Duration::from_millis(100);

/// Who asks to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Urgency {
    /// Goes before everybody else who waits, but for one of them every 100 ms.
    Crisis,
    /// What a dead worker held. Where writers take turns it has its turn in the order of arrival with crises, which
    /// wait for one such transaction at most; elsewhere it is as all others. Until it is settled it counts as running,
    /// and with it the next death: where crises never ended, ten deaths in a minute had innocent jobs quarantined.
    Recovered,
    /// In the order of arrival.
    General,
}

#[derive(Debug, Default)]
struct Queue {
    taken: bool,
    /// Since when each of them waits.
    crisis: VecDeque<(Instant, oneshot::Sender<WriteTurn>)>,
    general: VecDeque<oneshot::Sender<WriteTurn>>,
    /// Since when general writers wait and none of them has had a turn.
    general_since: Option<Instant>,
    /// When the present turn was given to one who had waited.
    passed_on: Option<Instant>,
}

impl Queue {
    /// Since when the first crisis writer that still waits has been kept waiting by the present turn.
    fn crisis_since(&self) -> Option<Instant> {
        let since = self.crisis.iter().find(|(_, waiting)| !waiting.is_closed()).map(|(since, _)| *since)?;
        // A general writer whose turn came before a crisis that waited already has as much time as any other.
        Some(self.passed_on.map_or(since, |passed_on| since.max(passed_on)))
    }

    fn wait(&mut self, urgency: Urgency, now: Instant) -> oneshot::Receiver<WriteTurn> {
        let (sender, receiver) = oneshot::channel();
        match urgency {
            Urgency::Crisis | Urgency::Recovered => self.crisis.push_back((now, sender)),
            Urgency::General => {
                self.general.push_back(sender);
                self.general_since.get_or_insert(now);
            }
        }
        receiver
    }

    /// Whose turn is next, of those who still wait.
    fn next(&mut self, now: Instant) -> Option<oneshot::Sender<WriteTurn>> {
        while self.general.front().is_some_and(oneshot::Sender::is_closed) {
            self.general.pop_front();
        }
        let waits_too_long = self.general_since.is_some_and(|since| now >= since + GENERAL_WAIT_MAX);
        let crisis = if waits_too_long && !self.general.is_empty() { None } else { self.crisis.pop_front() };
        let next = crisis.map(|(_, waiting)| waiting).or_else(|| {
            self.general_since = Some(now);
            self.general.pop_front()
        });
        if self.general.is_empty() {
            self.general_since = None;
        }
        (self.taken, self.passed_on) = (next.is_some(), next.as_ref().map(|_| now));
        next
    }
}

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    /// Rung when a writer begins to wait that goes before general ones.
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
            let waiting = queue.wait(urgency, Instant::now());
            if urgency != Urgency::General {
                self.0.crisis_came.notify_waiters();
            }
            waiting
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
        let now = Instant::now();
        loop {
            let next = self.queue().next(now);
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

    #[test]
    fn crises_that_never_end_keep_the_others_waiting_for_a_tenth_of_a_second_each() {
        let mut queue = Queue { taken: true, ..Queue::default() };
        let start = Instant::now();
        // One that has waited longest and is gone does not use up the turn of those behind it.
        drop(queue.wait(Urgency::General, start));
        let mut waiting: VecDeque<_> = (0..3).map(|_| queue.wait(Urgency::General, start)).collect();
        let mut turns_ms = Vec::new();
        for passed_ms in (0..400_u64).step_by(10) {
            let now = start + Duration::from_millis(passed_ms);
            let mut crisis = queue.wait(Urgency::Crisis, now);
            // One by one: the crisis has its turn, or somebody else before it.
            while let Some(next) = queue.next(now) {
                next.send(WriteTurn(None)).unwrap();
                if waiting.front_mut().is_some_and(|first| first.try_recv().is_ok()) {
                    waiting.pop_front();
                    turns_ms.push(passed_ms);
                    assert!(
                        queue.crisis_since().is_some_and(|since| since == now),
                        "it has as much time as any"
                    );
                }
                if crisis.try_recv().is_ok() {
                    break;
                }
            }
        }
        assert_eq!(turns_ms, [100, 200, 300]);
    }

    #[tokio::test]
    async fn what_a_dead_worker_held_has_its_turn_with_crises() {
        let turns = WriteTurns::default();
        let first = turns.take(Urgency::General).await;
        let mut waiting = Vec::new();
        for urgency in [Urgency::General, Urgency::Crisis, Urgency::Recovered, Urgency::Crisis] {
            let mut turn = Box::pin(turns.take(urgency));
            assert!(futures_util::poll!(&mut turn).is_pending());
            waiting.push(turn);
        }
        drop(first);
        for next in [1, 2, 3, 0] {
            let std::task::Poll::Ready(turn) = futures_util::poll!(&mut waiting[next]) else {
                panic!("{next}")
            };
            drop(turn);
        }
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
