//! What is sent: failed payments of 2 KiB, each with an id of its own, signed as Stripe signs.

use bytes::Bytes;
use keepwell_workers::clock::{Clock as _, SystemClock};
use serde_json::json;

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

/// `count` of them, signed now; they are good for five minutes.
pub(super) fn signed(count: usize) -> Result<Vec<Delivery>, Failure> {
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

fn event(number: usize, now_s: u64) -> Vec<u8> {
    let event = |note: &str| {
        json!({
            "id": format!("evt_{number:024}"),
            "object": "event",
            "api_version": "2025-03-31.basil",
            "created": now_s,
            "type": "invoice.payment_failed",
            "livemode": false,
            "pending_webhooks": 1,
            "request": { "id": null, "idempotency_key": null },
            "data": { "object": {
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
                "description": note,
            } },
        })
        .to_string()
    };
    let short = event("").len();
    event(&"n".repeat(EVENT_BYTES.saturating_sub(short))).into_bytes()
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;
    use crate::receiver::scheme::{Scheme, secret::SecretSet};

    #[test]
    fn every_event_has_two_kibibytes_an_id_of_its_own_and_a_signature_that_holds() {
        let deliveries = signed(3).unwrap();
        let secrets = SecretSet::new(vec![Secret::stripe("bench", SECRET).unwrap()]).unwrap();
        for delivery in &deliveries {
            assert_eq!(delivery.body.len(), EVENT_BYTES);
            let mut headers = HeaderMap::new();
            headers.insert(stripe::HEADER, delivery.signature.parse().unwrap());
            Scheme::Stripe.verify(&headers, &delivery.body, &secrets, 300, SystemClock.now_ms()).unwrap();
        }
        assert_ne!(deliveries[0].body, deliveries[1].body);
    }
}
