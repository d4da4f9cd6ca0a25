//! The door for webhooks, as Stripe and the app's own backend knock on it.

use std::io;

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::Method;
use keepwell_workers::clock::{Clock, SystemClock};
use serde_json::Value;

use super::{
    http::{Answer, Client},
    sign,
};

/// The secret that signs Stripe's events; to Stripe's scheme it is text.
pub const STRIPE_SECRET: &str = "whsec_a_secret_for_tests_and_nothing_else";

/// What the app's secret holds; Standard Webhooks carry it in base64.
const APP_KEY: &[u8; 32] = b"thirty-two bytes, only for tests";

/// Delivers what is signed afresh each time. Cheap to clone, so that many can knock at once.
#[derive(Debug, Clone)]
pub struct Door {
    client: Client,
}

impl Door {
    /// The door of the daemon whose public listener `client` talks to.
    pub fn of(client: Client) -> Self {
        Self { client }
    }

    /// Delivers `event` as Stripe would; an error if no answer came.
    pub async fn stripe(&self, event: &Value) -> io::Result<Answer> {
        let body = event.to_string();
        let headers = [
            ("content-type", "application/json; charset=utf-8".to_owned()),
            ("stripe-signature", sign::stripe(STRIPE_SECRET, now_s(), body.as_bytes())),
        ];
        self.client.try_call(Method::POST, "/api/webhooks/stripe", &headers, Bytes::from(body)).await
    }

    /// Delivers the app's `signal` under the message id `id`; an error if no answer came.
    pub async fn app(&self, id: &str, signal: &Value) -> io::Result<Answer> {
        let body = signal.to_string();
        let mut headers = vec![("content-type", "application/json".to_owned())];
        headers.extend(sign::standard_webhooks(&app_secret(), id, now_s(), body.as_bytes()));
        self.client.try_call(Method::POST, "/api/webhooks/app", &headers, Bytes::from(body)).await
    }
}

/// The secret that signs the app's signals.
pub fn app_secret() -> String {
    format!("whsec_{}", STANDARD.encode(APP_KEY))
}

/// Now, in seconds since the Unix epoch.
pub fn now_s() -> i64 {
    SystemClock.now_ms() / 1000
}
