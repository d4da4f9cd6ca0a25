//! What is sent: failed payments, or payment methods that were saved, of 2 KiB, each with an id of its own, signed as
//! Stripe signs.

use bytes::Bytes;
use keepwell_workers::clock::{Clock as _, SystemClock};
use serde_json::{Value, json};

use super::{super::Failure, daemon::SECRET};
use crate::receiver::scheme::{secret::Secret, stripe};

/// Bytes of one event: what Stripe's have on average once they are printed without white space.
pub(super) const EVENT_BYTES: usize = 2_048;

/// People whom the events are about.
pub(super) const CUSTOMERS: usize = 10_000;

/// A signed request.
#[derive(Debug, Clone)]
pub(super) struct Delivery {
    pub(super) signature: String,
    pub(super) body: Bytes,
}

/// `count` failed payments, signed now; they are good for five minutes.
pub(super) fn signed(count: usize) -> Result<Vec<Delivery>, Failure> {
    sign(count, payment_failed)
}

/// `count` payment methods that were saved, which wait in the standard lane; `run` is part of their ids.
pub(super) fn signed_standard(count: usize, run: &str) -> Result<Vec<Delivery>, Failure> {
    sign(count, |number, now_s| payment_method_saved(number, run, now_s))
}

fn sign(count: usize, event: impl Fn(usize, u64) -> Vec<u8>) -> Result<Vec<Delivery>, Failure> {
    let now_s = u64::try_from(SystemClock.now_ms() / 1_000)?;
    let secret = Secret::stripe("bench", SECRET)?;
    Ok((0..count)
        .map(|number| {
            let body = event(number, now_s);
            Delivery { signature: stripe::sign(&secret, now_s, &body), body: body.into() }
        })
        .collect())
}

/// Whom the event `number` is about.
pub(super) fn customer(number: usize) -> String {
    format!("cus_{:014}", number % CUSTOMERS)
}

fn payment_failed(number: usize, now_s: u64) -> Vec<u8> {
    let object = json!({
        "id": format!("in_{number:024}"),
        "object": "invoice",
        "customer": customer(number),
        "subscription": format!("sub_{:014}", number % CUSTOMERS),
        "status": "open",
        "billing_reason": "subscription_cycle",
        "amount_due": 4_200,
        "amount_paid": 0,
        "attempt_count": 1,
        "attempted": true,
        "currency": "usd",
        "metadata": { "tenant": "one" },
    });
    event(&format!("{number:024}"), "invoice.payment_failed", &object, now_s)
}

fn payment_method_saved(number: usize, run: &str, now_s: u64) -> Vec<u8> {
    let object = json!({
        "id": format!("seti_{number:024}"),
        "object": "setup_intent",
        "customer": customer(number),
        "payment_method": format!("pm_{number:024}"),
        "status": "succeeded",
        "usage": "off_session",
        "metadata": { "tenant": "one" },
    });
    event(&format!("{run}{number:012}"), "setup_intent.succeeded", &object, now_s)
}

/// An event about `object`, which a description makes as long as [`EVENT_BYTES`].
fn event(id: &str, event_type: &str, object: &Value, now_s: u64) -> Vec<u8> {
    let event = |note: &str| {
        let mut object = object.clone();
        object["description"] = note.into();
        json!({
            "id": format!("evt_{id}"),
            "object": "event",
            "api_version": "2025-03-31.basil",
            "created": now_s,
            "type": event_type,
            "livemode": false,
            "pending_webhooks": 1,
            "request": { "id": null, "idempotency_key": null },
            "data": { "object": object },
        })
        .to_string()
    };
    let short = event("").len();
    event(&"n".repeat(EVENT_BYTES.saturating_sub(short))).into_bytes()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use http::HeaderMap;

    use super::*;
    use crate::receiver::scheme::{Scheme, secret::SecretSet};

    #[test]
    fn every_event_has_two_kibibytes_an_id_of_its_own_and_a_signature_that_holds() {
        let deliveries = [signed(3).unwrap(), signed_standard(3, "run").unwrap()].concat();
        let secrets = SecretSet::new(vec![Secret::stripe("bench", SECRET).unwrap()]).unwrap();
        for delivery in &deliveries {
            assert_eq!(delivery.body.len(), EVENT_BYTES);
            let mut headers = HeaderMap::new();
            headers.insert(stripe::HEADER, delivery.signature.parse().unwrap());
            Scheme::Stripe.verify(&headers, &delivery.body, &secrets, 300, SystemClock.now_ms()).unwrap();
        }
        let bodies: HashSet<&Bytes> = deliveries.iter().map(|delivery| &delivery.body).collect();
        assert_eq!(bodies.len(), deliveries.len());
    }
}
