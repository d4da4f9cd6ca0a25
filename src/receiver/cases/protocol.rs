//! Paths, methods, versions and headers that are not what an honest client sends.

use super::{
    rig::{Rig, STRIPE, crisis_signal, event, signed, stripe_event},
    table::{Case, run},
};

/// A good event in a request whose first line is `line`.
fn under(line: &str) -> Vec<u8> {
    with_headers(line, "Host: x\r\n")
}

fn with_headers(line: &str, headers: &str) -> Vec<u8> {
    let body = event("evt_1");
    let signature = signed(body.as_bytes());
    format!("{line}\r\n{headers}Content-Length: {}\r\n{signature}\r\n{body}", body.len()).into_bytes()
}

#[tokio::test]
async fn only_a_post_to_the_exact_path_is_a_webhook() {
    let cases: Vec<Case> = vec![
        ("the path", under(&format!("POST {STRIPE} HTTP/1.1")), "200 new"),
        ("a query after it", under(&format!("POST {STRIPE}?a=b HTTP/1.1")), "200 again"),
        ("the absolute form", under(&format!("POST http://example.org{STRIPE} HTTP/1.1")), "200 again"),
        ("HTTP/1.0", under(&format!("POST {STRIPE} HTTP/1.0")), "200 again"),
        ("no Host", with_headers(&format!("POST {STRIPE} HTTP/1.1"), ""), "200 again"),
        ("GET", under(&format!("GET {STRIPE} HTTP/1.1")), "405 method_not_allowed"),
        ("PUT", under(&format!("PUT {STRIPE} HTTP/1.1")), "405 method_not_allowed"),
        ("OPTIONS", under(&format!("OPTIONS {STRIPE} HTTP/1.1")), "405 method_not_allowed"),
        ("post", under(&format!("post {STRIPE} HTTP/1.1")), "405 method_not_allowed"),
        ("a method nobody knows", under(&format!("BREW {STRIPE} HTTP/1.1")), "405 method_not_allowed"),
        ("a slash behind it", under(&format!("POST {STRIPE}/ HTTP/1.1")), "404"),
        ("a slash before it", under(&format!("POST /{STRIPE} HTTP/1.1")), "404"),
        ("a slash within it", under("POST /api//webhooks/stripe HTTP/1.1"), "404"),
        ("a dot within it", under("POST /api/./webhooks/stripe HTTP/1.1"), "404"),
        ("up and down again", under("POST /api/webhooks/../webhooks/stripe HTTP/1.1"), "404"),
        ("an encoded letter", under("POST /api/webhooks/%73tripe HTTP/1.1"), "404"),
        ("an encoded slash", under("POST /api%2fwebhooks/stripe HTTP/1.1"), "404"),
        ("an encoded NUL behind it", under(&format!("POST {STRIPE}%00 HTTP/1.1")), "404"),
        ("capitals", under("POST /API/WEBHOOKS/STRIPE HTTP/1.1"), "404"),
        ("a parameter", under(&format!("POST {STRIPE};a=b HTTP/1.1")), "404"),
        ("a NUL", under(&format!("POST {STRIPE}\0 HTTP/1.1")), "400"),
        ("a blank", under(&format!("POST {STRIPE} x HTTP/1.1")), "400"),
        ("no path", under("POST  HTTP/1.1"), "400"),
        ("an endless path", under(&format!("POST /{} HTTP/1.1", "x".repeat(80_000))), "431"),
    ];
    run(Rig::start().await, cases).await;
}

