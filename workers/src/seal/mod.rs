//! Sealing: what is stored is encrypted and bound to the row it belongs to.
//!
//! XChaCha20-Poly1305 with a random 24-byte nonce in front. The nonce is long enough to be drawn at random for ever,
//! and the cipher is fast on processors without AES instructions too.

use std::{fmt, sync::Arc};

use chacha20poly1305::{
    Key, XChaCha20Poly1305, XNonce,
    aead::{Aead, KeyInit, Payload},
};
use hmac::{Hmac, Mac as _};
use rand::RngCore as _;
use sha2::Sha256;
use zeroize::Zeroizing;

const NONCE_BYTES: usize = 24;

/// A key and the name under which what it sealed is stored.
#[derive(Clone)]
pub struct SealingKey {
    id: Arc<str>,
    cipher: XChaCha20Poly1305,
    /// What other keys are made of.
    root: Arc<Zeroizing<[u8; 32]>>,
}

impl SealingKey {
    /// A key of 256 bits named `id`.
    pub fn new(id: impl Into<Arc<str>>, key: &Zeroizing<[u8; 32]>) -> Self {
        let cipher = XChaCha20Poly1305::new(Key::from_slice(key.as_slice()));
        Self { id: id.into(), cipher, root: Arc::new(key.clone()) }
    }
}

/// Sealed bytes and the key that opens them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// The id of the key.
    pub key_id: Arc<str>,
    /// Nonce and cipher text.
    pub bytes: Vec<u8>,
}

/// Something could not be opened or sealed. Says nothing about the content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The key is not in the ring.
    #[error("no key `{0}` is in the key ring; add it to `encryption.keys` behind the first one")]
    UnknownKey(String),
    /// Changed since it was sealed, moved to another row, or sealed by another key of the same name.
    #[error(
        "the sealed bytes do not open with key `{0}`: they were altered, moved, or the key is another one"
    )]
    Altered(String),
    /// Cannot happen below 256 GiB.
    #[error("the bytes are too long to be sealed")]
    TooLong,
}

/// The keys: the first one seals, all of them open.
#[derive(Clone)]
pub struct KeyRing {
    keys: Arc<[SealingKey]>,
}

impl KeyRing {
    /// A ring whose `active` key seals; `older` ones still open what they sealed.
    pub fn new(active: SealingKey, older: impl IntoIterator<Item = SealingKey>) -> Self {
        Self { keys: std::iter::once(active).chain(older).collect() }
    }

    /// The id of the key that seals.
    pub fn active_id(&self) -> &str {
        &self.keys[0].id
    }

    /// The ids of all keys, the one that seals first.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(|key| &*key.id)
    }

    /// A key of 256 bits for another `purpose`, made from the key `key_id`: HMAC-SHA256 of the purpose, as HKDF expands
    /// a key. It says nothing about the key it is made from. `None` if that is not in the ring.
    pub fn derive(&self, key_id: &str, purpose: &str) -> Option<Zeroizing<[u8; 32]>> {
        let key = self.keys.iter().find(|key| &*key.id == key_id)?;
        // HMAC takes a key of any length.
        let mut code = <Hmac<Sha256> as hmac::Mac>::new_from_slice(key.root.as_slice()).ok()?;
        code.update(b"keepwell key 1\0");
        code.update(purpose.as_bytes());
        Some(Zeroizing::new(code.finalize().into_bytes().into()))
    }

    /// Seals `plain`; only the same `context` (the row's id) opens it again.
    pub fn seal(&self, context: &[u8], plain: &[u8]) -> Result<Sealed, SealError> {
        let key = &self.keys[0];
        let mut nonce = [0; NONCE_BYTES];
        rand::rng().fill_bytes(&mut nonce);
        let cipher_text = key
            .cipher
            .encrypt(XNonce::from_slice(&nonce), Payload { msg: plain, aad: context })
            .map_err(|_| SealError::TooLong)?;
        let mut bytes = Vec::with_capacity(NONCE_BYTES + cipher_text.len());
        bytes.extend_from_slice(&nonce);
        bytes.extend_from_slice(&cipher_text);
        Ok(Sealed { key_id: Arc::clone(&key.id), bytes })
    }

    /// Opens what was sealed by key `key_id` under the same `context`.
    pub fn open(&self, context: &[u8], key_id: &str, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        let key = self
            .keys
            .iter()
            .find(|key| &*key.id == key_id)
            .ok_or_else(|| SealError::UnknownKey(key_id.to_owned()))?;
        let altered = || SealError::Altered(key_id.to_owned());
        let (nonce, cipher_text) = sealed.split_at_checked(NONCE_BYTES).ok_or_else(altered)?;
        key.cipher
            .decrypt(XNonce::from_slice(nonce), Payload { msg: cipher_text, aad: context })
            .map_err(|_| altered())
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys.iter().map(|key| &key.id)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: &str, byte: u8) -> SealingKey {
        SealingKey::new(id, &Zeroizing::new([byte; 32]))
    }

    #[test]
    fn an_old_key_opens_what_it_sealed_after_a_rotation() {
        let before = KeyRing::new(key("a", 1), []);
        let sealed = before.seal(b"row", b"secret").unwrap();
        let after = KeyRing::new(key("b", 2), [key("a", 1)]);
        assert_eq!(after.open(b"row", &sealed.key_id, &sealed.bytes).unwrap(), b"secret");
        assert_eq!(&*after.seal(b"row", b"x").unwrap().key_id, "b");
    }

    #[test]
    fn a_key_for_another_purpose_depends_on_both_and_is_the_same_every_time() {
        let ring = KeyRing::new(key("b", 2), [key("a", 1)]);
        let derived = |id: &str, purpose: &str| ring.derive(id, purpose).map(|key| *key);
        assert_eq!(derived("a", "x"), KeyRing::new(key("a", 1), []).derive("a", "x").map(|key| *key));
        assert_ne!(derived("a", "x"), derived("b", "x"));
        assert_ne!(derived("a", "x"), derived("a", "y"));
        assert_ne!(derived("a", "x"), Some([1; 32]));
        assert_eq!(derived("z", "x"), None);
    }

    #[test]
    fn sealed_bytes_open_only_in_their_own_row_and_unaltered() {
        let ring = KeyRing::new(key("a", 1), []);
        let sealed = ring.seal(b"row 1", b"secret").unwrap();
        assert!(!sealed.bytes.windows(6).any(|window| window == b"secret"));
        assert_eq!(ring.open(b"row 2", "a", &sealed.bytes), Err(SealError::Altered("a".into())));
        let mut altered = sealed.bytes.clone();
        altered[30] ^= 1;
        assert_eq!(ring.open(b"row 1", "a", &altered), Err(SealError::Altered("a".into())));
        assert_eq!(ring.open(b"row 1", "a", b"short"), Err(SealError::Altered("a".into())));
        assert_eq!(ring.open(b"row 1", "z", &sealed.bytes), Err(SealError::UnknownKey("z".into())));
    }
}
