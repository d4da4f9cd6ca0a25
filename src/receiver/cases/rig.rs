//! A running receiver and the means to talk to it byte by byte.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{Extension, Router, routing::get};
use keepwell_workers::clock::ManualClock;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::door::MemoryDoor;
use crate::receiver::{
    Receiver,
    address::ClientAddress,
    options::{ReceiverLimits, ReceiverOptions},
    scheme::{
        secret::{Secret, SecretSet},
        standard_webhooks, stripe,
    },
    server::Accept,
    source::Source,
    stats::ReceiverStats,
};

pub(super) const NOW_S: u64 = 1_700_000_000;
pub(super) const STRIPE: &str = "/api/webhooks/stripe";
pub(super) const APP: &str = "/api/webhooks/app";
/// Longer than anything here takes: a test that meets it has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running receiver.
pub(super) struct Rig {
    pub(super) address: SocketAddr,
    pub(super) door: Arc<MemoryDoor>,
    pub(super) stats: Arc<ReceiverStats>,
    pub(super) clock: Arc<ManualClock>,
    pub(super) shutdown: CancellationToken,
    pub(super) sources: Vec<Arc<Source>>,
    serving: JoinSet<()>,
}

impl Rig {
    pub(super) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    pub(super) async fn with_limits(change: impl FnOnce(&mut ReceiverLimits)) -> Self {
        Self::with(|options| change(&mut options.limits)).await
    }

    pub(super) async fn with(change: impl FnOnce(&mut ReceiverOptions)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::listening(listener.local_addr().unwrap(), listener, change)
    }

    pub(super) fn listening(
        address: SocketAddr,
        listener: impl Accept,
        change: impl FnOnce(&mut ReceiverOptions),
    ) -> Self {
        let mut options = ReceiverOptions {
            sources: vec![
                Arc::new(Source::stripe(STRIPE, SecretSet::new(vec![stripe_secret()]).unwrap())),
                Arc::new(Source::app(APP, SecretSet::new(vec![app_secret()]).unwrap())),
            ],
            trusted_proxies: Vec::new(),
            limits: ReceiverLimits {
                unverified_requests_max: 10_000,
                linger_ms: 400,
                ..ReceiverLimits::default()
            },
        };
        change(&mut options);
        let fallback = Router::new()
            .route("/", get(|| async { "home" }).post(|body: String| async move { body }))
            .route(
                "/me",
                get(|Extension(client): Extension<ClientAddress>| async move { client.0.to_string() }),
            );
        let sources = options.sources.clone();
        let (door, stats) = (Arc::new(MemoryDoor::new()), Arc::new(ReceiverStats::new()));
        let clock = ManualClock::at(NOW_S as i64 * 1000);
        let receiver = Receiver::new(options, door.clone(), fallback, clock.clone(), stats.clone());
        let shutdown = CancellationToken::new();
        let mut serving = JoinSet::new();
        serving.spawn(receiver.serve_from(listener, shutdown.clone()));
        Self { address, door, stats, clock, shutdown, sources, serving }
    }

    pub(super) async fn connect(&self) -> Line {
        Line { stream: TcpStream::connect(self.address).await.unwrap() }
    }

    /// Sends `bytes` over a connection of their own and sums up all answers; see [`sum_up`].
    pub(super) async fn send(&self, bytes: &[u8]) -> String {
        let mut line = self.connect().await;
        line.write(bytes).await;
        line.end_writing().await;
        sum_up(&line.read_to_end().await)
    }

    /// Sends `bytes` over a connection of their own and returns the one answer as text.
    pub(super) async fn send_for_text(&self, bytes: &[u8]) -> String {
        let mut line = self.connect().await;
        line.write(bytes).await;
        line.end_writing().await;
        String::from_utf8(line.read_to_end().await).unwrap().to_ascii_lowercase()
    }

    /// Waits until the counters are as they should be.
    pub(super) async fn until(&self, condition: impl Fn(&ReceiverStats) -> bool) {
        let reached = async {
            while !condition(&self.stats) {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, reached).await.expect("the counters get there in time");
    }

    /// Stops the receiver and waits until it has.
    pub(super) async fn stop(mut self) {
        self.shutdown.cancel();
        self.stopped().await;
    }

    /// Waits until the receiver has stopped.
    pub(super) async fn stopped(&mut self) {
        timeout(PATIENCE, self.serving.join_next()).await.unwrap().unwrap().unwrap();
    }
}

/// One connection to a receiver.
pub(super) struct Line {
    pub(super) stream: TcpStream,
}

impl Line {
    /// Writes as much as the other side takes.
    pub(super) async fn write(&mut self, bytes: &[u8]) {
        let _ = timeout(PATIENCE, self.stream.write_all(bytes)).await.unwrap();
    }

