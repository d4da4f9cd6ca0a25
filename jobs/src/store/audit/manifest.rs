//! The last line of an export: what the lines in front of it are, signed, so that nobody can cut it shorter.

use std::collections::BTreeMap;

use keepwell_workers::seal::KeyRing;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use sha2::{Digest as _, Sha256};

use super::{
    block::{BEGINNING, ChainEnd},
    entry::Digest32,
    finding::{Finding, Problem},
    keys::KeyRow,
};
use crate::signature::{Document, Signature, SignatureError, sign};

/// The format of a file.
pub(super) const FORMAT: u32 = 2;

/// A key of the trail, as the key ring sealed it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SealedKey {
    id: i64,
    key_id: String,
    sealed: String,
}

impl SealedKey {
    pub(super) fn of(row: KeyRow) -> Self {
        Self { id: row.id, key_id: row.key_id, sealed: hex::encode(row.sealed) }
    }

    pub(super) fn row(&self) -> Option<KeyRow> {
        let sealed = hex::decode(&self.sealed).ok()?;
        Some(KeyRow { id: self.id, made_under: String::new(), key_id: self.key_id.clone(), sealed })
    }
}

/// How many lines there were so far, and what they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Lines {
    /// How many.
    pub(super) lines: u64,
    /// In hexadecimal digits: SHA-256 of the digest before the last line, 32 bytes (zeros before the first line), and
    /// the last line without its end.
    pub(super) digest: String,
}

impl Default for Lines {
    fn default() -> Self {
        Self { lines: 0, digest: hex::encode(BEGINNING) }
    }
}

impl Lines {
    /// The same with these lines behind them.
    pub(super) fn with<'l>(self, lines: impl IntoIterator<Item = &'l str>) -> Self {
        let mut digest: Digest32 = BEGINNING;
        // What is no digest is none of ours, and neither is what follows from it.
        let _ = hex::decode_to_slice(&self.digest, &mut digest);
        let mut count = self.lines;
        for line in lines {
            digest = Sha256::new().chain_update(digest).chain_update(line).finalize().into();
            count += 1;
        }
        Self { lines: count, digest: hex::encode(digest) }
    }
}

/// What an export holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Manifest {
    /// 2.
    pub(super) format: u32,
    /// When it was made.
    pub(super) exported_at: String,
    /// What was asked for; empty for everything.
    pub(super) filter: BTreeMap<String, String>,
    /// The lines in front of it.
    #[serde(flatten)]
    pub(super) lines: Lines,
    /// What the first block that was looked at stands behind.
    pub(super) begin: ChainEnd,
    /// The last block that was looked at: where the chain ended.
    pub(super) end: ChainEnd,
    /// What opens the blocks' codes, for whoever has the key ring.
    pub(super) keys: Vec<SealedKey>,
}

/// The last line.
#[derive(Serialize, Deserialize)]
pub(super) struct SignedManifest {
    /// To the byte what was signed.
    manifest: Box<RawValue>,
    signature: Option<Signature>,
}

impl SignedManifest {
    /// The line of `manifest`, signed with the first of `keys`.
    pub(super) fn line(manifest: &Manifest, keys: &KeyRing) -> serde_json::Result<String> {
        let manifest = to_raw_value(manifest)?;
        let signature = sign(keys, Document::AuditExport, manifest.get().as_bytes()).ok();
        serde_json::to_string(&Self { manifest, signature })
    }

    /// What it says, whoever said it.
    pub(super) fn read(&self) -> Option<Manifest> {
        serde_json::from_str(self.manifest.get()).ok()
    }

    /// Whether the holder of `public_key`, or else of one of `keys`, signed it. If neither is known, whether anybody
    /// did.
    pub(super) fn check(&self, keys: Option<&KeyRing>, public_key: Option<&str>) -> Result<(), Finding> {
        let altered = |detail: &str| Finding::anywhere(Problem::ManifestAltered, detail);
        let signature = self.signature.as_ref().ok_or_else(|| altered("the manifest is not signed"))?;
        let (what, bytes) = (Document::AuditExport, self.manifest.get().as_bytes());
        let outcome = match (public_key, keys) {
            (Some(public_key), _) => signature.verify_with(public_key, what, bytes),
            (None, Some(keys)) => signature.verify(keys, what, bytes),
            (None, None) => signature.verify_with(&signature.public_key, what, bytes),
        };
        outcome.map_err(|error| match error {
            SignatureError::UnknownKey(_) => Finding::anywhere(Problem::KeyUnknown, error.to_string()),
            SignatureError::OtherKey => altered("the manifest was signed with another key"),
            SignatureError::Unreadable => altered("the manifest's signature cannot be read"),
            SignatureError::Altered => altered("the manifest is not the one that was signed"),
        })
    }
}
