//! Places in flight: how many webhooks are read, verified and recorded at the same time, and who yields when all
//! places are taken.
//!
//! * Most places are for everybody; a reserved share is for crisis sources, which use it when the general places are
//!   taken.
//! * A request that finds no place waits for one, crisis sources longest. It is turned away (and asked to come again)
//!   only when nothing moves for that time: a crisis is never shed to relieve load.
//! * Anybody can open a request and send its body slowly, and nobody's word can be verified before the body is
//!   complete. So while requests wait, the bodies that have been arriving for the longest time are given up, beyond a
//!   short patience that real senders never need.

use std::{
    collections::BTreeMap,
    future::pending,
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep, timeout},
};

use crate::receiver::options::ReceiverLimits;

/// How often a waiting request looks for slow bodies to give up.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// All places.
#[derive(Debug)]
pub(in crate::receiver) struct Admission {
    general: Arc<Semaphore>,
    reserved: Arc<Semaphore>,
    waiting: Semaphore,
    waiting_crisis: Semaphore,
    wait: Duration,
    wait_crisis: Duration,
    readers: Arc<Readers>,
}

/// A place in flight, given back when dropped.
#[derive(Debug)]
pub(in crate::receiver) struct Place {
    _permit: OwnedSemaphorePermit,
    /// Whether it is one that only crisis sources may take.
    pub(in crate::receiver) is_reserved: bool,
    readers: Arc<Readers>,
}

impl Admission {
    pub(in crate::receiver) fn new(limits: &ReceiverLimits) -> Self {
        let places = limits.requests_in_flight_max.clamp(1, Semaphore::MAX_PERMITS);
        // At least one place is for everybody.
        let reserved = limits.requests_in_flight_reserved.min(places - 1);
        let waiting = limits.requests_waiting_max.min(Semaphore::MAX_PERMITS);
        Self {
            general: Arc::new(Semaphore::new(places - reserved)),
            reserved: Arc::new(Semaphore::new(reserved)),
            waiting: Semaphore::new(waiting),
            waiting_crisis: Semaphore::new(waiting),
            wait: Duration::from_millis(limits.place_wait_ms),
            wait_crisis: Duration::from_millis(limits.place_wait_crisis_ms),
            readers: Arc::new(Readers {
                patience: Duration::from_millis(limits.body_read_contended_ms),
                next: AtomicU64::new(0),
                by_age: Mutex::default(),
            }),
        }
    }

    /// A place for a request; `None` if there is none in time.
    pub(in crate::receiver) async fn admit(&self, is_crisis_source: bool) -> Option<Place> {
        if let Ok(permit) = self.general.clone().try_acquire_owned() {
            return Some(self.place(permit, false));
        }
        if is_crisis_source && let Ok(permit) = self.reserved.clone().try_acquire_owned() {
            return Some(self.place(permit, true));
        }
        let (waiting, wait) = if is_crisis_source {
            (&self.waiting_crisis, self.wait_crisis)
        } else {
            (&self.waiting, self.wait)
        };
        let _seat = waiting.try_acquire().ok()?;
        timeout(wait, self.wait_for_place(is_crisis_source)).await.ok()
    }

    async fn wait_for_place(&self, is_crisis_source: bool) -> Place {
        let mut general = pin!(self.general.clone().acquire_owned());
        let mut reserved = pin!(async {
            if is_crisis_source { self.reserved.clone().acquire_owned().await } else { pending().await }
        });
        loop {
            self.readers.give_up_slowest();
            tokio::select! {
                Ok(permit) = &mut general => return self.place(permit, false),
                Ok(permit) = &mut reserved => return self.place(permit, true),
                () = sleep(LOOK_AGAIN) => {}
            }
        }
    }

    fn place(&self, permit: OwnedSemaphorePermit, is_reserved: bool) -> Place {
        Place { _permit: permit, is_reserved, readers: self.readers.clone() }
    }
}

impl Place {
    /// Tells that the request's body is being read, until the returned value is dropped.
    pub(in crate::receiver) fn start_reading(&self) -> Reading {
        let number = self.readers.next.fetch_add(1, Relaxed);
        let given_up = Arc::new(Notify::new());
        self.readers.lock().insert(number, (Instant::now(), given_up.clone()));
        Reading { readers: self.readers.clone(), number, given_up }
    }
}

