//! Signs samples as their senders would, and delivers them.

use bytes::Bytes;
use http::Method;
use keepwell_config::{Config, values::WebhookSecret};
use keepwell_workers::clock::UnixMs;

use super::{
    client::{Answer, ClientError, Connection},
    failure::Failure,
    samples::{Sample, Sender},
};
use crate::{
    receiver::scheme::{
        secret::{Secret, SecretError},
        standard_webhooks, stripe,
    },
    serve::{APP_PATH, STRIPE_PATH},
};

/// A sample as it goes over the wire, not yet signed. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Letter {
    /// Who sends it.
    pub(super) sender: Sender,
    /// Its type.
    pub(super) event_type: &'static str,
    /// Its own id.
    pub(super) id: String,
    /// Whom it is about.
    pub(super) customer: String,
    body: Bytes,
}

impl From<Sample> for Letter {
    fn from(sample: Sample) -> Self {
        let Sample { sender, event_type, id, customer, body } = sample;
        // Stripe sends its JSON pretty-printed. A JSON value can always be written.
        let body = serde_json::to_vec_pretty(&body).unwrap_or_default().into();
        Self { sender, event_type, id, customer, body }
    }
}

/// Signs with the first secret of each source that is valid now.
#[derive(Debug)]
pub(super) struct Signer {
    stripe: Option<Secret>,
    app: Option<Secret>,
}

/// A signed request.
#[derive(Debug, Clone)]
pub(super) struct Delivery {
    path: &'static str,
    headers: Vec<(&'static str, String)>,
    body: Bytes,
}

impl Signer {
    /// With the secrets of `config`.
    pub(super) fn of(config: &Config, now_ms: UnixMs) -> Result<Self, Failure> {
        let refused = |error: SecretError| Failure::Usage(error.to_string());
        Ok(Self {
            stripe: first(&config.stripe.webhook_secrets, now_ms, Secret::stripe)
                .transpose()
                .map_err(refused)?,
            app: first(&config.app.webhook_secrets, now_ms, Secret::standard_webhooks)
                .transpose()
                .map_err(refused)?,
        })
    }

    /// Signs `letter` at `now_ms`; every attempt to deliver it is signed afresh.
    pub(super) fn sign(&self, letter: &Letter, now_ms: UnixMs) -> Result<Delivery, Failure> {
        let signed_at_s = u64::try_from(now_ms / 1_000).unwrap_or(0);
        let body = letter.body.clone();
        let mut headers = vec![("content-type", "application/json; charset=utf-8".to_owned())];
        let path = match letter.sender {
            Sender::Stripe => {
                let secret = self.stripe.as_ref().ok_or_else(|| no_secret("stripe.webhook_secrets"))?;
                headers.push((stripe::HEADER, stripe::sign(secret, signed_at_s, &body)));
                STRIPE_PATH
            }
            Sender::App => {
                let secret = self.app.as_ref().ok_or_else(|| no_secret("app.webhook_secrets"))?;
                let signature = standard_webhooks::sign(secret, &letter.id, signed_at_s, &body);
                headers.push((standard_webhooks::ID_HEADER, letter.id.clone()));
                headers.push((standard_webhooks::TIMESTAMP_HEADER, signed_at_s.to_string()));
                headers.push((standard_webhooks::SIGNATURE_HEADER, signature));
                APP_PATH
            }
        };
        Ok(Delivery { path, headers, body })
    }
}

impl Delivery {
    /// Sends it over `connection`.
    pub(super) async fn send(self, connection: &mut Connection) -> Result<Answer, ClientError> {
        connection.send(Method::POST, self.path, &self.headers, self.body).await
    }
}

fn first(
    secrets: &[WebhookSecret],
    now_ms: UnixMs,
    read: impl Fn(&'static str, &str) -> Result<Secret, SecretError>,
) -> Option<Result<Secret, SecretError>> {
    let valid = secrets.iter().find(|secret| secret.is_valid_at(now_ms))?;
    Some(read("command-line", valid.expose()))
}

fn no_secret(key: &str) -> Failure {
    Failure::Usage(format!(
        "no secret of `{key}` can be read from here; start the daemon once so that it makes some up for \
         development, run this as the daemon's user, or name the secret in the environment"
    ))
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName};

    use super::*;
    use crate::{
        cli::samples::{PRICE, Wish, sample},
        receiver::scheme::{Scheme, secret::SecretSet},
    };

    const NOW_MS: UnixMs = 1_700_000_000_000;

    #[test]
    fn what_is_signed_here_is_believed_by_the_receiver() {
        let stripe = || Secret::stripe("s", "whsec_for_tests").unwrap();
        let app = || Secret::standard_webhooks("a", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signer = Signer { stripe: Some(stripe()), app: Some(app()) };
        let wish =
            Wish { customer: "cus_1", id: None, price: PRICE, crisis: false, settings: &[], now_ms: NOW_MS };
        for (event_type, scheme, secret) in [
            ("invoice.payment_failed", Scheme::Stripe, stripe()),
            ("crisis.signal", Scheme::StandardWebhooks, app()),
        ] {
            let letter = sample(event_type, &wish).unwrap().into();
            let delivery = signer.sign(&letter, NOW_MS).unwrap();
            let headers: HeaderMap = delivery
                .headers
                .iter()
                .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
                .collect();
            let secrets = SecretSet::new(vec![secret]).unwrap();
            scheme.verify(&headers, &delivery.body, &secrets, 300, NOW_MS).unwrap();
        }
    }

    #[test]
    fn without_a_secret_the_person_is_told_where_to_get_one() {
        let signer = Signer { stripe: None, app: None };
        let wish =
            Wish { customer: "cus_1", id: None, price: PRICE, crisis: false, settings: &[], now_ms: NOW_MS };
        let failure = signer.sign(&sample("tool.failed", &wish).unwrap().into(), NOW_MS).unwrap_err();
        assert!(failure.to_string().contains("app.webhook_secrets"), "{failure}");
        assert_eq!(failure.code(), 2);
    }
}
