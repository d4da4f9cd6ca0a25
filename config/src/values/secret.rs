//! A text that is never shown.

use std::fmt;

use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::REDACTED;
use crate::schema::{Kind, SettingType};

/// A token, an API key or another secret of one word. Wiped from memory when dropped; shown as `[redacted]`.
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// The secret itself.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// The secret in its own wrapper.
    pub fn as_secret_string(&self) -> &SecretString {
        &self.0
    }
}

/// Refuses texts that cannot be a secret of one word. The error says nothing about the text itself.
pub(super) fn refuse_malformed(text: &str) -> Result<(), &'static str> {
    if text.is_empty() {
        return Err("it is empty");
    }
    if text.chars().any(char::is_whitespace) {
        return Err(
            "it has white space in it; it was probably copied with a line break or a blank, so copy it again \
                    without",
        );
    }
    if text.chars().any(char::is_control) {
        return Err("it has control characters in it; copy it again");
    }
    Ok(())
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(REDACTED)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = SecretString::from(String::deserialize(deserializer)?);
        refuse_malformed(text.expose_secret()).map_err(de::Error::custom)?;
        Ok(Self(text))
    }
}

impl SettingType for Secret {
    const KIND: Kind = Kind::Secret;
}
