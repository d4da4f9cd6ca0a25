//! Every reason for which the receiver refuses a request: once, as data.

use std::borrow::Cow;

use http::StatusCode;

use super::{problem::Problem, scheme::SignatureError};

/// Why a webhook was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Refusal {
    /// Not a POST.
    MethodNotAllowed,
    /// The client's address is in none of the source's networks.
    AddressNotAllowed,
    /// The body is declared to be something else than JSON.
    UnsupportedMediaType,
    /// The body is declared to be compressed.
    UnsupportedContentEncoding,
    /// The body is, or is declared to be, larger than the limit.
    BodyTooLarge,
    /// The body did not arrive in time.
    BodyTooSlow,
    /// The body broke off or was framed wrongly.
    BodyUnreadable,
    /// There is no body.
    BodyEmpty,
    /// A signature header is missing.
    SignatureMissing,
    /// The signature headers cannot be read.
    SignatureMalformed,
    /// No signature matches.
    SignatureInvalid,
    /// A good signature is older than the tolerance.
    TimestampTooOld,
    /// A good signature lies further ahead than the tolerance.
    TimestampInFuture,
    /// Not a webhook: somebody asked for a person's access, or pulled an emergency switch, without the right token.
    TokenInvalid,
    /// The signature is good but the body is no event; the answer's code says more.
    BadEvent,
    /// One failed verification too many from this address.
    RateLimited,
    /// No place in flight became free in time.
    Busy,
    /// The event could not be recorded.
    NotRecorded,
}

impl Refusal {
    /// All of them, in the order of their discriminants.
    pub const ALL: [Refusal; 18] = [
        Refusal::MethodNotAllowed,
        Refusal::AddressNotAllowed,
        Refusal::UnsupportedMediaType,
        Refusal::UnsupportedContentEncoding,
        Refusal::BodyTooLarge,
        Refusal::BodyTooSlow,
        Refusal::BodyUnreadable,
        Refusal::BodyEmpty,
        Refusal::SignatureMissing,
        Refusal::SignatureMalformed,
        Refusal::SignatureInvalid,
        Refusal::TimestampTooOld,
        Refusal::TimestampInFuture,
        Refusal::TokenInvalid,
        Refusal::BadEvent,
        Refusal::RateLimited,
        Refusal::Busy,
        Refusal::NotRecorded,
    ];

