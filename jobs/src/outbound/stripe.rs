//! Stripe's API, as far as it is needed: `GET /v1/subscriptions/{id}`, and lists ([`list`]).
//!
//! At most [`StripeOptions::in_flight_max`] questions are under way and [`QUESTIONS_PER_SECOND_MAX`] are asked in a
//! second; who is too early comes again. An answer serves every question about the same subscription that was waiting
//! when it was asked for. 429 and 503 are heeded for all questions alike. What is wrong with the set-up (the key, its
//! permissions, its mode, the address) is [`NotShown::Setup`] and is not tried again by itself.
//!
//! The key is in one header value that is marked as sensitive, and in nothing that is shown.

pub mod list;

use std::{borrow::Cow, fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use chrono::DateTime;
use http::{HeaderName, HeaderValue, Request, StatusCode, Uri, header};
use keepwell_workers::{
    clock::{SharedClock, UnixMs},
    id::JobId,
    outcome::Outcome,
};
use quick_cache::sync::Cache;

use super::{
    http::{Answer as HttpAnswer, CertificatesError, HttpClient, HttpError, HttpLimits},
    pace::{Pace, TooEarly},
    retry_after::retry_after,
};
use crate::{
    care::confirmation::Shown, json::Json, stripe::extract::SubscriptionFields,
    subscription_changed::snapshot,
};

/// Questions that are asked in a second: below the 25 that Stripe allows test keys, and far below the 100 of live ones,
/// which the app itself needs too.
pub const QUESTIONS_PER_SECOND_MAX: u32 = 20;

/// The version whose shapes are asked for; see [`crate::stripe::extract`] for the others.
const API_VERSION: HeaderValue = HeaderValue::from_static("2020-08-27");

const STRIPE_VERSION: HeaderName = HeaderName::from_static("stripe-version");
const STRIPE_ACCOUNT: HeaderName = HeaderName::from_static("stripe-account");

/// How long a connection may take, in milliseconds.
const CONNECT_TIMEOUT_MS: u64 = 3_000;

/// How long an answer may take, in milliseconds.
const TIMEOUT_MS: u64 = 10_000;

/// A subscription with its items takes a few kilobytes.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// The longest wait that a `Retry-After` is granted.
const WAIT_MAX: Duration = Duration::from_secs(60 * 60);

/// The wait after a 429 that names none.
const BUSY_WAIT: Duration = Duration::from_secs(1);

/// How far a time on an answer may be from ours to be believed, in seconds: beyond a day it is a proxy's, and wrong.
const DATE_OFF_MAX_S: u64 = 24 * 60 * 60;

/// Answers that are remembered at once.
const ANSWERS_MAX: usize = 1_000;

/// How Stripe is reached.
pub struct StripeOptions<'o> {
    /// Where its API is, as in `https://api.stripe.com`.
    pub api_base: &'o str,
    /// The secret or restricted key.
    pub api_key: &'o str,
    /// The connected account whose lists are asked for; `None` is the key's own.
    pub account: Option<&'o str>,
    /// Questions under way at a time: fewer than there are slots, or a Stripe that hangs would hold up everything. One
    /// page of a list may be under way beside them.
    pub in_flight_max: usize,
    /// Says when Stripe was asked.
    pub clock: SharedClock,
}

impl fmt::Debug for StripeOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StripeOptions").field("api_base", &self.api_base).finish_non_exhaustive()
    }
}

/// Stripe cannot be asked as it is configured.
#[derive(Debug, thiserror::Error)]
pub enum StripeError {
    /// The address.
    #[error("the address of Stripe's API cannot be used")]
    Address,
    /// The key.
    #[error("the key has characters that a header cannot carry")]
    Key,
    /// The certificates.
    #[error(transparent)]
    Certificates(#[from] CertificatesError),
}

/// What Stripe is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// One subscription.
    Subscription,
    /// All subscriptions.
    Subscriptions,
    /// Events.
    Events,
}

impl Wanted {
    /// Which leave a restricted key needs for it.
    const fn leave(self) -> &'static str {
        match self {
            Self::Subscription | Self::Subscriptions => {
                "give the key of `stripe.api_key` leave to read subscriptions"
            }
            Self::Events => "give the key of `stripe.api_key` leave to read events",
        }
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Subscription => "the subscription",
            Self::Subscriptions => "subscriptions",
            Self::Events => "events",
        })
    }
}

/// Stripe did not show what it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotShown {
    /// It did not answer.
    #[error("Stripe did not answer: {0}")]
    Silent(#[from] HttpError),
    /// It asks for patience.
    #[error("Stripe asks to try again ({status})")]
    Busy {
        /// What it answered.
        status: u16,
        /// How long it asks to wait.
        after: Option<Duration>,
    },
    /// It answered with something else.
    #[error("Stripe's answer is not what was asked for")]
    Garbage,
    /// It will not answer us.
    #[error("Stripe does not show {wanted} ({status}): {advice}, then retry the job; access is as it was")]
    Setup {
        /// What it was asked for.
        wanted: Wanted,
        /// What it answered.
        status: u16,
        /// What to do.
        advice: &'static str,
    },
    /// It is no id of Stripe's.
    #[error("an id or a type is none of Stripe's")]
    Id,
}

