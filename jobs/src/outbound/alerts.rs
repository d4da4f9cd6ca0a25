//! The receivers of alerts: PagerDuty (Events API v2), an incoming webhook as Slack has them, and a webhook of one's
//! own that is signed as Standard Webhooks says (<https://www.standardwebhooks.com>):
//!
//! ```text
//! POST <alerts.webhook_url>
//! webhook-id: 0199…-…                 the same for every attempt, whoever makes it, so that nothing is taken twice
//! webhook-timestamp: 1800000000       when this attempt was signed
//! webhook-signature: v1,<base64>      HMAC-SHA256 over id, dot, timestamp, dot and body
//! {"type": "alert.triggered", "timestamp": "2027-…", "data": {"alerts": [{"id", "rule", "severity", …}]}}
//! ```
//!
//! PagerDuty and a signed webhook tell a second delivery by its key. A channel cannot: it is told at least once. It
//! hears a message again if its answer was lost (a connection that broke, a process that was killed), or could not be
//! noted because the process was killed, its lease ran out or the database was away just then.
//!
//! Any 2xx is taken for done (PagerDuty answers 202). 429 and 503 may say `Retry-After`, which is heeded for everything
//! that goes to the same receiver; they, other 5xx, 408, 409 and 425 are tried again. Whatever else a receiver answers
//! speaks of the set-up or of what was sent; the job is dead and says so. Addresses of incoming webhooks are secrets
//! and appear nowhere.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use hmac::{Hmac, Mac as _};
use http::{HeaderValue, Method, Request, Uri, header};
use keepwell_workers::{clock::SharedClock, database::Database, id::JobId, outcome::Outcome};
use serde_json::Value;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::{
    http::{CertificatesError, HttpClient, HttpError, HttpLimits},
    notify::{NotSent, taken},
    pace::Pace,
};
use crate::{
    alerts::{
        message::{pagerduty, slack, webhook},
        plan::OpenAlert,
        telling::{Action, Receiver, Telling},
    },
    store::alerts::{Which, alerts},
};

/// How long a connection may take, in milliseconds.
const CONNECT_TIMEOUT_MS: u64 = 3_000;

/// What is read of an answer, in bytes; nothing in it is needed.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// Messages to one receiver at a time: one that hangs holds as many slots, and no more.
const IN_FLIGHT_MAX: usize = 2;

/// Messages in a second to a channel: Slack asks for no more.
const TO_CHANNEL_A_SECOND_MAX: u32 = 1;

/// Messages in a second to any other receiver: PagerDuty takes 120 a minute for each service.
const A_SECOND_MAX: u32 = 2;

/// The longest wait that a `Retry-After` is granted.
const WAIT_MAX: Duration = Duration::from_secs(5 * 60);

/// The wait after a 429 that names none.
const BUSY_WAIT: Duration = Duration::from_secs(5);

/// Where alerts go.
pub struct ReceiverOptions<'o> {
    /// PagerDuty's address.
    pub pagerduty_url: &'o str,
    /// The routing key of the service that is told of everything critical.
    pub routing_key: Option<&'o str>,
    /// That of the service that is told of what nobody has acknowledged.
    pub escalation_key: Option<&'o str>,
    /// The incoming webhook of a channel.
    pub slack_url: Option<&'o str>,
    /// A webhook of one's own and the key it is signed with.
    pub webhook: Option<(&'o str, Zeroizing<Vec<u8>>)>,
    /// How long an answer may take, in milliseconds.
    pub timeout_ms: u64,
    /// Authorities that are trusted beside those of the web (PEM).
    pub authorities: Option<&'o [u8]>,
}

impl fmt::Debug for ReceiverOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReceiverOptions").field("timeout_ms", &self.timeout_ms).finish_non_exhaustive()
    }
}