#[tokio::test]
async fn what_is_no_request_gets_a_clean_answer_or_a_closed_socket() {
    let line = format!("POST {STRIPE} HTTP/1.1");
    let line = line.as_str();
    let continued = with_headers(line, "Expect: 100-continue\r\n");
    let garbage_behind = [stripe_event("evt_2"), b"\x00garbage\r\n\r\n".to_vec()].concat();
    let unsent = format!("{line}\r\nContent-Length: 9999999\r\nExpect: 100-continue\r\n\r\n");
    let cases: Vec<Case> = vec![
        ("nothing", Vec::new(), "closed"),
        ("half a line", b"POST /api".to_vec(), "closed"),
        ("a line and no headers", format!("{line}\r\n").into_bytes(), "closed"),
        ("garbage", b"\x01\x02\x03\x04 garbage\r\n\r\n".to_vec(), "400"),
        ("NUL bytes", vec![0; 64], "400"),
        ("a TLS handshake", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 hello".to_vec(), "400"),
        ("HTTP/0.9", b"GET /\r\n\r\n".to_vec(), "400"),
        ("HTTP/2.0 without a preface", under(&format!("POST {STRIPE} HTTP/2.0")), "400"),
        ("HTTP/9.9", under(&format!("POST {STRIPE} HTTP/9.9")), "400"),
        ("half a preface", b"PRI * HTTP/2.0\r\n\r\nSM".to_vec(), "400"),
        ("a header without a colon", with_headers(line, "nonsense\r\n"), "400"),
        ("a blank before the colon", with_headers(line, "X : y\r\n"), "400"),
        ("a NUL in a name", with_headers(line, "X\0: y\r\n"), "400"),
        ("a NUL in a value", with_headers(line, "X: \0\r\n"), "400"),
        ("a folded line", with_headers(line, "X: y\r\n z\r\n"), "400"),
        ("an empty name", with_headers(line, ": y\r\n"), "400"),
        ("a huge value", with_headers(line, &format!("X: {}\r\n", "y".repeat(80_000))), "431"),
        ("a huge name", with_headers(line, &format!("{}: y\r\n", "x".repeat(80_000))), "431"),
        ("very many headers", with_headers(line, &"X: y\r\n".repeat(101)), "431"),
        ("an unknown transfer encoding", with_headers(line, "Transfer-Encoding: gzip\r\n"), "400"),
        ("both framings", with_headers(line, "Transfer-Encoding: chunked\r\n"), "400 body_unreadable"),
        (
            "chunked in HTTP/1.0",
            with_headers(&format!("POST {STRIPE} HTTP/1.0"), "Transfer-Encoding: chunked\r\n"),
            "400",
        ),
        (
            "an upgrade",
            with_headers(
                line,
                "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n",
            ),
            "200 new",
        ),
        (
            "two events at once",
            [stripe_event("evt_1"), crisis_signal("msg_1")].concat(),
            "200 again | 200 new",
        ),
        ("garbage behind an event", garbage_behind, "200 new | 400"),
        ("an event that waits for leave", continued, "100 | 200 again"),
        ("leave is not given for too much", unsent.into_bytes(), "413 body_too_large"),
        ("CONNECT", b"CONNECT example.org:443 HTTP/1.1\r\n\r\n".to_vec(), "404"),
        ("an asterisk", b"OPTIONS * HTTP/1.1\r\n\r\n".to_vec(), "404"),
    ];
    run(Rig::start().await, cases).await;
}

#[tokio::test]
async fn line_feeds_alone_end_lines_too() {
    let rig = Rig::start().await;
    let request = String::from_utf8(stripe_event("evt_1")).unwrap().replace("\r\n", "\n");
    assert_eq!(rig.send(request.as_bytes()).await, "200 new");
    rig.stop().await;
}

#[tokio::test]
async fn what_is_no_webhook_goes_to_the_fallback_service() {
    let rig = Rig::start().await;
    assert_eq!(rig.send(b"GET / HTTP/1.1\r\n\r\n").await, "200");
    let mut line = rig.connect().await;
    line.write(b"GET /me HTTP/1.1\r\nX-Forwarded-For: 6.6.6.6\r\nConnection: close\r\n\r\n").await;
    let answer = String::from_utf8(line.read_to_end().await).unwrap();
    assert!(answer.ends_with("127.0.0.1"), "{answer}");
    assert_eq!(rig.stats.requests.get(), 0);
    rig.stop().await;
}
