//! What people get: tiers, and where to find help.

use std::path::PathBuf;

use crate::values::HttpUrl;

settings! {
    /// The rules of care.
    pub struct Care in "care" {
        /// A file in the shape of the built-in `tiers.toml`, to be used instead: tiers, their features, and
        /// the prices that buy them.
        tiers_file: Option<PathBuf> => "/etc/keepwell/tiers.toml",
        /// The time within which a crisis must have been answered to count as compliant in health and metrics,
        /// in milliseconds. It never slows anything down; keepwell is always as fast as it can.
        crisis_response_ms: u64 where 1..=60_000,
    }
}

settings! {
    /// Where people find help at once. Shown with every message and answered from memory, whatever else is
    /// broken.
    pub struct CrisisResources in "crisis_resources" {
        /// The number to call.
        hotline: String,
        /// The number to send a text message to.
        text: String,
        /// The page to chat with somebody.
        chat_url: HttpUrl,
        /// The number to call from abroad.
        international: String,
    }
}