/// A receiver cannot be used as it is configured.
#[derive(Debug, thiserror::Error)]
pub enum ReceiverError {
    /// Its address.
    #[error("the address of `{}` cannot be used", .0.name())]
    Address(Receiver),
    /// The certificates.
    #[error(transparent)]
    Certificates(#[from] CertificatesError),
}

/// Tells receivers. Cheap to clone.
#[derive(Clone)]
pub struct AlertDelivery(Arc<Inner>);

struct Inner {
    http: HttpClient,
    places: Vec<Place>,
    database: Database,
    clock: SharedClock,
}

/// One receiver.
struct Place {
    receiver: Receiver,
    url: Uri,
    /// The routing key, or what the webhook is signed with.
    key: Zeroizing<Vec<u8>>,
    pace: Pace,
    delivered: AtomicU64,
    failed: AtomicU64,
    refused: AtomicU64,
}

impl AlertDelivery {
    /// One that reaches receivers as `options` say, and looks into `database` what has become of an alert by now.
    pub fn new(
        options: &ReceiverOptions<'_>,
        database: Database,
        clock: SharedClock,
    ) -> Result<Self, ReceiverError> {
        let limits = HttpLimits {
            connect_timeout_ms: CONNECT_TIMEOUT_MS.min(options.timeout_ms),
            timeout_ms: options.timeout_ms,
            answer_bytes_max: ANSWER_BYTES_MAX,
        };
        let key = |text: &str| Zeroizing::new(text.as_bytes().to_vec());
        let configured = [
            (Receiver::Pagerduty, options.routing_key.map(|text| (options.pagerduty_url, key(text)))),
            (Receiver::Escalation, options.escalation_key.map(|text| (options.pagerduty_url, key(text)))),
            (Receiver::Slack, options.slack_url.map(|url| (url, Zeroizing::default()))),
            (Receiver::Webhook, options.webhook.clone()),
        ];
        let configured = configured.into_iter().filter_map(|(receiver, place)| Some((receiver, place?)));
        let place = |(receiver, (url, key)): (Receiver, (&str, Zeroizing<Vec<u8>>))| {
            let url: Uri = url.parse().map_err(|_| ReceiverError::Address(receiver))?;
            if url.host().is_none_or(str::is_empty) || !matches!(url.scheme_str(), Some("http" | "https")) {
                return Err(ReceiverError::Address(receiver));
            }
            let a_second = if receiver == Receiver::Slack { TO_CHANNEL_A_SECOND_MAX } else { A_SECOND_MAX };
            let pace = Pace::new(IN_FLIGHT_MAX, a_second);
            let (delivered, failed, refused) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
            Ok(Place { receiver, url, key, pace, delivered, failed, refused })
        };
        let places = configured.map(place).collect::<Result<_, _>>()?;
        let http = HttpClient::new(limits, options.authorities)?;
        Ok(Self(Arc::new(Inner { http, places, database, clock })))
    }

    /// Who can be told.
    pub fn receivers(&self) -> Vec<Receiver> {
        self.0.places.iter().map(|place| place.receiver).collect()
    }

    /// Tells a receiver as the job `id` asks. An `Err` is how the run ends.
    pub async fn deliver(&self, id: JobId, telling: &Telling) -> Result<(), Outcome> {
        if matches!(telling.action, Action::Triggered | Action::Escalated) {
            return self.deliver_unrecorded(id, &self.as_it_is_now(telling).await?).await;
        }
        self.deliver_unrecorded(id, telling).await
    }

    /// The same without a look into the database, which does not answer.
    pub async fn deliver_unrecorded(&self, id: JobId, telling: &Telling) -> Result<(), Outcome> {
        let name = telling.receiver.name();
        let Some(place) = self.0.places.iter().find(|place| place.receiver == telling.receiver) else {
            return Err(Outcome::Cancel {
                reason: format!("`{name}` is not configured any more (`alerts`)"),
            });
        };
        let [.., high, low] = *id.as_bytes();
        let early = |early: super::pace::TooEarly| Outcome::Snooze {
            after: early.wait(u16::from_be_bytes([high, low])),
        };
        let _place = place.pace.enter().map_err(early)?;
        let known_as = telling.known_as.as_ref().and_then(|known_as| known_as.parse().ok());
        let Some(request) = self.request(place, known_as.unwrap_or(id), telling) else {
            return Err(Outcome::dead(format!("`{name}` cannot be told that")));
        };
        let answered = match self.0.http.send(request).await {
            Ok(answer) => taken(&answer),
            Err(error) => Err(NotSent::Silent(error)),
        };
        let ended = answered.map_err(|not_sent| outcome(place, not_sent));
        let count = match &ended {
            Ok(()) => &place.delivered,
            Err(Outcome::Dead { .. }) => &place.refused,
            Err(_) => &place.failed,
        };
        count.fetch_add(1, Relaxed);
        ended
    }

