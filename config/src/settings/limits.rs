//! What a client may ask of us before it is told to wait.

settings! {
    /// The limits of the public listener. Crisis sources have a share of their own.
    pub struct Limits in "limits" {
        /// The largest body of a request, in bytes. Stripe's invoices have 20 to 60 KB.
        body_bytes_max: usize where 1_024..=4_194_304,
        /// The largest head of a request, in bytes.
        header_bytes_max: usize where 8_192..=1_048_576,
        /// How long a client may take to send the head of a request, in milliseconds.
        header_read_timeout_ms: u64 where 100..=120_000,
        /// How long a client may take to send the body of a request, in milliseconds.
        body_read_timeout_ms: u64 where 100..=300_000,
        /// How long a connection may stay open without a request, in milliseconds. Longer than the proxy in
        /// front keeps its own connections, or requests get lost in between.
        keep_alive_timeout_ms: u64 where 1_000..=600_000,
        /// How long it may take to record a webhook before it is answered 503 and its sender tries again, in
        /// milliseconds.
        answer_timeout_ms: u64 where 100..=30_000,
        /// The most connections open at a time.
        connections_max: usize where 16..=1_000_000,
        /// The most webhooks being read and recorded at a time.
        requests_in_flight_max: usize where 4..=100_000,
        /// The share of `limits.requests_in_flight_max` that only crisis sources may use, in percent.
        crisis_reserved_percent: u32 where 1..=90,
        /// How many requests that could not be verified one client address may send per window before it is
        /// answered 429. A verified event is never refused for its number.
        unverified_requests_max: u32 where 1..=1_000_000,
        /// The length of that window, in milliseconds.
        unverified_window_ms: u64 where 100..=3_600_000,
        /// How many client addresses are remembered for it; beyond that the oldest are forgotten.
        unverified_addresses_max: usize where 1_000..=10_000_000,
    }
}
