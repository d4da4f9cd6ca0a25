//! The load: events at a rate, each sent until it is taken, as Stripe and the app would, and some of them once more.

use std::{
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Method, StatusCode};
use keepwell_workers::clock::{Clock as _, SystemClock};
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    history::{Event, Ms},
    templates::{Happening, Made, Sending, Templates},
};
use crate::support::{
    door::{STRIPE_SECRET, app_secret, now_s},
    http::Client,
    pass, sign,
};

/// How long a sender waits for an answer before it comes again.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// How often a sender comes again before it gives up.
const TRIES_MAX: u32 = 60;

/// Waits between two attempts, at first and at most, in milliseconds. Stripe waits far longer: senders that all come
/// again every second or two are a flood of their own.
const BACKOFF_MS: (u64, u64) = (50, 5_000);

/// Events under way at once; beyond that the load waits.
const SENDERS_MAX: usize = 4_096;

/// Between two batches of the load.
const BEAT: Duration = Duration::from_millis(20);

/// What is sent, whereto, and what became of it.
#[derive(Debug)]
pub struct Load {
    templates: Templates,
    doors: Vec<Client>,
    events: Mutex<Vec<Event>>,
    next: AtomicUsize,
}

/// Now.
pub fn now_ms() -> Ms {
    SystemClock.now_ms()
}

impl Load {
    /// Nothing sent yet, to the daemons that `doors` lead to.
    pub fn new(doors: Vec<Client>) -> Arc<Self> {
        let (events, next) = (Mutex::default(), AtomicUsize::default());
        Arc::new(Self { templates: Templates::read(), doors, events, next })
    }

    /// What became of every event so far.
    pub fn events(&self) -> MutexGuard<'_, Vec<Event>> {
        self.events.lock().expect("nobody panicked with it")
    }

    /// Sends `rate` events a second about `people` until `end`, then waits until each is taken or given up.
    pub async fn run(self: Arc<Self>, rate: u64, people: usize, mut random: StdRng, end: CancellationToken) {
        let places = Arc::new(Semaphore::new(SENDERS_MAX));
        let mut senders = JoinSet::new();
        let mut beats = interval(BEAT);
        beats.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut due = 0.0;
        while !end.is_cancelled() {
            beats.tick().await;
            due += rate as f64 * BEAT.as_secs_f64();
            while due >= 1.0 {
                due -= 1.0;
                let happening = Happening::of(random.random_range(0..100));
                // A crisis makes everything about somebody urgent, so most people are spared.
                let crowd = if happening == Happening::Crisis { people.div_ceil(10) } else { people };
                let person = random.random_range(0..crowd).to_string();
                let chance = StdRng::seed_from_u64(random.random());
                let place = Arc::clone(&places).acquire_owned().await.expect("never closed");
                let load = Arc::clone(&self);
                senders.spawn(async move {
                    load.send(happening, &person, chance).await;
                    drop(place);
                });
            }
            while senders.try_join_next().is_some() {}
        }
        while let Some(sent) = senders.join_next().await {
            sent.expect("a sender never panics");
        }
    }

    async fn send(&self, happening: Happening, person: &str, mut random: StdRng) {
        let (made, number) = self.make(happening, person);
        match random.random_range(0..100) {
            // Twice at the same time.
            0..2 => {
                let also = StdRng::seed_from_u64(random.random());
                tokio::join!(self.insist(&made, number, random), self.insist(&made, number, also));
            }
            // Once more after it was taken.
            2..5 => {
                let also = StdRng::seed_from_u64(random.random());
                self.insist(&made, number, random).await;
                self.insist(&made, number, also).await;
            }
            _ => self.insist(&made, number, random).await,
        }
    }

    /// A new event, and its place in the history.
    pub fn make(&self, happening: Happening, person: &str) -> (Made, usize) {
        let made = self.templates.make(happening, person, self.next.fetch_add(1, Ordering::Relaxed));
        let mut events = self.events();
        events.push(Event {
            key: made.key.clone(),
            effect: made.effect.clone(),
            sent_ms: now_ms(),
            taken_ms: None,
            came_again: false,
            recorded: 0,
            refused: None,
        });
        (made, events.len() - 1)
    }

    /// Sends it until it is taken.
    pub async fn insist(&self, made: &Made, number: usize, mut random: StdRng) {
        let mut backoff_ms = BACKOFF_MS.0;
        for _ in 0..TRIES_MAX {
            let door = random.random_range(0..self.doors.len());
            if self.try_once(made, number, door).await {
                return;
            }
            pass(Duration::from_millis(random.random_range(backoff_ms / 2..=backoff_ms))).await;
            backoff_ms = (backoff_ms * 2).min(BACKOFF_MS.1);
        }
    }

    /// Sends it once to one daemon; whether it need not be sent again.
    pub async fn try_once(&self, made: &Made, number: usize, door: usize) -> bool {
        let (path, headers, body) = signed(&made.sending);
        let call = self.doors[door].try_call(Method::POST, path, &headers, body);
        let answered = timeout(ANSWER_TIMEOUT, call).await;
        let mut events = self.events();
        let event = &mut events[number];
        let Ok(Ok(answer)) = answered else {
            event.came_again |= event.taken_ms.is_none();
            return false;
        };
        event.came_again |= event.taken_ms.is_none() && answer.status != StatusCode::OK;
        if answer.status == StatusCode::OK {
            event.recorded += u32::from(answer.json()["duplicate"] == false);
            event.taken_ms.get_or_insert_with(now_ms);
        } else if !answer.status.is_server_error() {
            event.refused = Some(format!("{}: {}", answer.status, answer.text()));
        }
        !answer.status.is_server_error()
    }
}

fn signed(sending: &Sending) -> (&'static str, Vec<(&'static str, String)>, Bytes) {
    let mut headers = vec![("content-type", "application/json".to_owned())];
    match sending {
        Sending::Stripe(body) => {
            headers.push(("stripe-signature", sign::stripe(STRIPE_SECRET, now_s(), body.as_bytes())));
            ("/api/webhooks/stripe", headers, body.clone().into())
        }
        Sending::App { id, body } => {
            headers.extend(sign::standard_webhooks(&app_secret(), id, now_s(), body.as_bytes()));
            ("/api/webhooks/app", headers, body.clone().into())
        }
    }
}