    /// What became of attempts to tell somebody: the receiver, the result, and how often.
    pub fn counts(&self) -> Vec<(Receiver, &'static str, u64)> {
        let of = |place: &Place| {
            let receiver = place.receiver;
            [("delivered", &place.delivered), ("failed", &place.failed), ("refused", &place.refused)]
                .map(|(result, count)| (receiver, result, count.load(Relaxed)))
        };
        self.0.places.iter().flat_map(of).collect()
    }

    /// That something began, with what has become of it meanwhile: an attempt that failed is made again after others.
    async fn as_it_is_now(&self, telling: &Telling) -> Result<Telling, Outcome> {
        let mut telling = telling.clone();
        let mut waits = false;
        for alert in &mut telling.alerts {
            let found = alerts(&self.0.database, &Which::Id(alert.id.clone())).await;
            let found =
                found.map_err(|error| Outcome::retry(format!("the alert cannot be read: {error}")))?;
            let Some(OpenAlert { told, .. }) = found.into_iter().next() else { continue };
            waits |= told.resolved_ms.is_none() && told.acknowledged_by.is_none();
            (alert.resolved_ms, alert.acknowledged_by) = (told.resolved_ms, told.acknowledged_by);
        }
        if telling.receiver.keeps_incidents() && !waits {
            // PagerDuty would wake somebody, and open an incident that nobody closes.
            let reason = "the alert was over or taken on before it could be told of".to_owned();
            return Err(Outcome::Cancel { reason });
        }
        Ok(telling)
    }

    fn request(&self, place: &Place, id: JobId, telling: &Telling) -> Option<Request<Bytes>> {
        let body: Value = match place.receiver {
            Receiver::Pagerduty | Receiver::Escalation => {
                pagerduty(telling, std::str::from_utf8(&place.key).ok()?)?
            }
            Receiver::Slack => slack(telling),
            Receiver::Webhook => webhook(telling),
        };
        let body = body.to_string();
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(place.url.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json")
            .header(header::USER_AGENT, concat!("keepwell/", env!("CARGO_PKG_VERSION")));
        if place.receiver == Receiver::Webhook {
            let timestamp = self.0.clock.now_ms().div_euclid(1_000).to_string();
            let signature = signed(&place.key, &id.to_string(), &timestamp, &body)?;
            request = request
                .header("webhook-id", id.to_string())
                .header("webhook-timestamp", timestamp)
                .header("webhook-signature", signature);
        }
        request.body(Bytes::from(body)).ok()
    }
}

/// The `webhook-signature` of `body`.
fn signed(key: &[u8], id: &str, timestamp: &str, body: &str) -> Option<HeaderValue> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
    for part in [id, ".", timestamp, ".", body] {
        mac.update(part.as_bytes());
    }
    HeaderValue::try_from(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))).ok()
}

fn outcome(place: &Place, not_sent: NotSent) -> Outcome {
    let name = place.receiver.name();
    match not_sent {
        NotSent::Silent(HttpError::Address) => {
            Outcome::dead(format!("the address of `{name}` cannot be used"))
        }
        NotSent::Silent(error) => Outcome::retry(format!("`{name}` did not answer: {error}")),
        NotSent::Busy { status, after } => {
            let after = after.map(|after| after.min(WAIT_MAX));
            if status == 429 || after.is_some() {
                place.pace.rest(after.unwrap_or(BUSY_WAIT));
            }
            Outcome::Retry { error: format!("`{name}` asks to try again ({status})"), after }
        }
        NotSent::Setup(status) => Outcome::dead(format!(
            "`{name}` refuses us ({status}): check its settings under `alerts`, then retry the job"
        )),
        NotSent::Refused(status) => Outcome::dead(format!(
            "`{name}` refuses what it was told ({status}): check its key under `alerts`, then retry the job"
        )),
    }
}

impl fmt::Debug for AlertDelivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AlertDelivery").field("receivers", &self.receivers()).finish_non_exhaustive()
    }
}
