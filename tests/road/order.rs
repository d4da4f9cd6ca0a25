//! Stripe promises no order. The same history ends in the same access however it arrives.

use chrono::DateTime;
use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};
use serde_json::{Value, json};

use super::{
    access,
    event::{self, Event, SHAPES},
    nothing_owed, on_both, signal, taken,
};
use crate::support::{daemon::Daemon, door::now_s};

/// The people of the history.
const PEOPLE: [&str; 5] = ["ada", "ben", "cleo", "dan", "eva"];

/// The orders in which it is told, each to people of its own.
const TELLINGS: u64 = 5;

/// How long the history takes, in seconds. The rules take the word of a signal that comes up to 15 minutes late.
const HISTORY_S: i64 = 600;

/// Something that happened: an event of Stripe's, or a signal of the app's under an id.
enum Happening {
    Stripe(Event),
    App(String, Value),
}

/// What happens to one person after another, told about people whose names end in `suffix`.
struct History {
    suffix: String,
    began_s: i64,
    happenings: Vec<Happening>,
}

impl History {
    fn next_s(&self) -> i64 {
        self.began_s + self.happenings.len() as i64 * 10
    }

    fn stripe(&mut self, person: &str, event_type: &str, change: impl FnOnce(Event) -> Event) {
        let shape = SHAPES[self.happenings.len() % SHAPES.len()];
        let event = Event::of(shape, event_type, &format!("{person}{}", self.suffix));
        let event = change(event.with("/created", self.next_s()));
        self.happenings.push(Happening::Stripe(event));
    }

    fn app(&mut self, person: &str, signal_type: &str, data: Value) {
        let mut signal = signal(signal_type, &format!("cus_{person}{}", self.suffix), data);
        let at = DateTime::from_timestamp(self.next_s(), 0).expect("an instant");
        signal["timestamp"] = at.to_rfc3339().into();
        self.happenings.push(Happening::App(format!("msg_{}", event::number()), signal));
    }

    /// A subscription's change to `status`.
    fn becomes(&mut self, person: &str, status: &str) {
        self.stripe(person, "customer.subscription.updated", |event| {
            event.with("/data/object/status", status)
        });
    }

    fn happened(suffix: &str) -> Self {
        let (created, deleted) = ("customer.subscription.created", "customer.subscription.deleted");
        let (paid, failed) = ("invoice.payment_succeeded", "invoice.payment_failed");
        let crisis = |severity| json!({ "source": "button", "severity": severity });
        let began_s = now_s() - HISTORY_S;
        let mut history = Self { suffix: suffix.to_owned(), began_s, happenings: Vec::new() };
        let it = &mut history;
        for person in PEOPLE {
            it.stripe(person, created, |event| event.with("/data/object/status", "incomplete"));
            it.stripe(person, paid, |event| {
                event.with("/data/object/id", format!("in_{person}{suffix}_first"))
            });
            it.becomes(person, "active");
        }
        // Ada's card is declined twice, then charged.
        it.stripe("ada", failed, |event| event);
        it.becomes("ada", "past_due");
        it.stripe("ada", failed, |event| event.with("/data/object/attempt_count", 2));
        it.stripe("ada", paid, |event| event);
        it.becomes("ada", "active");
        // Ben's is declined, and nobody pays.
        it.stripe("ben", failed, |event| event);
        it.becomes("ben", "past_due");
        // Cleo leaves.
        it.stripe("cleo", "setup_intent.succeeded", |event| event);
        it.stripe("cleo", deleted, |event| event);
        // Dan is in a crisis when his card is declined; the crisis passes.
        it.app("dan", "crisis.signal", crisis("high"));
        it.stripe("dan", failed, |event| event);
        it.app("dan", "crisis.resolved", json!({ "by": "clinician" }));
        // Eva's goes on, and a tool fails her.
        it.app("eva", "crisis.signal", crisis("moderate"));
        it.app("eva", "tool.failed", json!({ "detail": "no sound" }));
        it.app("eva", "crisis.signal", crisis("critical"));
        history
    }
}

/// Tells the history in the order that `seed` makes of it, and answers with the access that everybody has in the end.
async fn told(daemon: &Daemon, seed: u64) -> Vec<Value> {
    let suffix = format!("_{seed}");
    let mut history = History::happened(&suffix).happenings;
    assert!(history.len() >= 30, "{}", history.len());
    if seed > 0 {
        history.shuffle(&mut StdRng::seed_from_u64(seed));
    }
    for happening in &history {
        taken(match happening {
            Happening::Stripe(event) => daemon.stripe(event).await,
            Happening::App(id, signal) => daemon.app(id, signal).await,
        });
    }
    nothing_owed(daemon).await;
    let mut ends = Vec::new();
    for person in PEOPLE {
        ends.push(lasting(&access(daemon, &format!("cus_{person}{suffix}")).await, &suffix));
    }
    ends
}

/// `access` without what depends on when something was learned.
fn lasting(access: &Value, suffix: &str) -> Value {
    let text = access.to_string().replace(suffix, "");
    let mut access: Value = serde_json::from_str(&text).expect("only names changed");
    access["version"].take();
    for passing in ["started_at", "ends_at", "remaining_days"] {
        access["grace"][passing].take();
    }
    for since in ["/crisis/since", "/emergency/since"] {
        access.pointer_mut(since).expect("it is always there").take();
    }
    if access["message"].is_object() {
        access["message"]["body"].take();
    }
    access
}

#[tokio::test]
async fn a_history_ends_in_the_same_access_in_whatever_order_it_is_told() {
    on_both(&[], async |daemon| {
        let in_order = told(daemon, 0).await;
        let ends =
            |name: &str| -> Vec<Value> { in_order.iter().map(|access| access[name].clone()).collect() };
        assert_eq!(ends("tier"), ["premium", "grace_period", "grace_period", "premium", "premium"]);
        let crises: Vec<bool> = in_order.iter().map(|access| access["crisis"]["active"] == true).collect();
        assert_eq!(crises, [false, false, false, false, true]);

        for seed in 1..=TELLINGS {
            let shuffled = told(daemon, seed).await;
            for (expected, found) in in_order.iter().zip(&shuffled) {
                assert_eq!(expected, found, "seed {seed}");
            }
        }
    })
    .await;
}
