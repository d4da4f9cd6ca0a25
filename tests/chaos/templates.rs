//! Events in the shapes of the fixtures, made by replacing words: thousands of them cost little.

use std::{fs, path::Path};

use serde_json::{Value, json};

use super::history::Effect;

/// 2026-01-01, in seconds since the Unix epoch: when the first event of a storm says that it was made.
const FIRST_S: i64 = 1_767_225_600;

/// The customer of the fixtures.
const PERSON: &str = "_alma";

/// How an event reaches the daemon.
#[derive(Debug, Clone)]
pub enum Sending {
    Stripe(String),
    App { id: String, body: String },
}

/// What can happen to somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happening {
    Paid,
    Declined,
    Subscription,
    Card,
    Unhandled,
    Device,
    Crisis,
}

/// How often each happens, in a hundred.
const SHARES: [(Happening, u32); 7] = [
    (Happening::Crisis, 2),
    (Happening::Device, 6),
    (Happening::Unhandled, 3),
    (Happening::Card, 4),
    (Happening::Declined, 20),
    (Happening::Subscription, 20),
    (Happening::Paid, 45),
];

impl Happening {
    /// The one that the number `drawn`, below a hundred, stands for.
    pub fn of(drawn: u32) -> Self {
        let mut left = drawn;
        for (happening, share) in SHARES {
            if left < share {
                return happening;
            }
            left -= share;
        }
        Happening::Paid
    }
}

/// An event, its key in the ledger and what it leaves.
#[derive(Debug, Clone)]
pub struct Made {
    pub sending: Sending,
    pub key: String,
    pub effect: Effect,
}

/// The fixtures with words to replace.
#[derive(Debug)]
pub struct Templates {
    paid: [String; 2],
    declined: [String; 2],
    subscription: [String; 2],
    card: [String; 2],
    unhandled: String,
}

impl Templates {
    /// Reads the fixtures.
    pub fn read() -> Self {
        let both = |name: &str, change: fn(&mut Value)| {
            ["2020-08-27", "2025-03-31.basil"].map(|shape| template(&format!("{shape}/{name}"), change))
        };
        let invoice = |event: &mut Value| event["data"]["object"]["id"] = "INVOICE".into();
        Self {
            paid: both("invoice.payment_succeeded", invoice),
            declined: both("invoice.payment_failed", invoice),
            subscription: both("customer.subscription.updated", |event| {
                event["data"]["object"]["status"] = "STATUS".into();
            }),
            card: both("setup_intent.succeeded", |_| {}),
            unhandled: template("other/unhandled", |_| {}),
        }
    }

    /// The `number`th event of the storm: `happening` to `person`.
    pub fn make(&self, happening: Happening, person: &str, number: usize) -> Made {
        let shape = number % 2;
        let created_s = FIRST_S + number as i64;
        let status = ["active", "past_due", "trialing"][number / 2 % 3];
        let customer = format!("cus_{person}");
        let invoice = format!("in_{person}_{number}");
        let (text, event_type, effect) = match happening {
            Happening::Paid => (
                &self.paid[shape],
                "invoice.payment_succeeded",
                Effect::Row(format!("{customer} paid {invoice} at {created_s}")),
            ),
            Happening::Declined => (
                &self.declined[shape],
                "invoice.payment_failed",
                Effect::Row(format!("{customer} failed {invoice} at {created_s}")),
            ),
            Happening::Subscription => (
                &self.subscription[shape],
                "customer.subscription.updated",
                Effect::Newest {
                    about: format!("sub_{person}"),
                    rank: created_s,
                    row: format!("{customer} sub_{person} {status} by evt_{number}"),
                },
            ),
            Happening::Card => {
                (&self.card[shape], "setup_intent.succeeded", Effect::Row(format!("{customer} has a card")))
            }
            Happening::Unhandled => (&self.unhandled, "", Effect::Nothing),
            Happening::Device | Happening::Crisis => return signal(happening, &customer, number),
        };
        let text = text
            .replace(PERSON, &format!("_{person}"))
            .replace("EVENT", &format!("evt_{number}"))
            .replace("INVOICE", &invoice)
            .replace("STATUS", status)
            .replace("\"CREATED\"", &created_s.to_string());
        let event_type = if event_type.is_empty() { type_of(&text) } else { event_type.to_owned() };
        Made { sending: Sending::Stripe(text), key: format!("stripe:-:evt_{number}:{event_type}"), effect }
    }
}

fn signal(happening: Happening, customer: &str, number: usize) -> Made {
    let id = format!("msg_{number}");
    let (body, effect) = if happening == Happening::Device {
        let device = format!("dev_{number}");
        let body = json!({
            "type": "device.registered",
            "data": { "customer": customer, "device": device, "platform": "ios", "push": { "kind": "none" } },
        });
        (body, Effect::Row(format!("{customer} holds {device}")))
    } else {
        let body = json!({
            "type": "crisis.signal",
            "data": { "customer": customer, "source": "button", "severity": "critical" },
        });
        (body, Effect::Row(format!("{customer} pressed app:{id}")))
    };
    Made { key: format!("app:{id}"), sending: Sending::App { id, body: body.to_string() }, effect }
}

fn template(name: &str, change: impl FnOnce(&mut Value)) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/stripe/{name}.json"));
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut event: Value = serde_json::from_str(&text).expect("a fixture is JSON");
    event["id"] = "EVENT".into();
    event["created"] = "CREATED".into();
    change(&mut event);
    event.to_string()
}

fn type_of(text: &str) -> String {
    let event: Value = serde_json::from_str(text).expect("an event is JSON");
    event["type"].as_str().expect("a type").to_owned()
}

#[test]
fn every_happening_has_its_share_and_none_is_left_over() {
    assert_eq!(SHARES.iter().map(|(_, share)| share).sum::<u32>(), 100);
    let drawn: Vec<Happening> = (0..100).map(Happening::of).collect();
    for (happening, share) in SHARES {
        assert_eq!(drawn.iter().filter(|drawn| **drawn == happening).count(), share as usize);
    }
}

#[test]
fn no_word_is_left_unreplaced() {
    let templates = Templates::read();
    for (happening, _) in SHARES {
        let made = templates.make(happening, "eva", 7);
        let (Sending::Stripe(body) | Sending::App { body, .. }) = made.sending;
        for word in [PERSON, "EVENT", "INVOICE", "STATUS", "CREATED"] {
            assert!(!body.contains(word), "{word} in {body}");
        }
        assert!(body.contains("cus_eva") || happening == Happening::Unhandled, "{body}");
    }
}