    /// The word for programs: in answers (except for [`BadEvent`](Self::BadEvent)), metrics and logs.
    pub const fn code(self) -> &'static str {
        match self {
            Refusal::MethodNotAllowed => "method_not_allowed",
            Refusal::AddressNotAllowed => "address_not_allowed",
            Refusal::UnsupportedMediaType => "unsupported_media_type",
            Refusal::UnsupportedContentEncoding => "unsupported_content_encoding",
            Refusal::BodyTooLarge => "body_too_large",
            Refusal::BodyTooSlow => "body_too_slow",
            Refusal::BodyUnreadable => "body_unreadable",
            Refusal::BodyEmpty => "body_empty",
            Refusal::SignatureMissing => "signature_missing",
            Refusal::SignatureMalformed => "signature_malformed",
            Refusal::SignatureInvalid => "signature_invalid",
            Refusal::TimestampTooOld => "timestamp_too_old",
            Refusal::TimestampInFuture => "timestamp_in_future",
            Refusal::TokenInvalid => "token_invalid",
            Refusal::BadEvent => "bad_event",
            Refusal::RateLimited => "rate_limited",
            Refusal::Busy => "busy",
            Refusal::NotRecorded => "not_recorded",
        }
    }

    /// The HTTP status of the answer.
    pub const fn status(self) -> StatusCode {
        match self {
            Refusal::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Refusal::AddressNotAllowed => StatusCode::FORBIDDEN,
            Refusal::UnsupportedMediaType | Refusal::UnsupportedContentEncoding => {
                StatusCode::UNSUPPORTED_MEDIA_TYPE
            }
            Refusal::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Refusal::BodyTooSlow => StatusCode::REQUEST_TIMEOUT,
            Refusal::BodyUnreadable
            | Refusal::BodyEmpty
            | Refusal::SignatureMissing
            | Refusal::SignatureMalformed
            | Refusal::SignatureInvalid
            | Refusal::TimestampTooOld
            | Refusal::TimestampInFuture
            | Refusal::BadEvent => StatusCode::BAD_REQUEST,
            Refusal::TokenInvalid => StatusCode::UNAUTHORIZED,
            Refusal::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            Refusal::Busy | Refusal::NotRecorded => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The sentence for people. It says nothing that helps to make a signature.
    pub const fn detail(self) -> &'static str {
        match self {
            Refusal::MethodNotAllowed => "Events are posted.",
            Refusal::AddressNotAllowed => "Requests from this address are not taken here.",
            Refusal::UnsupportedMediaType => "The body must be application/json.",
            Refusal::UnsupportedContentEncoding => "The body must not be compressed.",
            Refusal::BodyTooLarge => "The body is larger than the limit.",
            Refusal::BodyTooSlow => "The body did not arrive in time.",
            Refusal::BodyUnreadable => "The body broke off or is framed wrongly.",
            Refusal::BodyEmpty => "There is no body.",
            Refusal::SignatureMissing => "The request carries no signature.",
            Refusal::SignatureMalformed => "The signature headers cannot be read.",
            Refusal::SignatureInvalid => "The request is not signed by this source.",
            Refusal::TimestampTooOld => "The signature is too old; sign every attempt afresh.",
            Refusal::TimestampInFuture => "The signature lies in the future; check the clock.",
            Refusal::TokenInvalid => "This needs the right bearer token.",
            Refusal::BadEvent => "The body is not an event.",
            Refusal::RateLimited => "Too many requests from this address failed verification.",
            Refusal::Busy => "Too many events at once; nothing was recorded.",
            Refusal::NotRecorded => "The event could not be recorded; send it again.",
        }
    }

    /// Whether the client is to blame and has not proved to be a source: such requests are counted against its address.
    pub const fn is_unverified(self) -> bool {
        !matches!(self, Refusal::BadEvent | Refusal::RateLimited | Refusal::Busy | Refusal::NotRecorded)
    }

    /// Whether it counts among `securityViolations`: an unverified request, or one too many of them.
    pub const fn is_violation(self) -> bool {
        self.is_unverified() || matches!(self, Refusal::RateLimited)
    }

    /// Whether the audit trail remembers it: somebody could not prove to be a source, or kept trying.
    pub const fn is_security_event(self) -> bool {
        matches!(
            self,
            Refusal::AddressNotAllowed
                | Refusal::SignatureMissing
                | Refusal::SignatureMalformed
                | Refusal::SignatureInvalid
                | Refusal::TimestampTooOld
                | Refusal::TimestampInFuture
                | Refusal::TokenInvalid
                | Refusal::RateLimited
        )
    }

    /// As the client sees it.
    pub fn problem(self) -> Problem {
        Problem::new(self.status(), self.code(), Cow::Borrowed(self.detail()))
    }
}

impl From<SignatureError> for Refusal {
    fn from(error: SignatureError) -> Self {
        match error {
            SignatureError::Missing => Refusal::SignatureMissing,
            SignatureError::Malformed => Refusal::SignatureMalformed,
            SignatureError::NoMatch => Refusal::SignatureInvalid,
            SignatureError::TooOld => Refusal::TimestampTooOld,
            SignatureError::InFuture => Refusal::TimestampInFuture,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn refusals_stand_in_the_order_of_their_discriminants_and_have_codes_of_their_own() {
        let codes: HashSet<&str> = Refusal::ALL.iter().map(|refusal| refusal.code()).collect();
        assert_eq!(codes.len(), Refusal::ALL.len());
        for (index, refusal) in Refusal::ALL.into_iter().enumerate() {
            assert_eq!(refusal as usize, index);
        }
    }

    #[test]
    fn what_a_forger_is_told_does_not_depend_on_how_near_it_came() {
        let problem = Refusal::from(SignatureError::NoMatch).problem();
        assert_eq!((problem.status, problem.code), (400, "signature_invalid"));
        for hint in ["secret", "expired", "hex", "length", "body"] {
            assert!(!problem.detail.contains(hint), "{hint}");
        }
    }
}
