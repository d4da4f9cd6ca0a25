//! How words reach people.

use std::path::PathBuf;

use crate::values::{HttpUrl, Secret};

settings! {
    /// The notification gateway: a service of yours that brings messages to people and their emergency contacts.
    pub struct Notify in "notify" {
        /// Where messages are posted, as JSON. Unset, nobody is sent anything: neither are people told of their grace
        /// periods, nor emergency contacts of a crisis.
        url: Option<HttpUrl> => "https://notifications.internal/v1/messages",
        /// The bearer token for it.
        token: Option<Secret> => "a-token-of-the-gateway",
        /// How long the gateway may take to answer, in milliseconds.
        timeout_ms: u64 where 100..=20_000,
        /// A file of certificate authorities (PEM) to trust beside those of the web, for a gateway with a certificate
        /// of your own.
        authorities_file: Option<PathBuf> => "/etc/keepwell/authorities.pem",
    }
}
