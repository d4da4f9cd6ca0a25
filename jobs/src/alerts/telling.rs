//! What a receiver is told: the payload of the job `alert.told`, complete in itself.

use keepwell_workers::{clock::UnixMs, id::JobId, job::NewJob, lane::Lane};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::rule::Severity;
use crate::kinds;

/// Who is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Receiver {
    /// PagerDuty, Events API v2.
    Pagerduty,
    /// Another service of PagerDuty, for alerts that nobody has acknowledged in time.
    Escalation,
    /// An incoming webhook as Slack has them.
    Slack,
    /// A signed webhook.
    Webhook,
}

impl Receiver {
    /// All of them.
    pub const ALL: [Receiver; 4] =
        [Receiver::Pagerduty, Receiver::Escalation, Receiver::Slack, Receiver::Webhook];

    /// Its name in metrics, payloads and keys.
    pub const fn name(self) -> &'static str {
        match self {
            Receiver::Pagerduty => "pagerduty",
            Receiver::Escalation => "escalation",
            Receiver::Slack => "slack",
            Receiver::Webhook => "webhook",
        }
    }

    /// Whether it keeps one incident for each alert, so that each is told by itself.
    pub const fn keeps_incidents(self) -> bool {
        matches!(self, Receiver::Pagerduty | Receiver::Escalation)
    }

    /// Whether it knows an alert again by its id, so that whatever began there under one has to end under it. A channel
    /// is read by people, who go by the rule.
    pub const fn goes_by_id(self) -> bool {
        !matches!(self, Receiver::Slack)
    }
}

/// What became of alerts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// They are open.
    Triggered,
    /// They are open, and nobody has acknowledged them in time.
    Escalated,
    /// Somebody has taken them on.
    Acknowledged,
    /// They are over.
    Resolved,
    /// What was open since the last digest.
    Digest,
}

impl Action {
    /// Its name in payloads and keys.
    pub const fn name(self) -> &'static str {
        match self {
            Action::Triggered => "triggered",
            Action::Escalated => "escalated",
            Action::Acknowledged => "acknowledged",
            Action::Resolved => "resolved",
            Action::Digest => "digest",
        }
    }
}

/// An alert as it is told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToldAlert {
    /// Its identity; what receivers tell alerts apart by.
    pub id: String,
    /// Its rule.
    pub rule: String,
    /// What it is about, where a rule has several.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub cause: String,
    /// How bad it is.
    pub severity: Severity,
    /// What is the matter.
    pub summary: String,
    /// What to do first.
    pub runbook: String,
    /// The figure when it was last seen.
    pub value: Option<f64>,
    /// Which node saw it first.
    pub source: String,
    /// Since when.
    pub opened_ms: UnixMs,
    /// Until when, if it is over.
    pub resolved_ms: Option<UnixMs>,
    /// Who has acknowledged it.
    pub acknowledged_by: Option<String>,
}

impl ToldAlert {
    /// Under which identity a signed webhook hears of this `action` on it for the `time`th time: the same from every
    /// process and in every life of one, with the database or without, so that it is taken once. It is escalated once,
    /// whatever the time.
    pub fn known_as(&self, action: Action, time: i64) -> String {
        let time = if action == Action::Escalated { 1 } else { time };
        if action == Action::Triggered && time <= 1 {
            return self.id.clone();
        }
        let digest = Sha256::digest(format!("{}:{}:{time}", self.id, action.name()));
        let mut name = [0; 10];
        name.copy_from_slice(&digest[..10]);
        JobId::named(self.opened_ms, &name).to_string()
    }
}

/// What a receiver is told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Telling {
    /// Who is told.
    pub receiver: Receiver,
    /// What became of them.
    pub action: Action,
    /// The alerts; of one that [keeps incidents](Receiver::keeps_incidents) exactly one.
    pub alerts: Vec<ToldAlert>,
    /// When it was decided to tell.
    pub at_ms: UnixMs,
    /// Under which identity a signed webhook may have heard of it already, if that is not the job's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known_as: Option<String>,
}

impl Telling {
    /// The job that tells it. `time` says which time of telling the same it is, so that it is told once.
    pub fn job(&self, time: i64) -> NewJob {
        let (receiver, action) = (self.receiver.name(), self.action.name());
        let first = self.alerts.first().map_or("none", |alert| alert.id.as_str());
        let worst = self.alerts.iter().map(|alert| alert.severity).max();
        let lane = match (self.action, worst) {
            (Action::Digest, _) => Lane::Background,
            // Before payments, and never where a crisis waits.
            (_, Some(Severity::Critical)) => Lane::Therapeutic,
            _ => Lane::Standard,
        };
        // One after the other: that it began before that it is over. What has to wait lets the next one pass, and is
        // told as it is by then.
        let turn = if self.receiver.keeps_incidents() {
            format!("alert:{receiver}:{first}")
        } else {
            format!("alert:{receiver}")
        };
        // A struct of texts and numbers always becomes JSON.
        let payload = serde_json::to_string(self).unwrap_or_default();
        NewJob::new(kinds::ALERT_TOLD, lane, payload)
            .subject(format!("alert:{first}"))
            .turn(turn)
            .dedupe_key(format!("alert:{action}:{receiver}:{first}:{time}"))
    }
}
