//! The addresses of the database and of Redis, which may hold a password.

use std::fmt;

use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::REDACTED;
use crate::schema::{Kind, SettingType};

/// Declares an address with a password in it and the schemes that it may have.
macro_rules! connection_url {
    (
        $(#[doc = $about:literal])*
        $name:ident: $what:literal, [$($scheme:literal),*], $example:literal $(, $others:literal)?
    ) => {
        $(#[doc = $about])*
        #[derive(Clone)]
        pub struct $name(SecretString);

        impl $name {
            /// The whole address, its password included.
            pub fn expose(&self) -> &str {
                self.0.expose_secret()
            }
        }

        /// Shown without user and password.
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&without_credentials(self.expose()))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                let known = [$($scheme),*].into_iter().any(|scheme| text.starts_with(scheme));
                if !known || text.chars().any(char::is_whitespace) {
                    return Err(de::Error::custom(concat!(
                        "it is not the address of ", $what, ", such as ", $example $(, "; ", $others)?
                    )));
                }
                Ok(Self(text.into()))
            }
        }

        impl SettingType for $name {
            const KIND: Kind = Kind::ConnectionUrl;
        }
    };
}

connection_url! {
    /// Where the database is.
    DatabaseUrl: "a database", ["postgres://", "postgresql://", "sqlite:"], "postgres://user:password@host/keepwell"
}

connection_url! {
    /// Where Redis is.
    RedisUrl: "Redis",
    [
        "redis://", "rediss://", "redis+unix://", "unix://",
        "redis-sentinel://", "rediss-sentinel://", "redis-cluster://", "rediss-cluster://"
    ],
    "redis://:password@host:6379/0",
    "`rediss://` speaks TLS, `redis-sentinel://host,host/name` asks Sentinels, `redis-cluster://host,host` is a cluster"
}

/// `address` with everything that may be secret taken out: user and password before an `@`, and what follows
/// a `?`.
fn without_credentials(address: &str) -> String {
    let (address, query) = address.split_once('?').map_or((address, false), |(before, _)| (before, true));
    let (scheme, rest) = address.split_once("://").unwrap_or(("", address));
    let rest = match rest.rsplit_once('@') {
        Some((_, host)) => format!("{REDACTED}@{host}"),
        None => rest.to_owned(),
    };
    let separator = if scheme.is_empty() { "" } else { "://" };
    let query = if query { format!("?{REDACTED}") } else { String::new() };
    format!("{scheme}{separator}{rest}{query}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_its_password() {
        let address: RedisUrl = serde_json::from_str(r#""redis://u:hid@den@host:6379/0""#).unwrap();
        assert_eq!(address.expose(), "redis://u:hid@den@host:6379/0");
        assert_eq!(
            format!("{address} {address:?}"),
            "redis://[redacted]@host:6379/0 redis://[redacted]@host:6379/0"
        );
        let address: DatabaseUrl = serde_json::from_str(r#""postgres://host/db?password=hidden""#).unwrap();
        assert_eq!(serde_json::to_string(&address).unwrap(), r#""postgres://host/db?[redacted]""#);
        let address: DatabaseUrl = serde_json::from_str(r#""sqlite:/var/lib/keepwell/keepwell.db""#).unwrap();
        assert_eq!(address.to_string(), "sqlite:/var/lib/keepwell/keepwell.db");
    }

    #[test]
    fn an_address_of_something_else_is_refused_without_being_shown() {
        let error =
            serde_json::from_str::<DatabaseUrl>(r#""mysql://u:hidden@host/db""#).unwrap_err().to_string();
        assert!(error.contains("postgres://") && !error.contains("hidden"), "{error}");
        for address in ["localhost:6379", "redis-elsewhere://host/name", "valkey://host"] {
            let error = serde_json::from_value::<RedisUrl>(address.into()).unwrap_err().to_string();
            assert!(error.contains("`redis-sentinel://host,host/name` asks Sentinels"), "{error}");
        }
        let address = "rediss-sentinel://u:hidden@one:1,two:2/name/3?sentinel_password=hidden";
        let address: RedisUrl = serde_json::from_value(address.into()).unwrap();
        assert_eq!(address.to_string(), "rediss-sentinel://[redacted]@one:1,two:2/name/3?[redacted]");
    }

    #[test]
    fn redis_may_be_behind_a_unix_socket() {
        for address in ["redis+unix:///run/redis.sock", "unix:///run/redis.sock"] {
            let redis: RedisUrl = serde_json::from_value(address.into()).unwrap();
            assert_eq!(redis.to_string(), address);
        }
    }
}
