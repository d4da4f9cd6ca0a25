//! Everything about the receiver that can be set. The wiring fills it in from the configuration.

use std::sync::Arc;

use ipnet::IpNet;

use super::source::Source;

/// What the receiver is to serve, to whom, and within which limits.
#[derive(Debug, Clone)]
pub struct ReceiverOptions {
    /// Who may post events. The caller keeps the `Arc`s to swap secrets and networks at run time.
    pub sources: Vec<Arc<Source>>,
    /// The peers whose `Forwarded` or `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// What one machine and one sender may take.
    pub limits: ReceiverLimits,
}

/// The limits of the receiver. Those on bodies and requests in flight hold for webhooks only; those on connections,
/// headers and idleness for everything on the listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReceiverLimits {
    /// The largest body of a webhook, in bytes. Real events have 2 to 60 KiB.
    pub body_bytes_max: usize,
    /// How long a body may take to arrive, in milliseconds.
    pub body_read_ms: u64,
    /// How long a body may take when others wait for its place, in milliseconds: the slowest are given up first.
    pub body_read_contended_ms: u64,
    /// Webhooks in flight, from before the body is read until the answer is made.
    pub requests_in_flight_max: usize,
    /// How many of [`requests_in_flight_max`](Self::requests_in_flight_max) only crisis sources may take.
    pub requests_in_flight_reserved: usize,
    /// Webhooks waiting for a place in flight; as many again from crisis sources.
    pub requests_waiting_max: usize,
    /// How long a webhook waits for a place in flight before it is answered 503, in milliseconds.
    pub place_wait_ms: u64,
    /// How long a webhook from a crisis source waits for a place in flight, in milliseconds. Longer, because a crisis
    /// is never shed to relieve load: it is refused only when even the reserved places have stood still for this
    /// long.
    pub place_wait_crisis_ms: u64,
    /// How long recording one event may take before it is answered 503, in milliseconds.
    pub record_ms: u64,
    /// Requests per [`unverified_window_ms`](Self::unverified_window_ms) and client address (an IPv6 client's /64) that
    /// may fail verification; those beyond are answered 429 as soon as they fail.
    pub unverified_requests_max: u32,
    /// The window of [`unverified_requests_max`](Self::unverified_requests_max), in milliseconds.
    pub unverified_window_ms: u64,
    /// Client addresses told apart; when there are more, those beyond share one budget.
    pub unverified_addresses_max: usize,
    /// Open connections; the kernel holds further ones back until some close.
    pub connections_max: usize,
    /// How long a connection may take over the headers of a request, in milliseconds.
    pub header_read_ms: u64,
    /// How long a connection may lie idle between requests, in milliseconds. More than the 60 s that proxies keep
    /// theirs, so that the proxy closes first and no request is sent into a closing connection.
    pub idle_ms: u64,
    /// The patience with idle and slow connections when [`connections_max`](Self::connections_max) is reached, in
    /// milliseconds.
    pub idle_contended_ms: u64,
    /// How long what a client still sends is read after the last answer, so that the answer is not lost with the
    /// connection, in milliseconds.
    pub linger_ms: u64,
    /// The headers of one request, in number (HTTP/1).
    pub headers_max: usize,
    /// The headers of one request, in bytes; at least 8192.
    pub header_bytes_max: usize,
    /// Requests in flight on one HTTP/2 connection.
    pub streams_per_connection_max: u32,
    /// How long requests in flight may take to finish at shutdown, in milliseconds.
    pub shutdown_ms: u64,
}

impl Default for ReceiverLimits {
    fn default() -> Self {
        Self {
            body_bytes_max: 1 << 20,
            body_read_ms: 10_000,
            body_read_contended_ms: 1_000,
            requests_in_flight_max: 512,
            requests_in_flight_reserved: 102,
            requests_waiting_max: 2_048,
            place_wait_ms: 5_000,
            place_wait_crisis_ms: 20_000,
            record_ms: 15_000,
            unverified_requests_max: 100,
            unverified_window_ms: 60_000,
            unverified_addresses_max: 65_536,
            connections_max: 8_192,
            header_read_ms: 10_000,
            idle_ms: 75_000,
            idle_contended_ms: 1_000,
            linger_ms: 1_000,
            headers_max: 100,
            header_bytes_max: 64 << 10,
            streams_per_connection_max: 64,
            shutdown_ms: 20_000,
        }
    }
}
