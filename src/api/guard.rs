//! Keeps web pages away from the operators' listener. A browser on the operator's machine can reach
//! `127.0.0.1` too, and a page from anywhere could make it post there, or could point a name of its own at
//! that address.

use std::net::IpAddr;

use axum::{
    extract::Request,
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use http::{HeaderMap, StatusCode, Uri, header, uri::Authority};

use crate::receiver::problem::Problem;

/// Lets a request through unless a foreign web page is behind it.
pub(super) async fn keep_pages_out(request: Request, next: Next) -> Response {
    if is_local(request.uri(), request.headers()) {
        return next.run(request).await;
    }
    let detail =
        "The operators' interface is asked by its address or as `localhost`, and never by other web pages.";
    Problem::new(StatusCode::FORBIDDEN, "foreign_page", detail).into_response()
}

fn is_local(uri: &Uri, headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or("unreadable"));
    // HTTP/2 names the host in the request's own line.
    let host = uri.authority().map(Authority::as_str).or(text(header::HOST)).unwrap_or_default();
    let own_origin =
        text(header::ORIGIN).is_none_or(|origin| origin.split_once("://").is_some_and(|(_, it)| it == host));
    is_address_or_localhost(host) && own_origin
}

/// Whether `host`, with or without a port, is an IP address or `localhost`: names that nobody can make point
/// elsewhere.
fn is_address_or_localhost(host: &str) -> bool {
    if let Some(bracketed) = host.strip_prefix('[') {
        return bracketed.split(']').next().is_some_and(|address| address.parse::<IpAddr>().is_ok());
    }
    let name = host.split(':').next().unwrap_or_default();
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn admitted(headers: &[(HeaderName, &'static str)]) -> bool {
        let headers = headers.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value)));
        is_local(&Uri::from_static("/api/v1/lanes"), &headers.collect())
    }

    #[test]
    fn tools_and_the_own_pages_are_let_through() {
        for host in ["localhost", "localhost:3001", "127.0.0.1:3001", "[::1]:3001", "10.0.0.7"] {
            assert!(admitted(&[(header::HOST, host)]), "{host}");
        }
        assert!(admitted(&[(header::HOST, "localhost:3001"), (header::ORIGIN, "http://localhost:3001")]));
    }

    #[test]
    fn pages_from_elsewhere_and_names_that_point_here_are_not() {
        assert!(!admitted(&[(header::HOST, "localhost:3001"), (header::ORIGIN, "https://evil.example")]));
        assert!(!admitted(&[(header::HOST, "localhost:3001"), (header::ORIGIN, "null")]));
        assert!(!admitted(&[(header::HOST, "evil.example")]));
        assert!(!admitted(&[(header::HOST, "127.0.0.1.evil.example")]));
        assert!(!admitted(&[]));
    }
}
