//! How a source proves that it wrote an event: pure functions over headers, raw body, secrets and the time.

pub mod secret;
pub mod standard_webhooks;
pub mod stripe;
mod timestamp;

use std::sync::Arc;

use http::HeaderMap;
use keepwell_workers::clock::UnixMs;

use self::secret::SecretSet;

/// The largest signature header that is read, in bytes. A real one has about 80 bytes per signature.
pub const HEADER_BYTES_MAX: usize = 4 << 10;

/// The most `v1` signatures that one request may carry. Senders put one there per active secret, which is two while a
/// secret is being rolled.
pub const SIGNATURES_MAX: usize = 16;

/// The signing schemes that sources use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// One header, `Stripe-Signature: t=…,v1=…`; see [`stripe`].
    Stripe,
    /// Three headers, `webhook-id`, `webhook-timestamp`, `webhook-signature`; see [`standard_webhooks`].
    StandardWebhooks,
}

impl Scheme {
    /// Verifies a request under this scheme. A signature may be `tolerance_s` seconds old.
    pub fn verify(
        self,
        headers: &HeaderMap,
        body: &[u8],
        secrets: &SecretSet,
        tolerance_s: u64,
        now_ms: UnixMs,
    ) -> Result<Verified, SignatureError> {
        match self {
            Scheme::Stripe => stripe::verify(headers, body, secrets, tolerance_s, now_ms),
            Scheme::StandardWebhooks => {
                standard_webhooks::verify(headers, body, secrets, tolerance_s, now_ms)
            }
        }
    }
}

/// A request whose signature is good and fresh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The id of the secret that it was signed with.
    pub secret_id: Arc<str>,
    /// When it was signed, in seconds since the Unix epoch.
    pub timestamp_s: u64,
    /// The message's own id, in schemes that have one outside the body.
    pub message_id: Option<String>,
}

/// Why a request was not believed.
///
/// What a sender is told apart is harmless: the shape of its own headers ([`Missing`](Self::Missing),
/// [`Malformed`](Self::Malformed)) and the age of a signature that *is* good ([`TooOld`](Self::TooOld),
/// [`InFuture`](Self::InFuture), which nobody without a secret ever sees). Everything about the signature itself — a
/// wrong secret, an expired one, none configured, another body, unreadable hexadecimal digits — is
/// [`NoMatch`](Self::NoMatch).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum SignatureError {
    /// A signature header is not there.
    #[error("the request carries no signature")]
    Missing,
    /// The signature headers cannot be read.
    #[error("the signature headers cannot be read")]
    Malformed,
    /// No signature is one that a valid secret makes of this body.
    #[error("no signature matches")]
    NoMatch,
    /// The signature is good, but was made longer ago than the tolerance.
    #[error("the signature is too old")]
    TooOld,
    /// The signature is good, but claims to be made in the future.
    #[error("the signature lies in the future")]
    InFuture,
}
