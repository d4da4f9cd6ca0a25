//! The secrets that webhooks are signed with.

use std::fmt;

use base64::{
    Engine as _,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser::SerializeStruct as _};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::{REDACTED, secret::refuse_malformed, text_or_table::TextOrTable};
use crate::schema::{Kind, SettingType};

/// One of the secrets of a source, and when it counts.
#[derive(Clone)]
pub struct WebhookSecret {
    /// Its name in logs and metrics. Unless one was given: eight hexadecimal digits that are made from the
    /// secret, so that they stay the same wherever it stands in the list.
    pub id: String,
    /// It counts from this instant on; `None` has no beginning.
    pub valid_from: Option<DateTime<Utc>>,
    /// It counts before this instant; `None` has no end.
    pub valid_until: Option<DateTime<Utc>>,
    secret: SecretString,
}

/// What the secrets of Stripe and of Standard Webhooks begin with.
const PREFIX: &str = "whsec_";

/// Standard Webhooks asks for 24 bytes; 16 are still out of reach of guessing.
const STANDARD_WEBHOOKS_BYTES: std::ops::RangeInclusive<usize> = 16..=64;

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

impl WebhookSecret {
    /// The secret as it was written, `whsec_` included: the key of Stripe's scheme.
    pub fn expose(&self) -> &str {
        self.secret.expose_secret()
    }

    /// The key of the Standard Webhooks scheme: what the text after `whsec_` encodes. `None` if that is no
    /// base64 of 16 to 64 bytes; the secrets of `app.webhook_secrets` always are.
    pub fn standard_webhooks_key(&self) -> Option<Zeroizing<Vec<u8>>> {
        let text = self.expose();
        let key = Zeroizing::new(BASE64.decode(text.strip_prefix(PREFIX).unwrap_or(text)).ok()?);
        STANDARD_WEBHOOKS_BYTES.contains(&key.len()).then_some(key)
    }

    /// Whether it begins as Stripe's secrets do.
    pub(crate) fn has_prefix(&self) -> bool {
        self.expose().starts_with(PREFIX)
    }

    /// Whether it counts at `now_ms` (milliseconds since the Unix epoch).
    pub fn is_valid_at(&self, now_ms: i64) -> bool {
        self.valid_from_ms().is_none_or(|from_ms| from_ms <= now_ms)
            && self.valid_until_ms().is_none_or(|until_ms| now_ms < until_ms)
    }

    /// [`WebhookSecret::valid_from`] in milliseconds since the Unix epoch.
    pub fn valid_from_ms(&self) -> Option<i64> {
        self.valid_from.map(|instant| instant.timestamp_millis())
    }

    /// [`WebhookSecret::valid_until`] in milliseconds since the Unix epoch.
    pub fn valid_until_ms(&self) -> Option<i64> {
        self.valid_until.map(|instant| instant.timestamp_millis())
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    id: Option<String>,
    secret: SecretString,
    valid_from: Option<String>,
    valid_until: Option<String>,
}

impl TryFrom<Table> for WebhookSecret {
    type Error = String;

    fn try_from(table: Table) -> Result<Self, String> {
        refuse_malformed(table.secret.expose_secret())?;
        let id = match table.id {
            Some(id) => checked_id(id)?,
            None => fingerprint("webhook secret", table.secret.expose_secret().as_bytes()),
        };
        let valid_from = table.valid_from.map(|text| instant("valid_from", &text)).transpose()?;
        let valid_until = table.valid_until.map(|text| instant("valid_until", &text)).transpose()?;
        if let (Some(from), Some(until)) = (valid_from, valid_until)
            && until <= from
        {
            return Err(
                "`valid_until` does not lie after `valid_from`, so the secret would never count".to_owned()
            );
        }
        Ok(Self { id, valid_from, valid_until, secret: table.secret })
    }
}

fn instant(name: &str, text: &str) -> Result<DateTime<Utc>, String> {
    DateTime::parse_from_rfc3339(text).map(|instant| instant.to_utc()).map_err(|_| {
        format!("`{name}` is not an instant as RFC 3339 writes it, such as 2027-01-31T12:00:00Z")
    })
}

/// Names go into logs, metrics and SQL, so they stay short and plain.
pub(super) fn checked_id(id: String) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if (1..=64).contains(&id.len()) && id.chars().all(plain) {
        Ok(id)
    } else {
        Err("its `id` is not 1 to 64 letters, digits, `-`, `_` or `.`".to_owned())
    }
}

