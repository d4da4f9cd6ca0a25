//! How keepwell watches itself.

settings! {
    /// How keepwell watches itself.
    pub struct Monitors in "monitors" {
        /// How often a canary is sent, in milliseconds: a crisis of nobody that goes the whole way of a real one,
        /// through the ledger, the crisis lane and the crisis pool, and is measured. Three in a row that are not
        /// answered, or not in time, make `/health` degraded. Its jobs are kept for an hour and count in no report. 0
        /// sends none; otherwise at least 100.
        canary_every_ms: u64 where 0..=3_600_000,
    }
}
