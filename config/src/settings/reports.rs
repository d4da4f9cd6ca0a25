//! Where reports go.

use std::path::PathBuf;

use crate::values::{HttpUrl, Secret};

settings! {
    /// Where reports go that are made on schedule (a schedule of the kind `report.due`, with the payload
    /// `{ report = "crisis", period = "month", time_zone = "Europe/Berlin" }`). They are kept in the database
    /// whether they go anywhere or not.
    pub struct Reports in "reports" {
        /// A directory: each report is written there as JSON, CSV and a page, with a signature beside each.
        directory: Option<PathBuf> => "/var/lib/keepwell/reports",
        /// An address: each report is posted there as JSON, with its signature.
        url: Option<HttpUrl> => "https://compliance.internal/v1/reports",
        /// The bearer token for it.
        token: Option<Secret> => "a-token-of-the-receiver",
        /// How long it may take to answer, in milliseconds.
        timeout_ms: u64 where 100..=60_000,
        /// A file of certificate authorities (PEM) to trust beside those of the web, for a receiver with a certificate
        /// of your own.
        authorities_file: Option<PathBuf> => "/etc/keepwell/authorities.pem",
    }
}