/// Eight hexadecimal digits that tell secrets apart and give nothing useful away.
pub(super) fn fingerprint(purpose: &str, secret: &[u8]) -> String {
    let digest =
        Sha256::new().chain_update("keepwell fingerprint of a ").chain_update(purpose).chain_update([0]);
    hex::encode(&digest.chain_update(secret).finalize()[..4])
}

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookSecret")
            .field("id", &self.id)
            .field("valid_from", &self.valid_from)
            .field("valid_until", &self.valid_until)
            .finish_non_exhaustive()
    }
}

impl Serialize for WebhookSecret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut shown = serializer.serialize_struct("WebhookSecret", 4)?;
        shown.serialize_field("id", &self.id)?;
        shown.serialize_field("secret", REDACTED)?;
        if let Some(from) = self.valid_from {
            shown.serialize_field("valid_from", &from)?;
        }
        if let Some(until) = self.valid_until {
            shown.serialize_field("valid_until", &until)?;
        }
        shown.end()
    }
}

impl<'de> Deserialize<'de> for WebhookSecret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let table = match TextOrTable::<Table>::deserialize(deserializer)? {
            TextOrTable::Text(text) => {
                Table { id: None, secret: text.into(), valid_from: None, valid_until: None }
            }
            TextOrTable::Table(table) => table,
        };
        Self::try_from(table).map_err(de::Error::custom)
    }
}

impl SettingType for WebhookSecret {
    const KIND: Kind = Kind::WebhookSecret;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<WebhookSecret, serde_json::Error> {
        serde_json::from_str(json)
    }

    #[test]
    fn a_secret_counts_only_between_its_instants() {
        let secret = read(
            r#"{
                "id": "old",
                "secret": "whsec_x",
                "valid_from": "1970-01-01T00:00:01Z",
                "valid_until": "1970-01-01T01:00:02+01:00"
            }"#,
        )
        .unwrap();
        assert_eq!(
            [999, 1_000, 1_999, 2_000].map(|now_ms| secret.is_valid_at(now_ms)),
            [false, true, true, false]
        );
        assert!(read(r#""whsec_x""#).unwrap().is_valid_at(i64::MIN));
    }

    #[test]
    fn white_space_is_refused_without_showing_the_secret() {
        for text in [
            r#""whsec_hidden\n""#,
            r#"" whsec_hidden""#,
            r#""whsec_hid den""#,
            r#"{"secret":"whsec_hidden "}"#,
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains("white space") && !error.contains("hid"), "{error}");
        }
        assert!(read(r#""""#).unwrap_err().to_string().contains("empty"));
    }

    #[test]
    fn a_secret_that_would_never_count_is_refused() {
        let error = read(
            r#"{"secret":"whsec_x","valid_from":"2027-01-01T00:00:00Z","valid_until":"2027-01-01T00:00:00Z"}"#,
        );
        assert!(error.unwrap_err().to_string().contains("never count"));
        assert!(
            read(r#"{"secret":"whsec_x","valid_from":"tomorrow"}"#)
                .unwrap_err()
                .to_string()
                .contains("RFC 3339")
        );
    }

    #[test]
    fn an_id_is_made_from_the_secret_and_does_not_show_it() {
        let (one, again, other) =
            (read(r#""whsec_a""#), read(r#"{"secret":"whsec_a"}"#), read(r#""whsec_b""#));
        let (one, again, other) = (one.unwrap().id, again.unwrap().id, other.unwrap().id);
        assert_eq!(one, again);
        assert_ne!(one, other);
        assert_eq!(one.len(), 8);
        assert!(read(r#"{"id":"not plain","secret":"whsec_a"}"#).is_err());
    }

    #[test]
    fn a_standard_webhooks_key_is_the_decoded_text() {
        let key =
            read(r#""whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw""#).unwrap().standard_webhooks_key().unwrap();
        assert_eq!(key.len(), 24);
        assert_eq!(key[..3], [0x31, 0xf2, 0x90]);
        for no_key in [r#""whsec_plain text""#, r#""whsec_c2hvcnQ=""#, r#""whsec_$$$$$$$$$$$$$$$$$$$$$$$$""#]
        {
            assert!(
                read(no_key).is_err() || read(no_key).unwrap().standard_webhooks_key().is_none(),
                "{no_key}"
            );
        }
    }

    #[test]
    fn nothing_that_shows_a_secret_reveals_it() {
        let secret = read(r#""whsec_hidden""#).unwrap();
        for shown in [format!("{secret:?}"), serde_json::to_string(&secret).unwrap()] {
            assert!(!shown.contains("hidden"), "{shown}");
        }
        assert_eq!(secret.expose(), "whsec_hidden");
    }
}
