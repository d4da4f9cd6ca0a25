//! The storm: everything that is planned, over many connections at a time, with the crises in the middle of
//! it.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use http::Method;
use keepwell_workers::clock::{Clock as _, SystemClock};
use tokio::{
    sync::Notify,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use super::{
    super::{
        client::{Connection, Peer},
        failure::Failure,
        filters::encoded,
        sender::Signer,
        wait_for,
    },
    plan::Plan,
};

/// The pause between two looks at an access document while a crisis is awaited.
const LOOK_PAUSE: Duration = Duration::from_micros(500);

/// How long a crisis may take to show in the access document before it counts as missed.
const CRISIS_TIMEOUT: Duration = Duration::from_secs(20);

/// Everything that the storm needs, shared by its connections.
#[derive(Debug)]
pub(super) struct Storm {
    pub(super) plan: Plan,
    pub(super) signer: Signer,
    pub(super) peer: Peer,
    pub(super) token: String,
    pub(super) tally: Tally,
    next: AtomicUsize,
    progress: Notify,
}

/// What has happened so far.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Requests sent.
    pub(super) sent: AtomicUsize,
    /// Requests answered with 2xx.
    pub(super) taken: AtomicUsize,
    /// Of these, answered as a duplicate.
    pub(super) duplicates: AtomicUsize,
    /// Requests refused or not answered.
    pub(super) failed: AtomicUsize,
    /// From a crisis signal to the access document that shows it.
    crisis_times: Mutex<Vec<Duration>>,
}

impl Tally {
    /// How long each crisis took that was seen, the fastest first.
    pub(super) fn crisis_times(&self) -> Vec<Duration> {
        let mut times = self.crisis_times.lock().unwrap_or_else(PoisonError::into_inner).clone();
        times.sort_unstable();
        times
    }

    fn saw_crisis(&self, time: Duration) {
        self.crisis_times.lock().unwrap_or_else(PoisonError::into_inner).push(time);
    }
}

impl Storm {
    /// A storm that is about to break.
    pub(super) fn new(plan: Plan, signer: Signer, peer: Peer, token: String) -> Arc<Self> {
        Arc::new(Self {
            plan,
            signer,
            peer,
            token,
            tally: Tally::default(),
            next: AtomicUsize::new(0),
            progress: Notify::new(),
        })
    }

    /// Sends everything over `connections` connections. Returns when all of it was answered and every crisis
    /// was seen.
    ///
    /// The events and the crises each have a thread of their own, as if they came from other machines: neither
    /// the daemon nor what is measured waits in one queue with the storm.
    pub(super) async fn rage(self: &Arc<Self>, connections: usize) -> Result<(), Failure> {
        let (events, crises) = (Arc::clone(self), Arc::clone(self));
        let events = on_own_thread(async move { events.send_all_events(connections).await });
        let crises = on_own_thread(async move { crises.send_crises().await });
        tokio::try_join!(events, crises).map(drop)
    }

    async fn send_all_events(self: Arc<Self>, connections: usize) -> Result<(), Failure> {
        let mut senders = JoinSet::new();
        for _ in 0..connections {
            let storm = Arc::clone(&self);
            senders.spawn(async move { storm.send_events().await });
        }
        while let Some(ended) = senders.join_next().await {
            ended.map_err(|error| Failure::because("a connection of the storm broke down", error))??;
        }
        Ok(())
    }

    /// Sends event after event until there are no more.
    async fn send_events(&self) -> Result<(), Failure> {
        let mut connection = Connection::open(&self.peer).await?;
        while let Some(letter) = self.plan.events.get(self.next.fetch_add(1, Relaxed)) {
            let delivery = self.signer.sign(letter, SystemClock.now_ms())?;
            self.tally.sent.fetch_add(1, Relaxed);
            match delivery.send(&mut connection).await {
                Ok(answer) if answer.status.is_success() => {
                    self.tally.taken.fetch_add(1, Relaxed);
                    if answer.json()["duplicate"] == true {
                        self.tally.duplicates.fetch_add(1, Relaxed);
                    }
                }
                Ok(_) => {
                    self.tally.failed.fetch_add(1, Relaxed);
                }
                Err(_) => {
                    self.tally.failed.fetch_add(1, Relaxed);
                    connection = Connection::open(&self.peer).await?;
                }
            }
            self.progress.notify_one();
        }
        // Whoever waits for the last event must not wait for ever.
        self.progress.notify_one();
        Ok(())
    }

    /// Sends the crisis signals one by one, spread over the middle half of the storm.
    async fn send_crises(&self) -> Result<(), Failure> {
        let (events, crises) = (self.plan.events.len(), self.plan.crises.len());
        let mut sending = Connection::open(&self.peer).await?;
        let mut looking = Connection::open(&self.peer).await?;
        for (number, letter) in self.plan.crises.iter().enumerate() {
            let turn = events / 4 + events / 2 * number / crises.max(1);
            while self.next.load(Relaxed) < turn {
                self.progress.notified().await;
            }
            let delivery = self.signer.sign(letter, SystemClock.now_ms())?;
            self.tally.sent.fetch_add(1, Relaxed);
            let signalled = Instant::now();
            let answer = delivery.send(&mut sending).await?;
            let counted = if answer.status.is_success() { &self.tally.taken } else { &self.tally.failed };
            counted.fetch_add(1, Relaxed);
            let seen = self.until_crisis_shows(&mut looking, &letter.customer);
            if let Ok(shown) = timeout(CRISIS_TIMEOUT, seen).await {
                shown?;
                self.tally.saw_crisis(signalled.elapsed());
            }
        }
        Ok(())
    }

    async fn until_crisis_shows(&self, connection: &mut Connection, customer: &str) -> Result<(), Failure> {
        let path = format!("/v1/customers/{}/access", encoded(customer));
        let token = [("authorization", format!("Bearer {}", self.token))];
        loop {
            let answer = connection.send(Method::GET, &path, &token, "").await?;
            if answer.json()["crisis"]["active"] == true {
                return Ok(());
            }
            sleep(LOOK_PAUSE).await;
        }
    }
}

/// Runs `work` to its end on a runtime and a thread of its own.
async fn on_own_thread(
    work: impl Future<Output = Result<(), Failure>> + Send + 'static,
) -> Result<(), Failure> {
    let thread = tokio::task::spawn_blocking(move || wait_for(work));
    thread.await.map_err(|error| Failure::because("a thread of the storm broke down", error))?
}
