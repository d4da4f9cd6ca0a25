//! The notification gateway: a service of the app's that brings words to people, by push, text, call or mail.
//!
//! keepwell posts one JSON document for each message and knows nothing of carriers:
//!
//! ```text
//! POST <notify.url>
//! Authorization: Bearer <notify.token>
//! Idempotency-Key: 0199…-…            the job's id: the same for every attempt, so that nobody is told twice
//! {"id": "0199…", "kind": "message" | "emergency_contact", "customer": "cus_42", "locale": "de", "title", "body", …}
//! ```
//!
//! An emergency contact's document says under `to` how to reach them (`method`, `address`), and under `to.otherwise`
//! how else they can be, in order, for a gateway that finds the first way closed.
//!
//! Any 2xx is taken for done. 429 and 503 may say `Retry-After`; those, other 5xx, 408, 409 (the same key is under
//! way) and 425 are tried again. 401, 403 and 404 speak of the set-up, every other 4xx of what was sent, and 3xx are
//! not followed: none of them passes by itself. Nothing of an answer's body is kept, because gateways like to repeat
//! what they were sent.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, Uri, header};
use keepwell_workers::{id::JobId, outcome::Outcome};
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{
    http::{Answer, CertificatesError, HttpClient, HttpError, HttpLimits},
    retry_after::retry_after,
};

/// How the gateway is reached.
#[derive(Debug, Clone)]
pub struct NotifierOptions<'o> {
    /// Where documents are posted.
    pub url: &'o str,
    /// The bearer token.
    pub token: &'o str,
    /// How long an answer may take, in milliseconds.
    pub timeout_ms: u64,
    /// Authorities that are trusted beside those of the web (PEM).
    pub authorities: Option<&'o [u8]>,
    /// Emergency contacts that are told at a time: fewer than there are crisis slots, or a gateway that hangs would
    /// hold up a crisis.
    pub urgent_in_flight_max: usize,
    /// Messages that are sent at a time.
    pub in_flight_max: usize,
}

/// The gateway cannot be used as it is configured.
#[derive(Debug, thiserror::Error)]
pub enum NotifierError {
    /// The address.
    #[error("the gateway's address cannot be used")]
    Address,
    /// The token.
    #[error("the gateway's token has characters that a header cannot carry")]
    Token,
    /// The certificates.
    #[error(transparent)]
    Certificates(#[from] CertificatesError),
}

/// The gateway did not take a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotSent {
    /// It did not answer.
    #[error("the notification gateway did not answer: {0}")]
    Silent(#[from] HttpError),
    /// It asks for patience.
    #[error("the notification gateway asks to try again ({status})")]
    Busy {
        /// What it answered.
        status: u16,
        /// How long it asks to wait.
        after: Option<Duration>,
    },
    /// It does not know us or the address.
    #[error(
        "the notification gateway refuses us ({0}): check `notify.url` and `notify.token`, then retry the job"
    )]
    Setup(u16),
    /// It does not take this message.
    #[error("the notification gateway refuses the message ({0})")]
    Refused(u16),
}

/// The gateway is not known to have taken a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotTaken {
    /// How the run ends.
    pub outcome: Outcome,
    /// It may have taken it all the same: its answer was lost, or says too little.
    pub perhaps: bool,
}

impl From<NotTaken> for Outcome {
    fn from(not_taken: NotTaken) -> Self {
        not_taken.outcome
    }
}

/// How urgent a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Haste {
    /// Somebody's emergency contact.
    Urgent,
    /// A message to a person.
    Calm,
}

/// The longest wait that a gateway is granted for an urgent message, in milliseconds.
const URGENT_WAIT_MAX_MS: u64 = 60_000;

/// The same for any other.
const CALM_WAIT_MAX_MS: u64 = 6 * 60 * 60 * 1_000;

/// How soon a message whose place in flight was taken looks for another one, in milliseconds; as many times that as
/// were turned away lately, or those who wait for a gateway that hangs would keep the database busy.
const FULL_WAIT_MS: u64 = 250;

/// The longest of these waits, in milliseconds: for emergency contacts and for messages.
const FULL_WAITS_MAX_MS: (u64, u64) = (5_000, 60_000);

/// How long a connection may take, in milliseconds.
const CONNECT_TIMEOUT_MS: u64 = 3_000;

/// What is read of an answer, in bytes; nothing in it is needed.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// Posts messages to the gateway. Cheap to clone.
#[derive(Clone)]
pub struct Notifier(Arc<Inner>);

struct Inner {
    http: HttpClient,
    url: Uri,
    authorization: HeaderValue,
    urgent: Places,
    calm: Places,
}

/// Places in flight.
struct Places {
    free: Arc<Semaphore>,
    /// Whoever found none, less half for everyone who found one.
    turned_away: AtomicU32,
    wait_max_ms: u64,
}

impl Places {
    fn new(count: usize, wait_max_ms: u64) -> Self {
        Self { free: Arc::new(Semaphore::new(count.max(1))), turned_away: AtomicU32::new(0), wait_max_ms }
    }

    /// A place. Nobody waits for one here: waiting would take a slot of the pool.
    fn take(&self) -> Result<OwnedSemaphorePermit, Outcome> {
        let change = |of: fn(u32) -> u32| {
            // Never refused by the closure.
            self.turned_away
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| Some(of(count)))
                .unwrap_or(0)
        };
        if let Ok(place) = Arc::clone(&self.free).try_acquire_owned() {
            change(|count| count / 2);
            return Ok(place);
        }
        let before = change(|count| count.saturating_add(1));
        let wait_ms = FULL_WAIT_MS.saturating_mul(u64::from(before) + 1).min(self.wait_max_ms);
        Err(Outcome::Snooze { after: Duration::from_millis(wait_ms) })
    }
}

