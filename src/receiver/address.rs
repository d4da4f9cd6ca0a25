//! Who a request comes from: the socket's peer, or what trusted proxies say about it.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName, header::FORWARDED};
use ipnet::IpNet;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The most that is read of one forwarding header, in bytes over all its lines.
const FORWARDING_BYTES_MAX: usize = 4 << 10;

/// The client's address, put into the extensions of every request that goes to the fallback service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientAddress(pub IpAddr);

/// The address of the client behind `peer`.
///
/// Forwarding headers are believed only as far as trusted proxies wrote them: from the right, one hop for each trusted
/// address, up to the first one that is not. What cannot be read makes the answer `peer` itself. So does disagreement
/// between `Forwarded` and `X-Forwarded-For`: a proxy maintains one of them, and the other one may be the client's.
pub fn client_address(peer: IpAddr, headers: &HeaderMap, trusted_proxies: &[IpNet]) -> IpAddr {
    let peer = peer.to_canonical();
    let trusted = |address: &IpAddr| trusted_proxies.iter().any(|network| network.contains(address));
    if !trusted(&peer) {
        return peer;
    }
    let walk = |name, split: fn(&[u8]) -> Hops| {
        let value = joined(headers, &name)?;
        let hops = value.map_or_else(|| vec![None], |value| split(&value));
        let mut client = peer;
        for hop in hops.into_iter().rev() {
            if !trusted(&client) {
                break;
            }
            let Some(address) = hop else { return Some(peer) };
            client = address;
        }
        Some(client)
    };
    match (walk(FORWARDED, forwarded_hops), walk(X_FORWARDED_FOR, x_forwarded_for_hops)) {
        (Some(client), None) | (None, Some(client)) => client,
        (Some(one), Some(other)) if one == other => one,
        (None, None) | (Some(_), Some(_)) => peer,
    }
}

/// The hops of a header, nearest to the client first; `None` for one that cannot be read.
type Hops = Vec<Option<IpAddr>>;

/// All lines of a header as one list. `None` if there is no line, `Some(None)` if there is too much.
#[allow(clippy::option_option)]
fn joined(headers: &HeaderMap, name: &HeaderName) -> Option<Option<Vec<u8>>> {
    let lines: Vec<&[u8]> = headers.get_all(name).iter().map(http::HeaderValue::as_bytes).collect();
    let bytes: usize = lines.iter().map(|line| line.len()).sum();
    match lines.as_slice() {
        [] => None,
        _ if bytes > FORWARDING_BYTES_MAX => Some(None),
        lines => Some(Some(lines.join(&b','))),
    }
}

fn x_forwarded_for_hops(list: &[u8]) -> Hops {
    list.split(|byte| *byte == b',').map(|hop| read_node(std::str::from_utf8(hop).ok()?.trim())).collect()
}

/// Reads `Forwarded` (RFC 7239): elements apart by commas, pairs apart by semicolons, values perhaps in quotes.
fn forwarded_hops(list: &[u8]) -> Hops {
    let Some(elements) = split_outside_quotes(list, b',') else { return vec![None] };
    elements.into_iter().map(forwarded_node).collect()
}

fn forwarded_node(element: &[u8]) -> Option<IpAddr> {
    let mut node = None;
    for pair in split_outside_quotes(element, b';')? {
        let (name, value) = std::str::from_utf8(pair).ok()?.trim().split_once('=')?;
        if name.eq_ignore_ascii_case("for") {
            let value = value.strip_prefix('"').map_or(Some(value), |quoted| quoted.strip_suffix('"'))?;
            if node.replace(read_node(value)?).is_some() {
                return None;
            }
        }
    }
    node
}

/// Splits at every `separator` that is not inside a quoted string. `None` if a quote is left open.
fn split_outside_quotes(text: &[u8], separator: u8) -> Option<Vec<&[u8]>> {
    let (mut quoted, mut escaped) = (false, false);
    let parts = text
        .split(|byte| {
            let splits = !quoted && *byte == separator;
            (quoted, escaped) = match byte {
                _ if escaped => (quoted, false),
                b'\\' if quoted => (quoted, true),
                b'"' => (!quoted, false),
                _ => (quoted, false),
            };
            splits
        })
        .collect();
    (!quoted).then_some(parts)
}

