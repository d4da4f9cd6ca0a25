//! Signing secrets: read once, kept only as a keyed hash, compared in constant time.

use std::{fmt, sync::Arc};

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use hmac::{Hmac, Mac};
use keepwell_workers::clock::UnixMs;
use sha2::Sha256;
use subtle::{Choice, ConstantTimeEq};

/// An HMAC-SHA256, as sent and as computed.
pub type Tag = [u8; 32];

/// The most secrets that a source may have at once. Each valid one costs a hash of every body.
pub const SECRETS_MAX: usize = 16;

/// One secret that a source may sign with, and when.
#[derive(Clone)]
pub struct Secret {
    id: Arc<str>,
    /// HMAC with the key already mixed in; cloned for every message, which saves two of its hash blocks.
    keyed: Hmac<Sha256>,
    valid_from_ms: Option<UnixMs>,
    valid_until_ms: Option<UnixMs>,
}

impl Secret {
    /// A secret of the scheme `stripe`: the text itself, `whsec_` and all, is the key.
    pub fn stripe(id: impl Into<Arc<str>>, text: &str) -> Result<Self, SecretError> {
        Self::keyed(id.into(), checked(text)?.as_bytes())
    }

    /// A secret of the scheme `standard-webhooks`: what follows `whsec_` is the key in base64 (padding may be left
    /// out).
    pub fn standard_webhooks(id: impl Into<Arc<str>>, text: &str) -> Result<Self, SecretError> {
        const LENIENT: GeneralPurpose = GeneralPurpose::new(
            &alphabet::STANDARD,
            GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
        );
        let text = checked(text)?;
        let key = LENIENT
            .decode(text.strip_prefix("whsec_").unwrap_or(text))
            .map_err(|_| SecretError::NotBase64)?;
        Self::keyed(id.into(), &key)
    }

    fn keyed(id: Arc<str>, key: &[u8]) -> Result<Self, SecretError> {
        if key.is_empty() {
            return Err(SecretError::Empty);
        }
        let keyed = Hmac::new_from_slice(key).map_err(|_| SecretError::Empty)?;
        Ok(Self { id, keyed, valid_from_ms: None, valid_until_ms: None })
    }

    /// Not valid before this instant.
    #[must_use]
    pub fn valid_from_ms(mut self, from_ms: UnixMs) -> Self {
        self.valid_from_ms = Some(from_ms);
        self
    }

    /// No longer valid from this instant on.
    #[must_use]
    pub fn valid_until_ms(mut self, until_ms: UnixMs) -> Self {
        self.valid_until_ms = Some(until_ms);
        self
    }

    /// The name by which logs and operators know it; never the secret itself.
    pub fn id(&self) -> &Arc<str> {
        &self.id
    }

    /// Whether it is valid at `now_ms`.
    pub fn is_valid(&self, now_ms: UnixMs) -> bool {
        self.valid_from_ms.is_none_or(|from_ms| from_ms <= now_ms)
            && self.valid_until_ms.is_none_or(|until_ms| now_ms < until_ms)
    }

    /// The HMAC-SHA256 of the concatenated `parts`.
    pub fn tag(&self, parts: &[&[u8]]) -> Tag {
        let mut mac = self.keyed.clone();
        for part in parts {
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret")
            .field("id", &self.id)
            .field("valid_from_ms", &self.valid_from_ms)
            .field("valid_until_ms", &self.valid_until_ms)
            .finish_non_exhaustive()
    }
}

/// The secrets of one source; several while one of them is being rolled.
#[derive(Debug, Clone, Default)]
pub struct SecretSet(Vec<Secret>);

impl SecretSet {
    /// A set of at most [`SECRETS_MAX`] secrets.
    pub fn new(secrets: Vec<Secret>) -> Result<Self, SecretError> {
        if secrets.len() > SECRETS_MAX {
            return Err(SecretError::TooMany);
        }
        Ok(Self(secrets))
    }

    /// Every secret, valid now or not.
    pub fn iter(&self) -> impl Iterator<Item = &Secret> {
        self.0.iter()
    }

