//! What values of a setting look like, to a person and to a parser of variables.

use std::{fmt, net::SocketAddr, path::PathBuf};

/// What values of a setting look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Any text.
    Text,
    /// A path of the file system.
    Path,
    /// A whole number, never negative.
    Integer,
    /// True or false.
    Boolean,
    /// An IP address and a port.
    Address,
    /// A network in CIDR notation, or one IP address.
    Network,
    /// An `http://` or `https://` address.
    HttpUrl,
    /// The address of a database or of Redis; it may hold a password.
    ConnectionUrl,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A text that is never shown.
    Secret,
    /// A webhook secret: a text, or a table `{ id, secret, valid_from, valid_until }`.
    WebhookSecret,
    /// A key of the key ring: a text, or a table `{ id, key }`.
    EncryptionKey,
    /// A schedule: a table.
    Schedule,
    /// Numbers by name: a table.
    Numbers,
    /// Texts by name: a table.
    Texts,
    /// Any number of these.
    List(&'static Kind),
}

impl Kind {
    /// Whether no value of this kind may appear in an error, a log or a listing.
    pub fn is_secret(&self) -> bool {
        match self {
            Kind::Secret | Kind::WebhookSecret | Kind::EncryptionKey | Kind::ConnectionUrl => true,
            Kind::List(item) => item.is_secret(),
            _ => false,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Text => f.write_str("text"),
            Kind::Path => f.write_str("path"),
            Kind::Integer => f.write_str("whole number"),
            Kind::Boolean => f.write_str("true or false"),
            Kind::Address => f.write_str("IP address and port"),
            Kind::Network => f.write_str("network (CIDR) or IP address"),
            Kind::HttpUrl => f.write_str("http:// or https:// address"),
            Kind::ConnectionUrl => f.write_str("connection address"),
            Kind::Choice(words) => write!(f, "one of {}", words.join(", ")),
            Kind::Secret => f.write_str("secret"),
            Kind::WebhookSecret => f.write_str("secret, or { id, secret, valid_from, valid_until }"),
            Kind::EncryptionKey => f.write_str("key, or { id, key }"),
            Kind::Schedule => f.write_str(
                "{ name, cron and time_zone, or every, kind, lane, payload, overlap, missed, window, jitter }",
            ),
            Kind::Numbers => f.write_str("{ name = number, ... }"),
            Kind::Texts => f.write_str("{ name = text, ... }"),
            Kind::List(item) => write!(f, "list of: {item}"),
        }
    }
}

/// A type that a setting can have.
pub(crate) trait SettingType {
    /// What its values look like.
    const KIND: Kind;
    /// Whether a setting of this type may have no value.
    const OPTIONAL: bool = false;
}

impl<T: SettingType> SettingType for Option<T> {
    const KIND: Kind = T::KIND;
    const OPTIONAL: bool = true;
}

impl<T: SettingType> SettingType for Vec<T> {
    const KIND: Kind = Kind::List(&T::KIND);
}

macro_rules! setting_types {
    ($($type:ty => $kind:expr),* $(,)?) => {
        $(impl SettingType for $type {
            const KIND: Kind = $kind;
        })*
    };
}

setting_types! {
    String => Kind::Text,
    PathBuf => Kind::Path,
    bool => Kind::Boolean,
    SocketAddr => Kind::Address,
    u32 => Kind::Integer,
    u64 => Kind::Integer,
    usize => Kind::Integer,
}
