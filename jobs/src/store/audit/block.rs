//! A block: the digests of its entries, bound to the block before it.

use hmac::{Hmac, Mac as _};
use keepwell_workers::clock::UnixMs;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{
    entry::{Digest32, push_field},
    keys::CodeKey,
};

/// What stands where the hash of the block before the first one would.
pub(super) const BEGINNING: Digest32 = [0; 32];

/// The end of the chain, as somebody saw it: what to compare a chain with that may have been cut off since.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainEnd {
    /// The last block's number; 0 before the first one.
    pub block: i64,
    /// The last block's hash, in hexadecimal digits.
    pub hash: String,
}

/// A block as it lies in the table.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Block {
    /// Counted from 1, without a gap.
    pub number: i64,
    /// The hash of the block before it.
    pub previous: Vec<u8>,
    /// The position of its first entry.
    pub first_position: i64,
    /// The position of its last entry.
    pub last_position: i64,
    /// When it was made.
    pub sealed_at_ms: UnixMs,
    /// The latest instant of its entries.
    pub newest_ms: UnixMs,
    /// 32 bytes for each entry.
    pub digests: Vec<u8>,
    /// Over everything above.
    pub hash: Vec<u8>,
    /// Which key made `code`.
    pub audit_key: i64,
    /// The authentication code of `hash`.
    pub code: Vec<u8>,
}

/// The columns of a [`Block`].
pub(super) const BLOCK_COLUMNS: &str = "number, previous, first_position, last_position, sealed_at_ms, newest_ms, \
     digests, hash, audit_key, code";

impl Block {
    /// What its hash has to be.
    pub(super) fn expected_hash(&self) -> Digest32 {
        let mut bytes = b"keepwell audit block 1\0".to_vec();
        let numbers =
            [self.number, self.first_position, self.last_position, self.sealed_at_ms, self.newest_ms];
        for number in numbers {
            bytes.extend(number.to_be_bytes());
        }
        push_field(&mut bytes, &self.previous);
        push_field(&mut bytes, &self.digests);
        Sha256::digest(&bytes).into()
    }

    /// All of it as it lies there, whether it is whole or not.
    pub(super) fn print(&self) -> Digest32 {
        let mut bytes = self.expected_hash().to_vec();
        bytes.extend(self.audit_key.to_be_bytes());
        push_field(&mut bytes, &self.hash);
        push_field(&mut bytes, &self.code);
        Sha256::digest(&bytes).into()
    }

    /// How many entries it binds.
    pub(super) fn entries(&self) -> u64 {
        (self.digests.len() / 32) as u64
    }

    /// Whether it says that the entry at `position` is one of its own.
    pub(super) fn claims(&self, position: i64) -> bool {
        (self.first_position..=self.last_position).contains(&position)
    }

    /// The digest of the entry at `position`.
    pub(super) fn digest_at(&self, position: i64) -> Option<&[u8]> {
        let index = usize::try_from(position.checked_sub(self.first_position)?).ok()?;
        self.digests.chunks_exact(32).nth(index)
    }

    /// Its end of the chain.
    pub fn end(&self) -> ChainEnd {
        ChainEnd { block: self.number, hash: hex::encode(&self.hash) }
    }

    /// Gives it its hash and its code.
    pub(super) fn signed(mut self, key: &CodeKey) -> Self {
        self.hash = self.expected_hash().to_vec();
        self.audit_key = key.id;
        self.code = code(key, b"block", &self.hash);
        self
    }

    /// Whether its code was made by `key`.
    pub(super) fn is_signed_by(&self, key: &CodeKey) -> bool {
        is_code(key, b"block", &self.hash, &self.code)
    }
}

/// The authentication code of `bytes`, which are a `what`.
pub(super) fn code(key: &CodeKey, what: &[u8], bytes: &[u8]) -> Vec<u8> {
    mac(key, what, bytes).finalize().into_bytes().to_vec()
}

/// Whether `code` is that of `bytes`. Takes the same time wherever it differs.
pub(super) fn is_code(key: &CodeKey, what: &[u8], bytes: &[u8], code: &[u8]) -> bool {
    mac(key, what, bytes).verify_slice(code).is_ok()
}

fn mac(key: &CodeKey, what: &[u8], bytes: &[u8]) -> Hmac<Sha256> {
    let mut framed = b"keepwell audit 1\0".to_vec();
    push_field(&mut framed, what);
    push_field(&mut framed, bytes);
    // HMAC takes keys of any length.
    #[allow(clippy::expect_used)]
    let mac = Hmac::<Sha256>::new_from_slice(key.bytes.as_slice()).expect("a key of any length");
    mac.chain_update(framed)
}
