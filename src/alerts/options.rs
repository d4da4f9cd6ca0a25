//! How alerts are set up, as the configuration says.

use std::{fs, io, path::PathBuf, time::Duration};

use chrono_tz::Tz;
use keepwell_config::{
    Config,
    values::{HttpUrl, Secret, WebhookSecret},
};
use keepwell_jobs::{
    alerts::{
        plan::Habits,
        rule::Rule,
        rules::{self, RULES},
        threshold::{ThresholdError, Thresholds},
    },
    outbound::alerts::{AlertDelivery, ReceiverError, ReceiverOptions},
};
use keepwell_workers::{clock::SharedClock, database::Database};

/// The alerts cannot be used as they are configured.
#[derive(Debug, thiserror::Error)]
pub enum AlertsError {
    /// A receiver.
    #[error(transparent)]
    Receiver(#[from] ReceiverError),
    /// The authorities.
    #[error("the file {0} (`alerts.authorities_file`) cannot be read")]
    AuthoritiesFile(PathBuf, #[source] io::Error),
    /// The time zone.
    #[error("no time zone is called `{0}` (`alerts.time_zone`); it is a name such as Europe/Berlin")]
    TimeZone(String),
    /// A rule that is not watched.
    #[error("no rule is called `{0}` (`alerts.disabled`); `keepwell alert rules` lists all")]
    Rule(String),
    /// A bound that no rule can go by.
    #[error("`alerts.thresholds` cannot be used")]
    Thresholds(#[from] ThresholdError),
}

/// What brings alerts to their receivers, if `config` names one. Bounds that no rule can go by are refused even if not:
/// operators are shown them.
pub fn delivery(
    config: &Config,
    database: &Database,
    clock: &SharedClock,
) -> Result<Option<AlertDelivery>, AlertsError> {
    thresholds(config)?;
    let alerts = &config.alerts;
    if !alerts.has_receiver() {
        return Ok(None);
    }
    let file = alerts.authorities_file.as_ref();
    let read =
        |file: &PathBuf| fs::read(file).map_err(|error| AlertsError::AuthoritiesFile(file.clone(), error));
    let authorities = file.map(read).transpose()?;
    let key = alerts.webhook_secret.as_ref().and_then(WebhookSecret::standard_webhooks_key);
    let options = ReceiverOptions {
        pagerduty_url: alerts.pagerduty_url.as_str(),
        routing_key: alerts.pagerduty_routing_key.as_ref().map(Secret::expose),
        escalation_key: alerts.escalation_routing_key.as_ref().map(Secret::expose),
        slack_url: alerts.slack_url.as_ref().map(Secret::expose),
        webhook: alerts.webhook_url.as_ref().map(HttpUrl::as_str).zip(key),
        timeout_ms: alerts.timeout_ms,
        authorities: authorities.as_deref(),
    };
    Ok(Some(AlertDelivery::new(&options, database.clone(), clock.clone())?))
}

/// What `config` says about alerts, in words, if it can be used. The receivers' certificates are [`delivery`]'s matter.
pub(crate) fn described(config: &Config) -> Result<String, AlertsError> {
    let alerts = &config.alerts;
    let (rules, thresholds) = (watched(config)?, thresholds(config)?);
    if !alerts.has_receiver() {
        return Ok("nobody is told when something is wrong".to_owned());
    }
    let _zone = time_zone(config)?;
    let receivers = [
        ("PagerDuty", alerts.pagerduty_routing_key.is_some()),
        ("PagerDuty (escalation)", alerts.escalation_routing_key.is_some()),
        ("a channel", alerts.slack_url.is_some()),
        ("a webhook", alerts.webhook_url.is_some()),
    ];
    let told: Vec<&str> = receivers.iter().filter(|(_, is_told)| *is_told).map(|(name, _)| *name).collect();
    let changed = match RULES.into_iter().filter(|rule| thresholds.is_changed(rule)).count() {
        0 => String::new(),
        changed => format!(" ({changed} with bounds of their own)"),
    };
    Ok(format!("{} rules{changed}, told to {}; not called now", rules.len(), told.join(", ")))
}

fn time_zone(config: &Config) -> Result<Tz, AlertsError> {
    let name = &config.alerts.time_zone;
    name.parse().map_err(|_| AlertsError::TimeZone(name.chars().take(80).collect()))
}

/// The rules that are not switched off.
fn watched(config: &Config) -> Result<Vec<&'static Rule>, AlertsError> {
    let disabled = &config.alerts.disabled;
    if let Some(unknown) = disabled.iter().find(|name| rules::rule(name).is_none()) {
        return Err(AlertsError::Rule(unknown.chars().take(80).collect()));
    }
    let is_watched = |rule: &&'static Rule| !disabled.iter().any(|name| name == rule.name);
    Ok(RULES.into_iter().filter(is_watched).collect())
}

/// The bounds that the rules go by.
pub(crate) fn thresholds(config: &Config) -> Result<Thresholds, AlertsError> {
    Ok(Thresholds::new(config.alerts.thresholds.iter())?)
}

/// How it is watched, and how alerts are told of.
#[derive(Debug, Clone)]
pub(crate) struct AlertOptions {
    pub(crate) habits: Habits,
    pub(super) rules: Vec<&'static Rule>,
    pub(super) thresholds: Thresholds,
    pub(super) look_every: Duration,
    pub(super) digest_hour: u32,
    pub(super) time_zone: Tz,
}

/// The same, as `config` says.
pub(super) fn alert_options(config: &Config, delivery: &AlertDelivery) -> Result<AlertOptions, AlertsError> {
    let alerts = &config.alerts;
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let ms = |minutes: u32| i64::from(minutes) * 60_000;
    let habits = Habits {
        receivers: delivery.receivers(),
        repeat_ms: ms(alerts.repeat_minutes),
        escalate_ms: ms(alerts.escalate_after_minutes),
        quiet_ms: i64::try_from(alerts.resolve_after_ms).unwrap_or(i64::MAX),
        source: format!("{} on {host}", config.environment_label()),
    };
    Ok(AlertOptions {
        habits,
        rules: watched(config)?,
        thresholds: thresholds(config)?,
        look_every: Duration::from_millis(alerts.look_every_ms),
        digest_hour: alerts.digest_hour,
        time_zone: time_zone(config)?,
    })
}
