//! The types of settings: each one can only hold what makes sense, and none of them shows a secret.

mod choices;
mod connection_url;
mod encryption_key;
mod http_url;
mod named_texts;
mod network;
mod schedule;
mod secret;
mod text_or_table;
mod thresholds;
mod webhook_secret;

pub use choices::{Environment, LogFormat, MissedTicks, OverlappingTicks, ReportPeriod, Role};
pub use connection_url::{DatabaseUrl, RedisUrl};
pub use encryption_key::EncryptionKey;
pub use http_url::HttpUrl;
pub use named_texts::NamedTexts;
pub use network::Network;
pub use schedule::ScheduleEntry;
pub use secret::Secret;
pub use thresholds::{Thresholds, ThresholdsError};
pub use webhook_secret::WebhookSecret;

/// What stands for a secret wherever the configuration is shown.
pub(crate) const REDACTED: &str = "[redacted]";
