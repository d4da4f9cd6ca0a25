//! Detached signatures of reports and of exports of the audit trail: Ed25519, so that whoever has the public key can
//! check one and nobody else can make one.
//!
//! The signing key is made from the key ring's first key ([`KeyRing::derive`]), so there is no other secret to keep. A
//! rotation of the ring changes it: what was signed before is checked with the older key, for as long as that is in
//! the ring, or with the public key, which somebody should have filed when it was new. Besides, that a report was made
//! is in the audit trail.

use keepwell_workers::seal::KeyRing;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use serde::{Deserialize, Serialize};

/// What the signing keys are made for.
const PURPOSE: &str = "report signature";

/// What is signed. A signature of the one is none of the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Document {
    /// A report.
    Report,
    /// The manifest of an exported audit trail.
    AuditExport,
}

impl Document {
    /// What the document's bytes stand behind when they are signed.
    const fn context(self) -> &'static [u8] {
        match self {
            Document::Report => b"keepwell report 1\0",
            Document::AuditExport => b"keepwell audit export 1\0",
        }
    }

    fn framed(self, bytes: &[u8]) -> Vec<u8> {
        [self.context(), bytes].concat()
    }
}

/// The name of the algorithm in a signature.
const ALGORITHM: &str = "ed25519";

/// A signature, as it lies beside a report or in the last line of an export.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    /// `ed25519`.
    pub algorithm: String,
    /// The key of the ring that the signing key was made from.
    pub key: String,
    /// The public key, in hexadecimal digits. It says nothing about who that is.
    pub public_key: String,
    /// Over `keepwell report 1` (or `keepwell audit export 1`), a NUL and the document's bytes, in hexadecimal digits.
    pub signature: String,
}

/// Why a signature is not good.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The ring has no key of that name.
    #[error(
        "no key `{0}` is in the key ring, so nobody can say who signed; name the public key if you have it"
    )]
    UnknownKey(String),
    /// Another algorithm, or digits that are none.
    #[error("the signature cannot be read")]
    Unreadable,
    /// It was made with another key than the one that counts.
    #[error("the signature was made with another key")]
    OtherKey,
    /// The document is not the one that was signed.
    #[error("the document is not the one that was signed")]
    Altered,
}

/// The public key that belongs to the key `key_id` of the ring, in hexadecimal digits.
pub fn public_key(keys: &KeyRing, key_id: &str) -> Option<String> {
    pair(keys, key_id).map(|pair| hex::encode(pair.public_key()))
}

/// Signs the bytes of a document with the first key of the ring.
pub fn sign(keys: &KeyRing, document: Document, bytes: &[u8]) -> Result<Signature, SignatureError> {
    let key = keys.active_id().to_owned();
    let pair = pair(keys, &key).ok_or_else(|| SignatureError::UnknownKey(key.clone()))?;
    Ok(Signature {
        algorithm: ALGORITHM.to_owned(),
        key,
        public_key: hex::encode(pair.public_key()),
        signature: hex::encode(pair.sign(&document.framed(bytes))),
    })
}

impl Signature {
    /// Whether it is the signature of a `document` with these `bytes`, made with a key of the ring.
    pub fn verify(&self, keys: &KeyRing, document: Document, bytes: &[u8]) -> Result<(), SignatureError> {
        let public = public_key(keys, &self.key);
        let public = public.ok_or_else(|| SignatureError::UnknownKey(self.key.clone()))?;
        self.verify_with(&public, document, bytes)
    }

    /// Whether it is the signature of a `document` with these `bytes`, made with the key whose public part is
    /// `public_key`, in hexadecimal digits.
    pub fn verify_with(
        &self,
        public_key: &str,
        document: Document,
        bytes: &[u8],
    ) -> Result<(), SignatureError> {
        if self.algorithm != ALGORITHM {
            return Err(SignatureError::Unreadable);
        }
        let read = |digits: &str| hex::decode(digits.trim()).map_err(|_| SignatureError::Unreadable);
        let public = read(public_key)?;
        if read(&self.public_key)? != public {
            return Err(SignatureError::OtherKey);
        }
        let signature = read(&self.signature)?;
        let key = UnparsedPublicKey::new(&ED25519, public);
        key.verify(&document.framed(bytes), &signature).map_err(|_| SignatureError::Altered)
    }
}

fn pair(keys: &KeyRing, key_id: &str) -> Option<Ed25519KeyPair> {
    let seed = keys.derive(key_id, PURPOSE)?;
    // Every 32 bytes are a seed.
    Ed25519KeyPair::from_seed_unchecked(seed.as_slice()).ok()
}

#[cfg(test)]
mod tests {
    use keepwell_workers::seal::SealingKey;
    use zeroize::Zeroizing;

    use super::*;

    fn key(id: &str, byte: u8) -> SealingKey {
        SealingKey::new(id, &Zeroizing::new([byte; 32]))
    }

    #[test]
    fn a_report_that_was_changed_by_a_byte_is_not_the_one_that_was_signed() {
        let ring = KeyRing::new(key("a", 1), []);
        let signature = sign(&ring, Document::Report, b"all is well").unwrap();
        assert_eq!(signature.verify(&ring, Document::Report, b"all is well"), Ok(()));
        assert_eq!(signature.verify(&ring, Document::Report, b"all is wel1"), Err(SignatureError::Altered));
        assert_eq!(
            signature.verify(&ring, Document::AuditExport, b"all is well"),
            Err(SignatureError::Altered)
        );
        let again: Signature = serde_json::from_str(&serde_json::to_string(&signature).unwrap()).unwrap();
        assert_eq!(again.verify(&ring, Document::Report, b"all is well"), Ok(()));
    }

    #[test]
    fn nobody_signs_for_somebody_else() {
        let (ours, theirs) = (KeyRing::new(key("a", 1), []), KeyRing::new(key("a", 2), []));
        let forged = sign(&theirs, Document::Report, b"x").unwrap();
        assert_eq!(forged.verify(&ours, Document::Report, b"x"), Err(SignatureError::OtherKey));
        let public_key = sign(&ours, Document::Report, b"x").unwrap().public_key;
        let pretended = Signature { public_key, ..forged };
        assert_eq!(pretended.verify(&ours, Document::Report, b"x"), Err(SignatureError::Altered));
        let stranger = KeyRing::new(key("b", 1), []);
        assert_eq!(
            pretended.verify(&stranger, Document::Report, b"x"),
            Err(SignatureError::UnknownKey("a".to_owned()))
        );
    }

    #[test]
    fn after_a_rotation_the_public_key_or_the_old_one_still_tells() {
        let before = KeyRing::new(key("a", 1), []);
        let signature = sign(&before, Document::Report, b"x").unwrap();
        let after = KeyRing::new(key("b", 2), [key("a", 1)]);
        assert_eq!(signature.verify(&after, Document::Report, b"x"), Ok(()));
        let filed = public_key(&before, "a").unwrap();
        assert_eq!(signature.verify_with(&filed, Document::Report, b"x"), Ok(()));
        assert_eq!(
            signature.verify_with("not digits", Document::Report, b"x"),
            Err(SignatureError::Unreadable)
        );
        assert_ne!(public_key(&after, "b").unwrap(), filed);
    }
}