    /// The secret valid at `now_ms` that made one of `signatures` of the concatenated `parts`.
    ///
    /// Every signature is compared with every valid secret, each comparison in constant time and none left out after a
    /// match, so the time taken tells nothing about which of them matched or how nearly.
    pub fn signer(&self, parts: &[&[u8]], signatures: &[Tag], now_ms: UnixMs) -> Option<&Secret> {
        let mut signer = None;
        for secret in self.0.iter().filter(|secret| secret.is_valid(now_ms)) {
            let expected = secret.tag(parts);
            let matches =
                signatures.iter().fold(Choice::from(0), |any, signature| any | expected.ct_eq(signature));
            if bool::from(matches) {
                signer = Some(secret);
            }
        }
        signer
    }
}

/// Why a text is not usable as a secret. The text itself is never repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// There is nothing in it.
    #[error("the secret is empty")]
    Empty,
    /// It contains a space, a tab or a line break.
    #[error("the secret contains white space; was a line break or a blank copied along with it?")]
    WhiteSpace,
    /// A `standard-webhooks` secret whose part after `whsec_` is not base64.
    #[error("the secret is not base64 after `whsec_`; secrets of the scheme `standard-webhooks` are")]
    NotBase64,
    /// A source has more than [`SECRETS_MAX`] secrets.
    #[error("a source can have at most {SECRETS_MAX} secrets; remove those that have expired")]
    TooMany,
}

fn checked(text: &str) -> Result<&str, SecretError> {
    match text {
        "" | "whsec_" => Err(SecretError::Empty),
        _ if text.chars().any(char::is_whitespace) => Err(SecretError::WhiteSpace),
        _ => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_secret_with_white_space_is_refused_with_a_hint() {
        for text in ["whsec_abc\n", " whsec_abc", "whsec_a bc", "whsec_abc\u{a0}"] {
            let error = Secret::stripe("s", text).unwrap_err();
            assert_eq!(error, SecretError::WhiteSpace);
            assert!(error.to_string().contains("line break"));
            assert_eq!(Secret::standard_webhooks("s", text).unwrap_err(), SecretError::WhiteSpace);
        }
        assert_eq!(Secret::stripe("s", "").unwrap_err(), SecretError::Empty);
        assert_eq!(Secret::stripe("s", "whsec_").unwrap_err(), SecretError::Empty);
        assert_eq!(Secret::standard_webhooks("s", "whsec_").unwrap_err(), SecretError::Empty);
        assert_eq!(Secret::standard_webhooks("s", "whsec_***").unwrap_err(), SecretError::NotBase64);
    }

    #[test]
    fn a_standard_webhooks_secret_is_decoded_and_a_stripe_secret_is_not() {
        let decoded = Secret::standard_webhooks("s", "whsec_c2VjcmV0").unwrap();
        let bare = Secret::standard_webhooks("s", "c2VjcmV0").unwrap();
        let literal = Secret::stripe("s", "secret").unwrap();
        let undecoded = Secret::stripe("s", "whsec_c2VjcmV0").unwrap();
        assert_eq!(decoded.tag(&[b"m"]), literal.tag(&[b"m"]));
        assert_eq!(bare.tag(&[b"m"]), literal.tag(&[b"m"]));
        assert_ne!(undecoded.tag(&[b"m"]), literal.tag(&[b"m"]));
    }

    #[test]
    fn a_secret_is_valid_from_its_first_to_before_its_last_instant() {
        let secret = Secret::stripe("s", "x").unwrap().valid_from_ms(10).valid_until_ms(20);
        assert_eq!([9, 10, 19, 20].map(|now_ms| secret.is_valid(now_ms)), [false, true, true, false]);
    }

    #[test]
    fn nothing_of_a_secret_but_its_id_can_be_printed() {
        let secret = Secret::stripe("primary", "whsec_topsecret").unwrap();
        assert_eq!(
            format!("{secret:?}"),
            "Secret { id: \"primary\", valid_from_ms: None, valid_until_ms: None, .. }"
        );
    }

    #[test]
    fn a_source_has_a_bounded_number_of_secrets() {
        let secret = Secret::stripe("s", "x").unwrap();
        assert!(SecretSet::new(vec![secret.clone(); SECRETS_MAX]).is_ok());
        assert_eq!(SecretSet::new(vec![secret; SECRETS_MAX + 1]).unwrap_err(), SecretError::TooMany);
    }
}
