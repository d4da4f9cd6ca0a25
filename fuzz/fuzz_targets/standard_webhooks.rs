//! The three headers of Standard Webhooks, one per line of the input: no bytes panic, and what is read is what is
//! there.
#![no_main]

use http::{HeaderMap, HeaderValue};
use keepwell::receiver::scheme::{
    SIGNATURES_MAX, SignatureError,
    secret::{Secret, SecretSet},
    standard_webhooks::{
        self, ID_BYTES_MAX, ID_HEADER, SIGNATURE_HEADER, SignatureHeaders, TIMESTAMP_HEADER, parse_headers,
    },
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let mut headers = HeaderMap::new();
    let names = [ID_HEADER, TIMESTAMP_HEADER, SIGNATURE_HEADER];
    // A fourth line and those after it repeat the headers.
    for (name, line) in names.iter().cycle().zip(input.split(|byte| *byte == b'\n')).take(6) {
        let Ok(value) = HeaderValue::from_bytes(line) else { return };
        headers.append(*name, value);
    }

    let parsed = parse_headers(&headers);
    if let Ok(SignatureHeaders { id, timestamp, timestamp_s, signatures }) = &parsed {
        assert_eq!(headers.len(), names.len(), "each header once");
        assert!((1..=ID_BYTES_MAX).contains(&id.len()) && !id.contains('.'));
        assert!(id.bytes().all(|byte| byte.is_ascii_graphic()));
        assert_eq!(*timestamp, timestamp_s.to_string().as_bytes(), "one way to write a number");
        assert!(signatures.len() <= SIGNATURES_MAX);
    }

    let secret =
        Secret::standard_webhooks("fuzz", "whsec_bm9ib2R5IGNhbiBndWVzcyB0aGlz").expect("it is a secret");
    let secrets = SecretSet::new(vec![secret]).expect("it is one");
    let verified = standard_webhooks::verify(&headers, b"{}", &secrets, u64::MAX, 1_700_000_000_000);
    let expected = parsed.map_or_else(|error| error, |_| SignatureError::NoMatch);
    assert_eq!(verified, Err(expected), "nobody signs by accident");
});
