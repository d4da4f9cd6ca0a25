//! Stripe's events, from the fixtures: about whomever the test tells of, each under an id of its own and a second later
//! than the one before.

use std::{
    fs,
    ops::Deref,
    path::Path,
    sync::atomic::{AtomicI64, Ordering},
};

use serde_json::Value;

/// The versions of Stripe's API whose shapes the fixtures have: before and since the fields moved.
pub const SHAPES: [&str; 2] = ["2020-08-27", "2025-03-31.basil"];

/// When the first event of a test is made, in seconds since the Unix epoch: 2026-01-01.
const FIRST_S: i64 = 1_767_225_600;

/// The person whom the fixtures are about; every id of hers ends in it.
const PERSON: &str = "alma";

/// An event of Stripe's.
#[derive(Debug, Clone)]
pub struct Event(Value);

impl Event {
    /// The event `event_type` as Stripe's API shaped it in the version `shape`, about `person`: the ids are `cus_`,
    /// `sub_` and so on, with the person behind.
    pub fn of(shape: &str, event_type: &str, person: &str) -> Self {
        Self::read(&format!("{shape}/{event_type}"), person)
    }

    /// One without an object, as Stripe recommends them for what is new.
    pub fn thin(person: &str) -> Self {
        let mut event = Self::read("other/thin", person);
        event.0["created"] = "2026-01-01T00:00:00.000Z".into();
        event
    }

    /// One of a type that nothing depends on.
    pub fn unhandled(person: &str) -> Self {
        Self::read("other/unhandled", person)
    }

    fn read(name: &str, person: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/stripe").join(name);
        let text = fs::read_to_string(format!("{}.json", path.display()))
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let text = text.replace(&format!("_{PERSON}"), &format!("_{person}"));
        let mut event: Value = serde_json::from_str(&text).expect("a fixture is JSON");
        let number = number();
        event["id"] = format!("evt_{person}_{number}").into();
        event["created"] = (FIRST_S + number).into();
        Self(event)
    }

    /// The same event with `value` at `pointer` (RFC 6901), which must be there.
    #[must_use]
    pub fn with(mut self, pointer: &str, value: impl Into<Value>) -> Self {
        *self.0.pointer_mut(pointer).unwrap_or_else(|| panic!("nothing at {pointer}")) = value.into();
        self
    }

    /// Adds the field `name` to the envelope, or changes it.
    pub fn insert(&mut self, name: &str, value: impl Into<Value>) {
        self.0[name] = value.into();
    }

    /// The same event about a subscription to `price`.
    #[must_use]
    pub fn for_price(self, price: &str) -> Self {
        let text = self.0.to_string().replace("price_premium_monthly", price);
        Self(serde_json::from_str(&text).expect("only a name changed"))
    }
}

impl From<Value> for Event {
    fn from(event: Value) -> Self {
        Self(event)
    }
}

impl Deref for Event {
    type Target = Value;

    fn deref(&self) -> &Value {
        &self.0
    }
}

/// A number that no other event or signal of this run has.
pub fn number() -> i64 {
    static NEXT: AtomicI64 = AtomicI64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