/// Reads an address, perhaps with a port: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`,
/// `[2001:db8::1]:80`.
fn read_node(node: &str) -> Option<IpAddr> {
    let bare = node.strip_prefix('[').and_then(|node| node.strip_suffix(']')).unwrap_or(node);
    bare.parse::<IpAddr>()
        .or_else(|_| node.parse::<SocketAddr>().map(|socket| socket.ip()))
        .ok()
        .map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use http::HeaderValue;

    use super::*;

    const PROXY: &str = "10.0.0.1";

    fn client(peer: &str, lines: &[(&'static str, &str)]) -> String {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let trusted: Vec<IpNet> = vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        client_address(peer.parse().unwrap(), &headers, &trusted).to_string()
    }

    #[test]
    fn a_stranger_is_who_the_socket_says() {
        assert_eq!(client("203.0.113.9", &[("x-forwarded-for", "1.2.3.4")]), "203.0.113.9");
        assert_eq!(client("203.0.113.9", &[("forwarded", "for=1.2.3.4")]), "203.0.113.9");
        assert_eq!(client("::ffff:203.0.113.9", &[]), "203.0.113.9");
    }

    #[test]
    fn trusted_hops_are_walked_from_the_right_to_the_first_stranger() {
        for (lines, expected) in [
            (vec![], PROXY),
            (vec![("x-forwarded-for", "203.0.113.9")], "203.0.113.9"),
            (vec![("x-forwarded-for", "6.6.6.6, 203.0.113.9")], "203.0.113.9"),
            (vec![("x-forwarded-for", "6.6.6.6, 203.0.113.9, 10.1.2.3")], "203.0.113.9"),
            (
                vec![("x-forwarded-for", "6.6.6.6"), ("x-forwarded-for", "203.0.113.9,10.1.2.3")],
                "203.0.113.9",
            ),
            (vec![("x-forwarded-for", "10.9.9.9, 10.1.2.3")], "10.9.9.9"),
            (vec![("x-forwarded-for", "garbage, 203.0.113.9")], "203.0.113.9"),
            (vec![("x-forwarded-for", "203.0.113.9:4711")], "203.0.113.9"),
            (vec![("x-forwarded-for", "[2001:db8::1]:4711")], "2001:db8::1"),
            (vec![("x-forwarded-for", "::ffff:203.0.113.9")], "203.0.113.9"),
            (vec![("x-forwarded-for", "203.0.113.9, ::ffff:10.1.2.3")], "203.0.113.9"),
            (vec![("forwarded", "for=203.0.113.9")], "203.0.113.9"),
            (vec![("forwarded", "For=\"[2001:db8::1]:4711\";proto=https;by=10.0.0.1")], "2001:db8::1"),
            (vec![("forwarded", "for=6.6.6.6, proto=https;for=203.0.113.9, for=10.1.2.3")], "203.0.113.9"),
            (vec![("forwarded", "for=203.0.113.9;ext=\"a,b;c\\\"d\", for=\"[fd00::1]\"")], "203.0.113.9"),
        ] {
            assert_eq!(client(PROXY, &lines), expected, "{lines:?}");
        }
    }

    #[test]
    fn what_cannot_be_read_makes_it_the_peer() {
        let long = format!("203.0.113.9, {}", "10.1.2.3,".repeat(600));
        for lines in [
            vec![("x-forwarded-for", "garbage")],
            vec![("x-forwarded-for", "")],
            vec![("x-forwarded-for", "203.0.113.9,")],
            vec![("x-forwarded-for", "203.0.113.9, unknown")],
            vec![("x-forwarded-for", "203.0.113.999")],
            vec![("x-forwarded-for", "203.0.113.9, 10.1.2.3, ü")],
            vec![("x-forwarded-for", &long)],
            vec![("forwarded", "for=_hidden")],
            vec![("forwarded", "for=unknown")],
            vec![("forwarded", "proto=https")],
            vec![("forwarded", "for=\"203.0.113.9")],
            vec![("forwarded", "for=203.0.113.9;for=203.0.113.9")],
            vec![("forwarded", "for=203.0.113.9"), ("x-forwarded-for", "203.0.113.10")],
        ] {
            assert_eq!(client(PROXY, &lines), PROXY, "{lines:?}");
        }
    }

    #[test]
    fn two_headers_that_agree_are_believed() {
        let lines = [("forwarded", "for=203.0.113.9"), ("x-forwarded-for", "6.6.6.6, 203.0.113.9")];
        assert_eq!(client(PROXY, &lines), "203.0.113.9");
    }
}
