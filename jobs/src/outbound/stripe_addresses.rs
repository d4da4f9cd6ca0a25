//! The list of addresses that Stripe's webhooks come from, as Stripe publishes it: `{"WEBHOOKS":["192.0.2.1", …]}`.
//! Changes are announced a week before, so a list of yesterday is as good as one of today.

use std::net::IpAddr;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use ipnet::IpNet;

use super::http::{CertificatesError, HttpClient, HttpError, HttpLimits};
use crate::json::Json;

/// Addresses that a list may have; Stripe's has about a dozen.
pub const ADDRESSES_MAX: usize = 1_000;

/// The widest networks that may stand in a list, by the bits of their prefix: what is wider keeps nobody out.
const PREFIX_BITS_MIN: (u8, u8) = (16, 32);

const LIMITS: HttpLimits =
    HttpLimits { connect_timeout_ms: 5_000, timeout_ms: 20_000, answer_bytes_max: 64 << 10 };

/// What was fetched is no list of addresses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadList {
    /// Something else.
    #[error("it is no JSON with a list `WEBHOOKS`")]
    Shape,
    /// Too few or too many.
    #[error("it has {0} addresses; 1 to {ADDRESSES_MAX} would make sense")]
    Count(usize),
    /// One of them is none.
    #[error("its entry {0} is neither an address nor a network that keeps anybody out")]
    Entry(usize),
}

/// There is no new list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotFetched {
    /// Nobody answered.
    #[error("it cannot be fetched: {0}")]
    Silent(#[from] HttpError),
    /// Somebody answered otherwise.
    #[error("it cannot be fetched: the answer is {0}")]
    Status(u16),
    /// What came is none.
    #[error(transparent)]
    Bad(#[from] BadList),
}

/// Fetches the list. Needs no key.
#[derive(Debug, Clone)]
pub struct AddressList {
    http: HttpClient,
    url: String,
}

impl AddressList {
    /// The one at `url`.
    pub fn at(url: &str) -> Result<Self, CertificatesError> {
        Ok(Self { http: HttpClient::new(LIMITS, None)?, url: url.to_owned() })
    }

    /// The list as it is now.
    pub async fn fetch(&self) -> Result<Vec<IpNet>, NotFetched> {
        // It comes from a web site, and some of those answer nobody who has no name.
        let request = Request::get(&self.url)
            .header(header::ACCEPT, "application/json")
            .header(header::USER_AGENT, concat!("keepwell/", env!("CARGO_PKG_VERSION")))
            .body(Bytes::new());
        let answer = self.http.send(request.map_err(|_| HttpError::Address)?).await?;
        if answer.status != StatusCode::OK {
            return Err(NotFetched::Status(answer.status.as_u16()));
        }
        Ok(read_list(&answer.body)?)
    }
}

/// The networks in a list.
pub fn read_list(body: &[u8]) -> Result<Vec<IpNet>, BadList> {
    let json = Json::parse(body).map_err(|_| BadList::Shape)?;
    let list = json.at(&["WEBHOOKS"]).filter(|list| list.as_str().starts_with('[')).ok_or(BadList::Shape)?;
    // One more than may be, so that too many are seen.
    let items = list.items(ADDRESSES_MAX + 1);
    if !(1..=ADDRESSES_MAX).contains(&items.len()) {
        return Err(BadList::Count(items.len()));
    }
    let read = |(place, item): (usize, &Json<'_>)| {
        item.text().and_then(|text| network(&text)).ok_or(BadList::Entry(place + 1))
    };
    items.iter().enumerate().map(read).collect()
}

/// The network of an address, or in CIDR notation.
fn network(text: &str) -> Option<IpNet> {
    let network = text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))?;
    let min = if matches!(network, IpNet::V4(_)) { PREFIX_BITS_MIN.0 } else { PREFIX_BITS_MIN.1 };
    (network.prefix_len() >= min).then_some(network)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_networks_of_both_kinds_are_read() {
        let body = br#"{ "WEBHOOKS": ["3.18.12.63", "192.0.2.0/24", "2001:db8::1", "2001:db8::/48"] }"#;
        let read: Vec<String> = read_list(body).unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(read, ["3.18.12.63/32", "192.0.2.0/24", "2001:db8::1/128", "2001:db8::/48"]);
    }

    #[test]
    fn what_would_let_nobody_or_everybody_in_is_no_list() {
        let many = format!(r#"{{"WEBHOOKS":[{}"192.0.2.1"]}}"#, r#""192.0.2.1","#.repeat(ADDRESSES_MAX));
        for (body, error) in [
            ("", BadList::Shape),
            ("<html>a captive portal</html>", BadList::Shape),
            ("[]", BadList::Shape),
            ("{}", BadList::Shape),
            (r#"{"API":["192.0.2.1"]}"#, BadList::Shape),
            (r#"{"WEBHOOKS":"192.0.2.1"}"#, BadList::Shape),
            (r#"{"WEBHOOKS":{"data":["192.0.2.1"]}}"#, BadList::Shape),
            (r#"{"WEBHOOKS":[]}"#, BadList::Count(0)),
            (&many, BadList::Count(ADDRESSES_MAX + 1)),
            (r#"{"WEBHOOKS":["192.0.2.1","stripe.com"]}"#, BadList::Entry(2)),
            (r#"{"WEBHOOKS":[3]}"#, BadList::Entry(1)),
            (r#"{"WEBHOOKS":["0.0.0.0/0"]}"#, BadList::Entry(1)),
            (r#"{"WEBHOOKS":["::/0"]}"#, BadList::Entry(1)),
        ] {
            assert_eq!(read_list(body.as_bytes()), Err(error), "{body}");
        }
    }
}