/// A body being read.
#[derive(Debug)]
pub(in crate::receiver) struct Reading {
    readers: Arc<Readers>,
    number: u64,
    given_up: Arc<Notify>,
}

impl Reading {
    /// Returns when the body has to be given up in favour of others.
    pub(in crate::receiver) async fn given_up(&self) {
        self.given_up.notified().await;
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.readers.lock().remove(&self.number);
    }
}

/// The bodies being read, oldest first.
#[derive(Debug)]
struct Readers {
    patience: Duration,
    next: AtomicU64,
    by_age: Mutex<BTreeMap<u64, (Instant, Arc<Notify>)>>,
}

impl Readers {
    fn give_up_slowest(&self) {
        let mut by_age = self.lock();
        if let Some(slowest) = by_age.first_entry()
            && slowest.get().0.elapsed() >= self.patience
        {
            slowest.remove().1.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, (Instant, Arc<Notify>)>> {
        // The map is whole between any two of its methods, so a panic elsewhere has not harmed it.
        self.by_age.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use futures_util::FutureExt as _;

    use super::*;

    fn admission(places: usize, reserved: usize) -> Admission {
        Admission::new(&ReceiverLimits {
            requests_in_flight_max: places,
            requests_in_flight_reserved: reserved,
            requests_waiting_max: 1,
            place_wait_ms: 20,
            place_wait_crisis_ms: 20,
            body_read_contended_ms: 0,
            ..ReceiverLimits::default()
        })
    }

    #[tokio::test]
    async fn only_a_crisis_source_takes_a_reserved_place() {
        let admission = admission(3, 2);
        let general = admission.admit(false).await.unwrap();
        assert!(!general.is_reserved);
        assert!(admission.admit(false).await.is_none());
        let reserved = [admission.admit(true).await.unwrap(), admission.admit(true).await.unwrap()];
        assert!(reserved.iter().all(|place| place.is_reserved));
        assert!(admission.admit(true).await.is_none());
        drop(general);
        assert!(!admission.admit(true).await.unwrap().is_reserved);
    }

    #[tokio::test]
    async fn a_request_waits_for_the_place_that_becomes_free() {
        let admission = admission(1, 0);
        let place = admission.admit(false).await.unwrap();
        let ((), waited) = tokio::join!(
            async {
                tokio::task::yield_now().await;
                drop(place);
            },
            admission.admit(false)
        );
        assert!(waited.is_some());
    }

    #[tokio::test]
    async fn the_slowest_body_is_given_up_for_a_request_that_waits() {
        let admission = admission(2, 0);
        let (slow, fast) = (admission.admit(false).await.unwrap(), admission.admit(false).await.unwrap());
        let (reading_slow, reading_fast) = (slow.start_reading(), fast.start_reading());
        let ((), admitted) = tokio::join!(
            async {
                reading_slow.given_up().await;
                drop((reading_slow, slow));
            },
            admission.admit(false)
        );
        assert!(admitted.is_some());
        drop((reading_fast, fast));
        assert!(admission.readers.lock().is_empty());
    }

    #[tokio::test]
    async fn a_body_that_has_arrived_is_never_given_up() {
        let admission = admission(1, 0);
        let place = admission.admit(false).await.unwrap();
        let reading = place.start_reading();
        let given_up = reading.given_up.clone();
        drop(reading);
        assert!(admission.admit(false).await.is_none());
        assert!(timeout(Duration::ZERO, given_up.notified()).await.is_err());
    }

    #[tokio::test]
    async fn no_more_requests_wait_than_may() {
        let admission = admission(1, 0);
        let _place = admission.admit(false).await.unwrap();
        let mut waiting = Box::pin(admission.admit(false));
        assert!((&mut waiting).now_or_never().is_none(), "there is a seat for one");
        assert!(admission.admit(false).now_or_never().unwrap().is_none(), "and for no other");
        assert!(waiting.await.is_none());
    }
}
