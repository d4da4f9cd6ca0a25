//! Bodies that are too large, too short, framed wrongly, of the wrong type, or signed and no event all the same.

use super::{
    rig::{Rig, STRIPE, chunked, event, post, signed},
    table::{Case, run},
};

const CAP: usize = 16 << 10;

/// An event of exactly `length` bytes.
fn event_of(length: usize) -> Vec<u8> {
    let mut body = event("evt_large").into_bytes();
    body.resize(length, b' ');
    body
}

/// A request with a body of which the headers claim `claim`.
fn claiming(claim: &str, body: &str) -> Vec<u8> {
    let headers = signed(body.as_bytes());
    format!("POST {STRIPE} HTTP/1.1\r\nHost: x\r\n{claim}\r\n{headers}\r\n{body}").into_bytes()
}

fn chunk(data: &[u8]) -> Vec<u8> {
    let mut bytes = format!("{:x}\r\n", data.len()).into_bytes();
    bytes.extend(data);
    bytes.extend(b"\r\n");
    bytes
}

#[tokio::test]
async fn a_body_is_taken_exactly_when_it_is_whole_and_within_the_limits() {
    let rig = Rig::with(|options| options.limits.body_bytes_max = CAP).await;
    let body = event("evt_1");
    let body = body.as_str();
    let bytes = body.as_bytes();
    let length = bytes.len();
    let signature = signed(bytes);
    let halves = [chunk(&bytes[..9]), chunk(&bytes[9..]), b"0\r\n\r\n".to_vec()].concat();
    let many: Vec<u8> = bytes.iter().flat_map(|byte| chunk(&[*byte])).chain(*b"0\r\n\r\n").collect();
    let too_many = [chunk(&event_of(CAP)), chunk(b" "), b"0\r\n\r\n".to_vec()].concat();
    let exact = event_of(CAP);
    let over = event_of(CAP + 1);
    let with = |headers: &str| post(STRIPE, &format!("{signature}{headers}\r\n"), bytes);
    let lying = claiming(&format!("Content-Length: {}", length - 1), body);
    let cases: Vec<Case> = vec![
        ("in two chunks", chunked(&signature, &halves), "200 new"),
        ("in chunks of one byte", chunked(&signature, &many), "200 again"),
        (
            "with an extension and a trailer",
            chunked(&signature, format!("{length:x};a=b\r\n{body}\r\n0\r\nx: y\r\n\r\n").as_bytes()),
            "200 again",
        ),
        ("exactly at the cap", post(STRIPE, &signed(&exact), &exact), "200 new"),
        (
            "exactly at the cap, chunked",
            chunked(&signed(&exact), &[chunk(&exact), b"0\r\n\r\n".to_vec()].concat()),
            "200 again",
        ),
        ("one byte over the cap", post(STRIPE, &signed(&over), &over), "413 body_too_large"),
        ("one byte over the cap, chunked", chunked("", &too_many), "413 body_too_large"),
        ("a megabyte that nobody asked for", post(STRIPE, "", &event_of(1 << 20)), "413 body_too_large"),
        ("a terabyte, announced", claiming("Content-Length: 1099511627776", ""), "413 body_too_large"),
        ("more than 64 bits, announced", claiming("Content-Length: 99999999999999999999", body), "400"),
        ("a negative length", claiming("Content-Length: -1", body), "400"),
        ("a length in words", claiming("Content-Length: many", body), "400"),
        ("a length with a sign", claiming(&format!("Content-Length: +{length}"), body), "400"),
        ("two lengths", claiming(&format!("Content-Length: {length}\r\nContent-Length: 3"), body), "400"),
        ("two lengths in one line", claiming(&format!("Content-Length: {length}, 3"), body), "400"),
        ("a length shorter than the body", lying, "400 signature_invalid | 400"),
        (
            "a length longer than the body",
            claiming(&format!("Content-Length: {}", length + 1), body),
            "400 body_unreadable",
        ),
        ("no body", post(STRIPE, &signed(b""), b""), "400 body_empty"),
        ("no length and no body", claiming("X: y", ""), "400 body_empty"),
        ("an empty chunked body", chunked(&signed(b""), b"0\r\n\r\n"), "400 body_empty"),
        (
            "chunked, with a length too",
            chunked(&format!("{signature}Content-Length: {length}\r\n"), &halves),
            "200 again",
        ),
        ("a chunk size in words", chunked(&signature, b"many\r\n{}\r\n0\r\n\r\n"), "400 body_unreadable"),
        (
            "a chunk size that overflows",
            chunked(&signature, b"fffffffffffffffff\r\n{}\r\n"),
            "400 body_unreadable",
        ),
        ("a negative chunk size", chunked(&signature, b"-1\r\n{}\r\n"), "400 body_unreadable"),
        ("a chunk longer than it says", chunked(&signature, b"1\r\n{}\r\n0\r\n\r\n"), "400 body_unreadable"),
        ("chunks that never end", chunked(&signature, &chunk(bytes)), "400 body_unreadable"),
        (
            "an endless chunk extension",
            chunked(&signature, format!("1;{}", "x".repeat(100_000)).as_bytes()),
            "400 body_unreadable",
        ),
        ("text", with("Content-Type: text/plain"), "415 unsupported_media_type"),
        ("a form", with("Content-Type: application/x-www-form-urlencoded"), "415 unsupported_media_type"),
        (
            "two types",
            with("Content-Type: application/json\r\nContent-Type: text/xml"),
            "415 unsupported_media_type",
        ),
        ("JSON with a charset", with("Content-Type: application/json; charset=utf-8"), "200 again"),
        ("a type of JSON", with("Content-Type: application/cloudevents+json"), "200 again"),
        ("compressed", with("Content-Encoding: gzip"), "415 unsupported_content_encoding"),
        (
            "compressed twice",
            with("Content-Encoding: identity\r\nContent-Encoding: br"),
            "415 unsupported_content_encoding",
        ),
        ("not compressed, expressly", with("Content-Encoding: identity"), "200 again"),
    ];
    run(rig, cases).await;
}

#[tokio::test]
async fn a_signed_body_that_is_no_event_gets_a_code_of_its_own() {
    let deep = format!("{}{}", "[".repeat(5_000), "]".repeat(5_000));
    let bodies: Vec<(&str, &[u8], &str)> = vec![
        ("no JSON", b"} I am not valid JSON; 123][", "400 invalid_json"),
        ("half of one", br#"{"id":"evt_1","#, "400 invalid_json"),
        ("two of them", br"{}{}", "400 invalid_json"),
        ("bytes that are no UTF-8", b"{\"id\":\"\xff\xfe\"}", "400 invalid_json"),
        ("NUL bytes", b"\0\0\0\0", "400 invalid_json"),
        ("a byte order mark", b"\xef\xbb\xbf{}", "400 invalid_json"),
        ("nesting without end", deep.as_bytes(), "400 invalid_json"),
        ("an array", b"[]", "400 not_an_event"),
        ("an object", b"{}", "400 not_an_event"),
        ("a number", b"1e999999999", "400 invalid_json"),
        ("blanks", b"   ", "400 invalid_json"),
        ("an escaped NUL as id", br#"{"id":"\u0000","type":"x"}"#, "200 new"),
    ];
    let cases =
        bodies.into_iter().map(|(name, body, sum)| (name, post(STRIPE, &signed(body), body), sum)).collect();
    run(Rig::start().await, cases).await;
}