impl NotShown {
    fn outcome(self) -> Outcome {
        let error = self.to_string();
        match self {
            Self::Busy { after, .. } => Outcome::Retry { error, after: after.map(|wait| wait.min(WAIT_MAX)) },
            Self::Silent(HttpError::Address) | Self::Setup { .. } | Self::Id => Outcome::dead(error),
            Self::Silent(_) | Self::Garbage => Outcome::retry(error),
        }
    }
}

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub struct Question<'q> {
    /// The subscription's id.
    pub subscription: &'q str,
    /// The connected account it belongs to.
    pub account: Option<&'q str>,
    /// Whether it is a live one, if that is known.
    pub livemode: Option<bool>,
    /// An answer that was asked for after this instant is good enough.
    pub since_ms: UnixMs,
    /// Who asks.
    pub job: JobId,
}

/// What Stripe showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The subscription.
    pub shown: Shown,
    /// Whose it is.
    pub customer: Option<String>,
}

/// Asks Stripe. Cheap to clone.
#[derive(Clone)]
pub struct StripeClient(Arc<Inner>);

struct Inner {
    http: HttpClient,
    api_base: String,
    authorization: HeaderValue,
    /// Whether the key is a live one, if it says so.
    livemode: Option<bool>,
    pace: Pace,
    /// For lists, so that neither they nor confirmations wait for each other.
    lists: list::Lists,
    account: Option<String>,
    answers: Cache<String, Arc<Answer>>,
    clock: SharedClock,
}

impl StripeClient {
    /// One that reaches Stripe as `options` say.
    pub fn new(options: &StripeOptions<'_>) -> Result<Self, StripeError> {
        let limits = HttpLimits {
            connect_timeout_ms: CONNECT_TIMEOUT_MS,
            timeout_ms: TIMEOUT_MS,
            answer_bytes_max: ANSWER_BYTES_MAX,
        };
        let api_base = options.api_base.trim_end_matches('/').to_owned();
        let base: Uri = api_base.parse().map_err(|_| StripeError::Address)?;
        if base.host().is_none_or(str::is_empty) || base.query().is_some() {
            return Err(StripeError::Address);
        }
        let bearer = format!("Bearer {}", options.api_key);
        let mut authorization = HeaderValue::try_from(bearer).map_err(|_| StripeError::Key)?;
        authorization.set_sensitive(true);
        let is = |mode: &str| options.api_key.get(2..).is_some_and(|rest| rest.starts_with(mode));
        Ok(Self(Arc::new(Inner {
            http: HttpClient::new(limits, None)?,
            api_base,
            authorization,
            livemode: if is("_live_") { Some(true) } else { is("_test_").then_some(false) },
            pace: Pace::new(options.in_flight_max, QUESTIONS_PER_SECOND_MAX),
            lists: list::Lists::new()?,
            account: options.account.map(str::to_owned),
            answers: Cache::new(ANSWERS_MAX),
            clock: Arc::clone(&options.clock),
        })))
    }

    /// How the subscription is, as Stripe showed it after [`Question::since_ms`]. An `Err` is how the run ends.
    pub async fn subscription(&self, question: &Question<'_>) -> Result<Arc<Answer>, Outcome> {
        let answers = &self.0.answers;
        let known = answers.get(question.subscription);
        if let Some(answer) = known.filter(|answer| answer.shown.asked_ms > question.since_ms) {
            return Ok(answer);
        }
        let _place = self.0.pace.enter().map_err(|early| self.too_early(early, question.job))?;
        let answer = Arc::new(self.ask(question).await.map_err(NotShown::outcome)?);
        answers.insert(question.subscription.to_owned(), Arc::clone(&answer));
        Ok(answer)
    }

    /// Has the next question about `subscription` asked afresh.
    pub fn forget(&self, subscription: &str) {
        self.0.answers.remove(subscription);
    }

    /// When the job `id` comes again.
    fn too_early(&self, early: TooEarly, id: JobId) -> Outcome {
        // The end of an id is random; the time makes it another number whenever the job comes again.
        let [.., high, low] = *id.as_bytes();
        let now_ms = self.0.clock.now_ms().unsigned_abs() as u16;
        Outcome::Snooze { after: early.wait(u16::from_be_bytes([high, low]) ^ now_ms) }
    }

