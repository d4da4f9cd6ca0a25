//! Who may ask for what, and the keys that data is sealed with.
//!
//! The examples are secrets that production refuses, so that nobody relies on one that everybody can read.

use crate::values::{EncryptionKey, Secret};

settings! {
    /// Who may read access documents.
    pub struct Access in "access" {
        /// The bearer tokens of the app's backends; at least 16 characters in production. Name the old and
        /// the new one while a token is exchanged.
        tokens: Vec<Secret> => ["change_me"],
    }
}

settings! {
    /// The emergency endpoints, `/api/emergency/*` and `/api/maintenance/*`.
    pub struct Emergency in "emergency" {
        /// The bearer token that they ask for; at least 16 characters in production. Without one they stay shut.
        token: Option<Secret> => "change_me_too",
    }
}

settings! {
    /// The keys that payloads and personal data are sealed with before they are stored.
    pub struct Encryption in "encryption" {
        /// The key ring. The first key seals; all of them open. To rotate, put a new key in front and keep the
        /// old one: what it sealed stays sealed with it until `keepwell key rotate`. With several nodes, first
        /// put the new key behind the others on every one, and in front only when all of them have it. A key is
        /// 32 bytes as 64 hexadecimal digits or as base64; any other text of at least 32 characters is hashed
        /// to a key. The id is stored with what the key sealed; without one, it is made from the key itself.
        /// `openssl rand -base64 32` makes a good key.
        keys: Vec<EncryptionKey> => [{ id = "2027-01", key = "KeepwellDevelopment0ZXhhbXBsZSBrZXksIG5vdCE=" }],
    }
}
