//! Who is told when something is wrong with keepwell.

use std::path::PathBuf;

use crate::values::{HttpUrl, Secret, Thresholds, WebhookSecret};

settings! {
    /// Alerts for those who run keepwell: what is critical at once, warnings within the hour, everything else in a
    /// daily digest. Without a receiver (PagerDuty, a channel or a webhook) nothing is watched. `config/alerts/` has
    /// the same rules for Prometheus. A daemon judges by the figures of its own process, Prometheus by those of all
    /// nodes together: where there are several, what is counted comes to a bound per process here, and later.
    pub struct Alerts in "alerts" {
        /// PagerDuty: the routing key (integration key) of the service that is told of what is critical, and, if there
        /// is neither a channel nor a webhook, of warnings.
        pagerduty_routing_key: Option<Secret> => "0123456789abcdef0123456789abcdef",
        /// The routing key of another service of PagerDuty, which is told of what is critical and nobody has
        /// acknowledged within `alerts.escalate_after_minutes`.
        escalation_routing_key: Option<Secret> => "fedcba9876543210fedcba9876543210",
        /// PagerDuty's Events API v2.
        pagerduty_url: HttpUrl,
        /// The incoming webhook of a channel, of Slack or of anything that takes what Slack takes. The address is a
        /// secret: whoever knows it can write there. It has nothing to tell a second delivery by, as PagerDuty and
        /// signed webhooks have: where its answer is lost, or keepwell is killed in that moment, it is told twice
        /// rather than not at all.
        slack_url: Option<Secret> => "https://hooks.slack.com/services/T000/B000/secret",
        /// A webhook of your own.
        webhook_url: Option<HttpUrl> => "https://alerts.internal/keepwell",
        /// What it is signed with, as Standard Webhooks says: `whsec_` and base64 of 24 to 64 bytes.
        webhook_secret: Option<WebhookSecret> => "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        /// How long a receiver may take to answer, in milliseconds.
        timeout_ms: u64 where 100..=30_000,
        /// A file of certificate authorities (PEM) to trust beside those of the web, for a receiver with a certificate
        /// of your own.
        authorities_file: Option<PathBuf> => "/etc/keepwell/authorities.pem",
        /// After how many minutes a critical alert that nobody has acknowledged is escalated: told again, to
        /// `alerts.escalation_routing_key` too, and noted in the audit trail.
        escalate_after_minutes: u32 where 1..=1_440,
        /// After how many minutes an alert that is still open and that nobody has acknowledged is told again.
        repeat_minutes: u32 where 5..=10_080,
        /// How often it is looked whether something is wrong, in milliseconds.
        look_every_ms: u64 where 100..=600_000,
        /// An alert is over when no process has seen it for so long, in milliseconds; at least four times
        /// `alerts.look_every_ms`.
        resolve_after_ms: u64 where 1_000..=3_600_000,
        /// The hour of the day, in `alerts.time_zone`, at which the digest is sent to the channel and the webhook.
        digest_hour: u32 where 0..=23,
        /// The time zone of `alerts.digest_hour`.
        time_zone: String,
        /// Rules that are not watched, by name, such as `EmergencyAccessActivated` where crises are many.
        /// `keepwell alert rules` lists all.
        disabled: Vec<String>,
        /// Bounds other than those of the table of rules, each by its rule's name; the unit is the one of the rule's
        /// figure: seconds, a count, a share from 0 to 1. In the file also a table `[alerts.thresholds]`, behind
        /// everything else of `[alerts]`. `keepwell alert rules` shows the bounds that are in force and which of them
        /// are changed, `keepwell alert rules --prometheus` prints the rules for Prometheus with them. A rule that
        /// nothing is measured for (`AlertTest`, `CrisisRehearsalFailed`) has none.
        thresholds: Thresholds => { MemoryHigh = 0.9, LaneWaiting = 1800 },
    }
}

impl Alerts {
    /// Whether somebody can be told.
    pub fn has_receiver(&self) -> bool {
        self.pagerduty_routing_key.is_some() || self.slack_url.is_some() || self.webhook_url.is_some()
    }
}