    async fn ask(&self, question: &Question<'_>) -> Result<Answer, NotShown> {
        if let (Some(of_key), Some(of_event)) = (self.0.livemode, question.livemode)
            && of_key != of_event
        {
            let advice = "`stripe.api_key` is of the other mode, live or test, than the event";
            return Err(NotShown::Setup { wanted: Wanted::Subscription, status: 404, advice });
        }
        let asked_ms = self.0.clock.now_ms();
        let answer = self.0.http.send(self.request(question)?).await?;
        let answered_ms = self.0.clock.now_ms();
        let ours_s = answered_ms.div_euclid(1_000);
        let until_s = date_s(&answer).filter(|date_s| date_s.abs_diff(ours_s) <= DATE_OFF_MAX_S);
        let until_s = until_s.unwrap_or(ours_s);
        // Stripe looked at it at some moment while it was asked, and a second has a beginning and an end.
        let took_s = answered_ms.saturating_sub(asked_ms).clamp(0, TIMEOUT_MS as i64) / 1_000 + 1;
        let from_s = until_s.saturating_sub(took_s);
        let (subscription, customer) = match answer.status {
            StatusCode::OK => {
                let json = Json::parse(&answer.body).map_err(|_| NotShown::Garbage)?;
                let fields = SubscriptionFields::read(json);
                let customer = fields.customer.clone().map(Cow::into_owned);
                let shown = snapshot(fields, from_s, String::new());
                let shown = shown.filter(|shown| shown.id == question.subscription && is_subscription(json));
                (Some(shown.ok_or(NotShown::Garbage)?), customer)
            }
            StatusCode::NOT_FOUND if is_gone(&answer.body) => (None, None),
            _ => return Err(self.refused(Wanted::Subscription, &answer)),
        };
        Ok(Answer { shown: Shown { subscription, asked_ms, from_s, until_s }, customer })
    }

    fn request(&self, question: &Question<'_>) -> Result<Request<Bytes>, NotShown> {
        if !is_plain(question.subscription) {
            return Err(NotShown::Id);
        }
        self.get(&format!("/v1/subscriptions/{}", question.subscription), question.account)
    }

    /// A question for `path`, asked for `account`.
    fn get(&self, path: &str, account: Option<&str>) -> Result<Request<Bytes>, NotShown> {
        let request = Request::get(format!("{}{path}", self.0.api_base))
            .header(header::AUTHORIZATION, self.0.authorization.clone())
            .header(header::ACCEPT, "application/json")
            .header(STRIPE_VERSION, API_VERSION);
        let request = match account.filter(|account| is_plain(account)) {
            Some(account) => request.header(STRIPE_ACCOUNT, account),
            None => request,
        };
        request.body(Bytes::new()).map_err(|_| NotShown::Silent(HttpError::Address))
    }

    fn refused(&self, wanted: Wanted, answer: &HttpAnswer) -> NotShown {
        let advice = match answer.status {
            StatusCode::REQUEST_TIMEOUT
            | StatusCode::CONFLICT
            | StatusCode::TOO_EARLY
            | StatusCode::TOO_MANY_REQUESTS => None,
            status if status.is_server_error() => None,
            StatusCode::UNAUTHORIZED => Some("check `stripe.api_key`, which Stripe does not know"),
            StatusCode::FORBIDDEN => Some(wanted.leave()),
            StatusCode::NOT_FOUND => {
                Some("check `stripe.api_base`, and that `stripe.api_key` is of the events' account and mode")
            }
            _ => Some("check `stripe.api_base` and `stripe.api_key`"),
        };
        let status = answer.status.as_u16();
        if let Some(advice) = advice {
            return NotShown::Setup { wanted, status, advice };
        }
        let after = retry_after(&answer.headers);
        if answer.status == StatusCode::TOO_MANY_REQUESTS || after.is_some() {
            let rest = after.unwrap_or(BUSY_WAIT).min(WAIT_MAX);
            self.0.pace.rest(rest);
            self.0.lists.rest(rest);
        }
        NotShown::Busy { status, after }
    }
}

impl fmt::Debug for StripeClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StripeClient").field("api_base", &self.0.api_base).finish_non_exhaustive()
    }
}

/// When Stripe says that it answered, in seconds.
fn date_s(answer: &HttpAnswer) -> Option<i64> {
    let text = answer.headers.get(header::DATE)?.to_str().ok()?;
    Some(DateTime::parse_from_rfc2822(text).ok()?.timestamp())
}

/// Whether `text` can be part of a path or a query as it is.
fn is_plain(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn is_subscription(json: Json<'_>) -> bool {
    json.at(&["object"]).and_then(Json::text).as_deref() == Some("subscription")
}

/// Whether a 404 is Stripe's word that there is no such subscription: not a proxy's, and not the one that says to have
/// looked in the other mode.
fn is_gone(body: &[u8]) -> bool {
    let Ok(json) = Json::parse(body) else { return false };
    let code = json.at(&["error", "code"]).and_then(Json::text);
    let message = json.at(&["error", "message"]).and_then(Json::text);
    let elsewhere = message.is_some_and(|message| message.contains(" mode"));
    code.as_deref() == Some("resource_missing") && !elsewhere
}
