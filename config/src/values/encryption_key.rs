//! The keys of the key ring.

use std::fmt;

use base64::{
    Engine as _,
    alphabet::{STANDARD, URL_SAFE},
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser::SerializeStruct as _};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::{
    REDACTED,
    text_or_table::TextOrTable,
    webhook_secret::{checked_id, fingerprint},
};
use crate::schema::{Kind, SettingType};

/// A key of 256 bits and its name.
#[derive(Clone)]
pub struct EncryptionKey {
    /// The name that is stored with what the key sealed. Unless one was given: eight hexadecimal digits that
    /// are made from the key, so that it keeps its name wherever it stands in the ring.
    pub id: String,
    bytes: Zeroizing<[u8; 32]>,
}

impl EncryptionKey {
    /// The key itself.
    pub fn bytes(&self) -> &Zeroizing<[u8; 32]> {
        &self.bytes
    }

    /// Reads a key: 64 hexadecimal digits, else base64 (standard or URL-safe, padded or not) of 32 bytes,
    /// else any text of at least 32 characters, which is hashed with SHA-256.
    fn read(text: &str) -> Result<Zeroizing<[u8; 32]>, &'static str> {
        let mut bytes = Zeroizing::new([0; 32]);
        if hex::decode_to_slice(text, bytes.as_mut_slice()).is_ok() || decode_base64(text, &mut bytes) {
            return Ok(bytes);
        }
        if text.trim() != text {
            return Err(
                "it begins or ends with white space; it was probably copied with a line break or a blank, so copy \
                        it again without",
            );
        }
        if text.chars().count() < 32 {
            return Err("it is too short for a key; make one with `openssl rand -base64 32`");
        }
        bytes.copy_from_slice(
            &Sha256::new().chain_update("keepwell encryption key\0").chain_update(text).finalize(),
        );
        Ok(bytes)
    }
}

fn decode_base64(text: &str, bytes: &mut Zeroizing<[u8; 32]>) -> bool {
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    [&STANDARD, &URL_SAFE].into_iter().any(|alphabet| {
        // One byte more than a key has: a longer text must not pass for its beginning.
        let mut decoded = Zeroizing::new([0; 33]);
        let length = GeneralPurpose::new(alphabet, config).decode_slice(text, decoded.as_mut_slice());
        if length != Ok(32) {
            return false;
        }
        bytes.copy_from_slice(&decoded[..32]);
        true
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    id: Option<String>,
    key: SecretString,
}

impl fmt::Debug for EncryptionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EncryptionKey").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Serialize for EncryptionKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut shown = serializer.serialize_struct("EncryptionKey", 2)?;
        shown.serialize_field("id", &self.id)?;
        shown.serialize_field("key", REDACTED)?;
        shown.end()
    }
}

impl<'de> Deserialize<'de> for EncryptionKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let table = match TextOrTable::<Table>::deserialize(deserializer)? {
            TextOrTable::Text(text) => Table { id: None, key: text.into() },
            TextOrTable::Table(table) => table,
        };
        let bytes = Self::read(table.key.expose_secret()).map_err(de::Error::custom)?;
        let id = match table.id {
            Some(id) => checked_id(id).map_err(de::Error::custom)?,
            None => fingerprint("encryption key", bytes.as_slice()),
        };
        Ok(Self { id, bytes })
    }
}

impl SettingType for EncryptionKey {
    const KIND: Kind = Kind::EncryptionKey;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<EncryptionKey, serde_json::Error> {
        serde_json::from_value(serde_json::Value::String(text.to_owned()))
    }

    #[test]
    fn the_same_key_in_hexadecimal_and_base64_is_the_same_key() {
        let bytes: [u8; 32] = std::array::from_fn(|index| 0xff - index as u8);
        let spellings = [
            hex::encode(bytes),
            hex::encode_upper(bytes),
            base64::prelude::BASE64_STANDARD.encode(bytes),
            base64::prelude::BASE64_STANDARD_NO_PAD.encode(bytes),
            base64::prelude::BASE64_URL_SAFE.encode(bytes),
        ];
        for text in spellings {
            let key = read(&text).unwrap();
            assert_eq!(**key.bytes(), bytes, "{text}");
            assert_eq!(key.id, read(&hex::encode(bytes)).unwrap().id);
        }
    }

    #[test]
    fn a_long_text_is_hashed_and_a_short_one_refused() {
        let key = read("a pass phrase of more than 32 characters").unwrap();
        assert_eq!(**key.bytes(), **read("a pass phrase of more than 32 characters").unwrap().bytes());
        assert_ne!(**key.bytes(), **read("A pass phrase of more than 32 characters").unwrap().bytes());
        let error = read("too short to be a key").unwrap_err().to_string();
        assert!(error.contains("openssl rand") && !error.contains("to be"), "{error}");
        assert!(read("a pass phrase of more than 32 characters\n").is_err());
    }

    #[test]
    fn a_key_is_never_shown() {
        let key = read("a pass phrase of more than 32 characters").unwrap();
        let shown = format!("{key:?}{}", serde_json::to_string(&key).unwrap());
        assert!(shown.contains(&key.id) && !shown.contains("phrase") && !shown.contains("bytes"), "{shown}");
    }
}
