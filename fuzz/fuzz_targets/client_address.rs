//! `Forwarded` and `X-Forwarded-For`, line by line: no bytes panic, and nobody but a trusted proxy moves the address.
#![no_main]

use std::net::{IpAddr, Ipv4Addr};

use http::{HeaderMap, HeaderValue};
use ipnet::IpNet;
use keepwell::receiver::address::client_address;
use libfuzzer_sys::fuzz_target;

const PROXY: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9));

fuzz_target!(|input: &[u8]| {
    let trusted: Vec<IpNet> =
        ["10.0.0.0/8", "fd00::/8"].map(|network| network.parse().expect("a network")).into();
    let mut headers = HeaderMap::new();
    for line in input.split(|byte| *byte == b'\n').take(8) {
        let (name, line) = match line.split_first() {
            Some((b'!', rest)) => ("forwarded", rest),
            _ => ("x-forwarded-for", line),
        };
        let Ok(value) = HeaderValue::from_bytes(line) else { return };
        headers.append(name, value);
    }

    assert_eq!(client_address(STRANGER, &headers, &trusted), STRANGER, "a stranger speaks for itself only");
    assert_eq!(client_address(PROXY, &headers, &[]), PROXY, "nobody is trusted");
    let client = client_address(PROXY, &headers, &trusted);
    assert_eq!(client, client.to_canonical(), "an address has one form");

    // Whatever came before: a proxy that adds the address it sees has the last word.
    if !headers.contains_key("forwarded") {
        headers.append("x-forwarded-for", HeaderValue::from_static("203.0.113.9"));
        let bytes: usize = headers.values().map(HeaderValue::len).sum();
        if bytes <= 4096 {
            assert_eq!(
                client_address(PROXY, &headers, &trusted),
                STRANGER,
                "the last hop is what the proxy saw"
            );
        }
    }
});
