//! A stream of events about many people at once, delivered until each is taken, and what must be true when it is over.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use http::StatusCode;
use rand::{SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{
    access,
    event::{Event, SHAPES},
    nothing_owed, signal,
};
use crate::support::{daemon::Daemon, door::Door, eventually};

/// How long a stream is.
#[derive(Debug, Clone, Copy)]
pub struct Stream {
    /// Each of them has a sender who delivers one event after another.
    pub people: usize,
    /// Every one of them changes what is known about its person, so the version of the access counts them.
    pub events_each: usize,
}

/// How many events were taken so far.
pub type Taken = watch::Receiver<usize>;

/// What is delivered, and the key under which the ledger records it once.
enum Delivery {
    Stripe(Event),
    App(String, Value),
}

impl Delivery {
    fn dedupe_key(&self) -> String {
        match self {
            Delivery::Stripe(event) => {
                format!("stripe:-:{}:{}", event["id"].as_str().unwrap(), event["type"].as_str().unwrap())
            }
            Delivery::App(id, _) => format!("app:{id}"),
        }
    }

    /// Delivers it until it is taken.
    async fn insist(&self, door: &Door) {
        eventually("the event is taken", async || {
            let answer = match self {
                Delivery::Stripe(event) => door.stripe(event).await,
                Delivery::App(id, signal) => door.app(id, signal).await,
            };
            // No answer, or a plea to come again: the sender does not know whether it was recorded.
            let answer = answer.ok().filter(|answer| answer.status != StatusCode::SERVICE_UNAVAILABLE)?;
            assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
            Some(())
        })
        .await;
    }
}

impl Stream {
    /// Delivers all of it while `trouble` happens, then sees that nothing was lost and nothing done twice.
    pub async fn survives(&self, daemon: &mut Daemon, trouble: impl AsyncFnOnce(&mut Daemon, Taken)) {
        let (taken, watching) = watch::channel(0);
        let door = daemon.door();
        let stories: Vec<Vec<Delivery>> = (0..self.people).map(|person| self.story(person)).collect();
        let senders = join_all(stories.iter().map(async |story| {
            for delivery in story {
                delivery.insist(&door).await;
                taken.send_modify(|taken| *taken += 1);
            }
        }));
        tokio::join!(senders, trouble(daemon, watching));

        let expected = stories.iter().flatten().map(Delivery::dedupe_key).collect();
        everything_is_done_once(daemon, &expected).await;
        for person in 0..self.people {
            self.assert_effects(daemon, person).await;
        }
    }

    /// So many moments of the stream, at random, but the same ones for the same `seed`.
    pub fn moments(&self, count: usize, seed: u64) -> Vec<usize> {
        let all = self.people * self.events_each;
        // Not at its very end: there has to be somebody left to notice.
        let last = all * 9 / 10;
        let mut moments = rand::seq::index::sample(&mut StdRng::seed_from_u64(seed), last, count).into_vec();
        moments.sort_unstable();
        moments
    }

    /// One in three stays, one leaves in the end, one is in a crisis all along.
    fn story(&self, person: usize) -> Vec<Delivery> {
        let shape = SHAPES[person % SHAPES.len()];
        let name = person.to_string();
        let stripe = |event_type: &str| Event::of(shape, event_type, &name);
        let about_invoice = |event_type: &str, number: usize| {
            stripe(event_type).with("/data/object/id", format!("in_{person}_{number}"))
        };
        let last = self.events_each - 1;
        let tell = |number: usize| match (number, person % 3) {
            // Told after its end, the beginning of a subscription would say nothing new.
            (0, 0 | 2) => Delivery::Stripe(stripe("customer.subscription.created")),
            (number, 1) if number == last => Delivery::Stripe(stripe("customer.subscription.deleted")),
            (number, 2) if number % 8 == 1 => {
                let pressed =
                    signal("crisis.signal", &format!("cus_{name}"), json!({ "severity": "critical" }));
                Delivery::App(format!("msg_{person}_{number}"), pressed)
            }
            (number, _) if number % 5 == 2 => {
                Delivery::Stripe(about_invoice("invoice.payment_failed", number))
            }
            (number, _) => Delivery::Stripe(about_invoice("invoice.payment_succeeded", number)),
        };
        (0..self.events_each).map(tell).collect()
    }

    async fn assert_effects(&self, daemon: &Daemon, person: usize) {
        let access = access(daemon, &format!("cus_{person}")).await;
        assert_eq!(access["version"], self.events_each, "{access:#}");
        let (tier, status) =
            if person % 3 == 1 { ("grace_period", "canceled") } else { ("premium", "active") };
        assert_eq!((&access["tier"], &access["subscription"]["status"]), (&tier.into(), &status.into()));
        assert_eq!(access["crisis"]["active"], person % 3 == 2, "{access:#}");
    }
}

async fn everything_is_done_once(daemon: &Daemon, expected: &BTreeSet<String>) {
    nothing_owed(daemon).await;
    let mut recorded = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = daemon.operator().get(&format!("/api/v1/jobs?limit=500&cursor={cursor}")).await.json();
        assert_eq!(page["total"], expected.len());
        for job in page["items"].as_array().expect("a list") {
            let end = (&job["state"], &job["attempts"], &job["last_error"]);
            assert_eq!(end, (&"done".into(), &1.into(), &Value::Null), "{job:#}");
            recorded.push(job["dedupe_key"].as_str().expect("a key").to_owned());
        }
        match page["next"].as_str() {
            Some(next) => next.clone_into(&mut cursor),
            None => break,
        }
    }
    assert_eq!(recorded.len(), expected.len());
    assert_eq!(&recorded.into_iter().collect::<BTreeSet<String>>(), expected);
}