impl Notifier {
    /// One that reaches the gateway as `options` say.
    pub fn new(options: &NotifierOptions<'_>) -> Result<Self, NotifierError> {
        let limits = HttpLimits {
            connect_timeout_ms: CONNECT_TIMEOUT_MS.min(options.timeout_ms),
            timeout_ms: options.timeout_ms,
            answer_bytes_max: ANSWER_BYTES_MAX,
        };
        let url: Uri = options.url.parse().map_err(|_| NotifierError::Address)?;
        if url.host().is_none_or(str::is_empty) || !matches!(url.scheme_str(), Some("http" | "https")) {
            return Err(NotifierError::Address);
        }
        let bearer = format!("Bearer {}", options.token);
        let mut authorization = HeaderValue::try_from(bearer).map_err(|_| NotifierError::Token)?;
        authorization.set_sensitive(true);
        Ok(Self(Arc::new(Inner {
            http: HttpClient::new(limits, options.authorities)?,
            url,
            authorization,
            urgent: Places::new(options.urgent_in_flight_max, FULL_WAITS_MAX_MS.0),
            calm: Places::new(options.in_flight_max, FULL_WAITS_MAX_MS.1),
        })))
    }

    /// A place in flight. An `Err` is how the run ends: too many are under way.
    pub fn place(&self, haste: Haste) -> Result<Place<'_>, Outcome> {
        let places = match haste {
            Haste::Urgent => &self.0.urgent,
            Haste::Calm => &self.0.calm,
        };
        Ok(Place { notifier: self, haste, _taken: places.take()? })
    }

    pub(super) async fn post(&self, id: JobId, document: &Value) -> Result<(), NotSent> {
        let mut document = document.clone();
        document["id"] = id.to_string().into();
        let request = Request::builder()
            .method(Method::POST)
            .uri(self.0.url.clone())
            .header(header::AUTHORIZATION, self.0.authorization.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json")
            .header(header::USER_AGENT, concat!("keepwell/", env!("CARGO_PKG_VERSION")))
            .header("idempotency-key", id.to_string())
            .body(Bytes::from(document.to_string()));
        let answer = self.0.http.send(request.map_err(|_| HttpError::Address)?).await?;
        taken(&answer)
    }
}

/// A place in flight, free again when this is dropped.
pub struct Place<'n> {
    notifier: &'n Notifier,
    haste: Haste,
    _taken: OwnedSemaphorePermit,
}

impl Place<'_> {
    /// Sends `document` under the key `id`.
    pub async fn send(self, id: JobId, document: &Value) -> Result<(), NotTaken> {
        let not_taken = |not_sent: NotSent| NotTaken {
            perhaps: not_sent.is_doubtful(),
            outcome: not_sent.outcome(self.haste),
        };
        self.notifier.post(id, document).await.map_err(not_taken)
    }
}

impl fmt::Debug for Notifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notifier").finish_non_exhaustive()
    }
}

/// Whether an answer says that the message was taken.
pub(super) fn taken(answer: &Answer) -> Result<(), NotSent> {
    let status = answer.status;
    let number = status.as_u16();
    match status {
        status if status.is_success() => Ok(()),
        StatusCode::REQUEST_TIMEOUT
        | StatusCode::CONFLICT
        | StatusCode::TOO_EARLY
        | StatusCode::TOO_MANY_REQUESTS => {
            Err(NotSent::Busy { status: number, after: retry_after(&answer.headers) })
        }
        status if status.is_server_error() => {
            Err(NotSent::Busy { status: number, after: retry_after(&answer.headers) })
        }
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND => {
            Err(NotSent::Setup(number))
        }
        status if status.is_redirection() => Err(NotSent::Setup(number)),
        _ => Err(NotSent::Refused(number)),
    }
}

impl NotSent {
    /// Whether the message may have been taken: the request was on its way, and no answer says that it was not. 503,
    /// 429 and 425 do, and so do 408 and whatever else finds fault with the request; 409 says that it is under way.
    fn is_doubtful(self) -> bool {
        match self {
            NotSent::Silent(HttpError::TimedOut | HttpError::BrokenOff | HttpError::TooLong) => true,
            NotSent::Busy { status, .. } => status == 409 || (status >= 500 && status != 503),
            NotSent::Silent(HttpError::Address | HttpError::Unreachable(_) | HttpError::Tls)
            | NotSent::Setup(_)
            | NotSent::Refused(_) => false,
        }
    }

    /// How the run ends. A mistake in the set-up can be mended by somebody, so an urgent message is tried again
    /// meanwhile.
    fn outcome(self, haste: Haste) -> Outcome {
        let error = self.to_string();
        let wait_max_ms = match haste {
            Haste::Urgent => URGENT_WAIT_MAX_MS,
            Haste::Calm => CALM_WAIT_MAX_MS,
        };
        match self {
            NotSent::Silent(HttpError::Address) | NotSent::Refused(_) => Outcome::Dead { error },
            NotSent::Setup(_) if haste == Haste::Calm => Outcome::Dead { error },
            NotSent::Busy { after, .. } => {
                let wait_max = Duration::from_millis(wait_max_ms);
                Outcome::Retry { error, after: after.map(|after| after.min(wait_max)) }
            }
            NotSent::Silent(_) | NotSent::Setup(_) => Outcome::Retry { error, after: None },
        }
    }
}
