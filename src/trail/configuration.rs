//! Which settings that change care a daemon was started with: what is new of them is in the audit trail, with what it
//! was before.

use std::time::Duration;

use keepwell_config::{Config, Purpose, Sources, TIERS_TOML};
use keepwell_jobs::store::audit::{Settings, note_configuration};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::Trail;

/// Before a database that did not take it is asked again.
const AGAIN_AFTER: Duration = Duration::from_secs(2);

/// The settings of `config` that change what people get or what somebody is alerted of, with the tiers that it names,
/// which are `tiers`. None of them is a secret, and none is read again before the next start.
fn settings(config: &Config, tiers: &str) -> Settings {
    let mut settings = Settings::new();
    if let Ok(Value::Object(care)) = serde_json::to_value(&config.care) {
        settings.extend(care.into_iter().map(|(name, value)| (format!("care.{name}"), value)));
    }
    // Who edits the file changes care as well, and what stands in it is too long to be told twice.
    settings.insert("tiers_sha256".to_owned(), hex::encode(Sha256::digest(tiers)).into());
    settings.insert("alerts.disabled".to_owned(), json!(config.alerts.disabled));
    settings
}

/// What is noted of a start. What is not configured is as it is built in.
#[derive(Debug)]
pub(crate) struct Started {
    settings: Settings,
    defaults: Settings,
    host: String,
}

impl Started {
    /// A start with `config` and these `tiers`, on `host`.
    pub(crate) fn with(config: &Config, tiers: &str, host: String) -> Self {
        let defaults = Config::load(&Sources::new([], Purpose::Client));
        let defaults = defaults.map(|loaded| settings(&loaded.config, TIERS_TOML)).unwrap_or_default();
        Self { settings: settings(config, tiers), defaults, host }
    }

    /// Has `trail` note what is new, as soon as the database takes it, unless `stop` comes first.
    pub(crate) async fn note(self, trail: Trail, stop: CancellationToken) {
        let Self { settings, defaults, host } = self;
        loop {
            let Trail { database, keys, clock, .. } = &trail;
            let noted =
                note_configuration(database, keys, (&settings, &defaults), &host, clock.now_ms()).await;
            match noted {
                Ok(names) if names.is_empty() => return,
                Ok(names) => {
                    return tracing::warn!(target: "keepwell::audit", action = "configuration.changed",
                        settings = names.join(" "), "this start has other settings than the last one");
                }
                Err(error) => tracing::debug!(%error, "which settings are new cannot be noted now"),
            }
            tokio::select! {
                () = sleep(AGAIN_AFTER) => {}
                () = stop.cancelled() => return,
            }
        }
    }
}
