//! The address of a service on the web.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, de};

use crate::schema::{Kind, SettingType};

/// An address that begins with `http://` or `https://`, without credentials in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HttpUrl(String);

impl HttpUrl {
    /// The address as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether what is sent there can be read on the way: plain HTTP to another machine.
    pub(crate) fn is_readable_on_the_way(&self) -> bool {
        let Some(rest) = self.0.strip_prefix("http://") else { return false };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
        let host = match authority.strip_prefix('[') {
            Some(bracketed) => bracketed.split(']').next().unwrap_or(bracketed),
            None => authority.split(':').next().unwrap_or(authority),
        };
        let loopback = host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
        !(loopback || host == "localhost")
    }
}

impl fmt::Display for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for HttpUrl {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        let authority = rest.and_then(|rest| rest.split(['/', '?', '#']).next()).unwrap_or_default();
        if authority.is_empty() || text.chars().any(char::is_whitespace) {
            return Err("it is not an address that begins with https:// or http:// and names a host");
        }
        if authority.contains('@') {
            return Err("it has a user or a password in it, which would be shown; leave them out");
        }
        Ok(Self(text))
    }
}

impl<'de> Deserialize<'de> for HttpUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::try_from(String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

impl SettingType for HttpUrl {
    const KIND: Kind = Kind::HttpUrl;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<HttpUrl, serde_json::Error> {
        serde_json::from_value(text.into())
    }

    #[test]
    fn only_plain_http_to_another_machine_is_readable_on_the_way() {
        let readable = |text| read(text).unwrap().is_readable_on_the_way();
        assert!(readable("http://stripe.example/v1") && readable("http://192.0.2.1:80"));
        for safe in
            ["https://api.stripe.com", "http://127.0.0.1:12111/", "http://[::1]:80", "http://localhost"]
        {
            assert!(!readable(safe), "{safe}");
        }
    }

    #[test]
    fn what_is_no_web_address_is_refused() {
        for text in ["api.stripe.com", "https://", "ftp://host", "https://a b", "https://user:password@host/"]
        {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