    pub(super) async fn end_writing(&mut self) {
        let _ = self.stream.shutdown().await;
    }

    /// Reads until the other side closes, in whatever way it does.
    pub(super) async fn read_to_end(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let _ = timeout(PATIENCE, self.stream.read_to_end(&mut bytes))
            .await
            .expect("the socket is closed in time");
        bytes
    }

    /// Reads one answer and sums it up.
    pub(super) async fn read_answer(&mut self) -> String {
        let mut bytes = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            let read =
                timeout(PATIENCE, self.stream.read(&mut buffer)).await.expect("an answer in time").unwrap();
            assert_ne!(read, 0, "closed after {:?}", String::from_utf8_lossy(&bytes));
            bytes.extend(&buffer[..read]);
            if let Some((_, [])) = split_answer(&bytes) {
                return sum_up(&bytes);
            }
        }
    }
}

/// All answers in `bytes`, separated by ` | `: of each its status, and the `code` of a problem or `new` or `again`
/// for an event; `closed` if there is none.
pub(super) fn sum_up(mut bytes: &[u8]) -> String {
    let mut answers = Vec::new();
    while let Some((answer, rest)) = split_answer(bytes) {
        answers.push(answer);
        bytes = rest;
    }
    assert!(bytes.is_empty(), "half an answer: {:?}", String::from_utf8_lossy(bytes));
    if answers.is_empty() { "closed".into() } else { answers.join(" | ") }
}

fn split_answer(bytes: &[u8]) -> Option<(String, &[u8])> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&bytes[..end]).unwrap().to_ascii_lowercase();
    let status = head.split(' ').nth(1).unwrap();
    let length = head
        .split("content-length: ")
        .nth(1)
        .map_or(0, |length| length.lines().next().unwrap().parse().unwrap());
    let body = bytes.get(end..end + length)?;
    let rest = &bytes[end + length..];
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let word = match (body["code"].as_str(), body["duplicate"].as_bool()) {
        (Some(code), _) => code,
        (None, Some(false)) => "new",
        (None, Some(true)) => "again",
        (None, None) => return Some((status.to_owned(), rest)),
    };
    Some((format!("{status} {word}"), rest))
}

pub(super) fn stripe_secret() -> Secret {
    Secret::stripe("primary", "whsec_test_secret").unwrap()
}

pub(super) fn app_secret() -> Secret {
    Secret::standard_webhooks("app", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap()
}

pub(super) fn event(id: &str) -> String {
    format!(r#"{{"id":"{id}","object":"event","type":"invoice.paid","livemode":true}}"#)
}

/// The signature header of Stripe for `body`, made now.
pub(super) fn signed(body: &[u8]) -> String {
    format!("Stripe-Signature: {}\r\n", stripe::sign(&stripe_secret(), NOW_S, body))
}

/// The three headers of the app for `body`, made now.
pub(super) fn signed_by_app(id: &str, body: &[u8]) -> String {
    let signature = standard_webhooks::sign(&app_secret(), id, NOW_S, body);
    format!("webhook-id: {id}\r\nwebhook-timestamp: {NOW_S}\r\nwebhook-signature: {signature}\r\n")
}

/// The bytes of a POST: header lines end in CRLF, `Content-Length` is added.
pub(super) fn post(path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let mut bytes =
        format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n{headers}\r\n").into_bytes();
    bytes.extend(body);
    bytes
}

/// The bytes of a signed event to the Stripe source.
pub(super) fn stripe_event(id: &str) -> Vec<u8> {
    let body = event(id);
    post(STRIPE, &signed(body.as_bytes()), body.as_bytes())
}

/// The bytes of a signed crisis signal to the app source.
pub(super) fn crisis_signal(id: &str) -> Vec<u8> {
    let body = br#"{"type":"crisis.signal","data":{"customer":"cus_1"}}"#;
    post(APP, &signed_by_app(id, body), body)
}

/// The bytes of a POST whose body is `framed` as it is, chunked.
pub(super) fn chunked(headers: &str, framed: &[u8]) -> Vec<u8> {
    let mut bytes =
        format!("POST {STRIPE} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n{headers}\r\n")
            .into_bytes();
    bytes.extend(framed);
    bytes
}
