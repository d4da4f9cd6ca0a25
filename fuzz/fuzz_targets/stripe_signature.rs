//! The `Stripe-Signature` header: no bytes panic, and what is read is what is there.
#![no_main]

use http::{HeaderMap, HeaderValue};
use keepwell::receiver::scheme::{
    HEADER_BYTES_MAX, SIGNATURES_MAX, SignatureError,
    secret::{Secret, SecretSet},
    stripe::{self, SignatureHeader, parse_header},
};
use libfuzzer_sys::fuzz_target;

const BODY: &[u8] = b"{}";

fuzz_target!(|header: &[u8]| {
    let parsed = parse_header(header);
    if let Ok(SignatureHeader { timestamp, timestamp_s, signatures }) = &parsed {
        assert!(header.len() <= HEADER_BYTES_MAX && signatures.len() <= SIGNATURES_MAX);
        assert_eq!(*timestamp, timestamp_s.to_string().as_bytes(), "one way to write a number");

        let backwards: Vec<&[u8]> = header.split(|byte| *byte == b',').rev().collect();
        let backwards = backwards.join(&b',');
        let mut reread = parse_header(&backwards).expect("the order is free");
        reread.signatures.reverse();
        assert_eq!(Ok(reread), parsed, "the order is free");

        if header.len() < HEADER_BYTES_MAX {
            assert_eq!(parse_header(&[header, b","].concat()), parsed, "a trailing comma is harmless");
        }
        let twice = [header, b",t=0"].concat();
        assert_eq!(parse_header(&twice), Err(SignatureError::Malformed), "there is one `t`");
    }

    let Ok(value) = HeaderValue::from_bytes(header) else { return };
    let secret = Secret::stripe("fuzz", "whsec_nobody_can_guess_this").expect("it is a secret");
    let secrets = SecretSet::new(vec![secret]).expect("it is one");
    let mut headers = HeaderMap::new();
    headers.insert(stripe::HEADER, value);
    let verified = stripe::verify(&headers, BODY, &secrets, u64::MAX, 1_700_000_000_000);
    let expected = parsed.map_or_else(|error| error, |_| SignatureError::NoMatch);
    assert_eq!(verified, Err(expected), "nobody signs by accident");
});
