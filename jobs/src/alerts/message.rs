//! The words for each receiver.

use serde_json::{Value, json};

use super::{
    rule::Severity,
    telling::{Action, Telling, ToldAlert},
};
use crate::care::document::UtcTime;

/// Alerts that one message shows; it says how many more there are. Slack takes 50 blocks.
const SHOWN_MAX: usize = 20;

/// The document for PagerDuty's Events API v2 (<https://developer.pagerduty.com/docs/send-alert-event>). `None` if it
/// is about no alert, or nothing that PagerDuty knows.
pub fn pagerduty(telling: &Telling, routing_key: &str) -> Option<Value> {
    let alert = telling.alerts.first()?;
    let event_action = match telling.action {
        Action::Triggered | Action::Escalated => "trigger",
        Action::Acknowledged => "acknowledge",
        Action::Resolved => "resolve",
        Action::Digest => return None,
    };
    let mut event = json!({
        "routing_key": routing_key,
        "event_action": event_action,
        "dedup_key": format!("keepwell:{}", alert.id),
    });
    if event_action == "trigger" {
        event["client"] = "keepwell".into();
        event["payload"] = json!({
            "summary": line(alert),
            "source": alert.source,
            "severity": alert.severity.name(),
            "timestamp": UtcTime(alert.opened_ms),
            "component": "keepwell",
            "class": alert.rule,
            "custom_details": { "value": alert.value, "cause": alert.cause, "runbook": alert.runbook },
        });
    }
    Some(event)
}

/// The message for an incoming webhook as Slack has them: `text` for notifications, `blocks` for the channel.
pub fn slack(telling: &Telling) -> Value {
    let head = headline(telling);
    let mut blocks = vec![json!({
        "type": "section", "text": { "type": "mrkdwn", "text": format!("*{}*", escaped(&head)) },
    })];
    for alert in telling.alerts.iter().take(SHOWN_MAX) {
        let mut text = format!(
            "*{}* {}\nsince {}",
            alert.severity.name(),
            escaped(&line(alert)),
            UtcTime(alert.opened_ms).to_rfc3339()
        );
        if let Some(resolved_ms) = alert.resolved_ms {
            text.extend([" until ", &UtcTime(resolved_ms).to_rfc3339()]);
        }
        if let Some(by) = &alert.acknowledged_by {
            text.extend([", acknowledged by ", &escaped(by)]);
        }
        if matches!(telling.action, Action::Triggered | Action::Escalated) && alert.resolved_ms.is_none() {
            text.extend(["\n", &escaped(&alert.runbook), "\n`keepwell alert acknowledge ", &alert.id, "`"]);
        }
        blocks.push(json!({ "type": "section", "text": { "type": "mrkdwn", "text": text } }));
    }
    if let Some(more) = telling.alerts.len().checked_sub(SHOWN_MAX).filter(|more| *more > 0) {
        let text = format!("and {more} more: `keepwell alert list`");
        blocks.push(json!({ "type": "section", "text": { "type": "mrkdwn", "text": text } }));
    }
    json!({ "text": escaped(&head), "blocks": blocks })
}

/// The document of a signed webhook, in the form that Standard Webhooks recommends.
pub fn webhook(telling: &Telling) -> Value {
    let alert = |alert: &ToldAlert| {
        json!({
            "id": alert.id,
            "rule": alert.rule,
            "cause": alert.cause,
            "severity": alert.severity.name(),
            "summary": alert.summary,
            "runbook": alert.runbook,
            "value": alert.value,
            "source": alert.source,
            "opened_at": UtcTime(alert.opened_ms),
            "resolved_at": alert.resolved_ms.map(UtcTime),
            "acknowledged_by": alert.acknowledged_by,
        })
    };
    json!({
        "type": format!("alert.{}", telling.action.name()),
        "timestamp": UtcTime(telling.at_ms),
        "data": { "alerts": telling.alerts.iter().map(alert).collect::<Vec<Value>>() },
    })
}

fn headline(telling: &Telling) -> String {
    let alerts = &telling.alerts;
    if telling.action == Action::Digest {
        if alerts.is_empty() {
            return "keepwell: nothing has gone wrong since the last digest".to_owned();
        }
        let open = alerts.iter().filter(|alert| alert.resolved_ms.is_none()).count();
        let critical = alerts.iter().filter(|alert| alert.severity == Severity::Critical).count();
        return format!(
            "keepwell: {} since the last digest, {critical} of them critical, {open} still open",
            count(alerts.len())
        );
    }
    let action = match telling.action {
        // Whoever was away when it began must not take it for the news.
        Action::Triggered | Action::Escalated if alerts.iter().all(|alert| alert.resolved_ms.is_some()) => {
            "over by now, triggered before"
        }
        Action::Escalated => "not acknowledged by anybody",
        action => action.name(),
    };
    match &alerts[..] {
        [alert] => format!("{action}: {}", line(alert)),
        alerts => format!("{action}: {}", count(alerts.len())),
    }
}

fn count(alerts: usize) -> String {
    if alerts == 1 { "1 alert".to_owned() } else { format!("{alerts} alerts") }
}

/// An alert in one line. Short enough for PagerDuty, which takes 1024 characters.
fn line(alert: &ToldAlert) -> String {
    let about = if alert.cause.is_empty() { String::new() } else { format!(" ({})", alert.cause) };
    format!("{}: {}{about}", alert.rule, alert.summary)
}

/// As Slack wants its three special characters.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
