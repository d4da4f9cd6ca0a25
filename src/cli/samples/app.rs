//! The app's own signals.

use serde_json::{Value, json};

use super::Wish;
use crate::api::instant::rfc3339;

/// The types.
pub(super) const EVENT_TYPES: [&str; 10] = [
    "crisis.signal",
    "crisis.resolved",
    "assessment.completed",
    "contacts.updated",
    "safety_plan.updated",
    "consent.updated",
    "device.registered",
    "device.removed",
    "security.threat",
    "tool.failed",
];

/// The type called `event_type`.
pub(super) fn find(event_type: &str) -> Option<&'static str> {
    EVENT_TYPES.into_iter().find(|known| *known == event_type)
}

/// The signal of type `event_type`.
pub(super) fn signal(event_type: &'static str, wish: &Wish<'_>) -> Result<Value, String> {
    let can_be_crisis = ["crisis.signal", "assessment.completed"].contains(&event_type);
    if wish.crisis && !can_be_crisis {
        return Err(format!("`{event_type}` does not say whether there is a crisis; leave out --crisis"));
    }
    let now = rfc3339(wish.now_ms);
    let mut data = data(event_type, wish.crisis, &now);
    data["customer"] = wish.customer.into();
    Ok(json!({ "type": event_type, "timestamp": now, "data": data }))
}

fn data(event_type: &str, crisis: bool, now: &str) -> Value {
    match event_type {
        "crisis.signal" => json!({ "source": "button", "severity": "critical", "device": "dev_phone" }),
        "crisis.resolved" => json!({ "by": "clinician" }),
        "assessment.completed" => json!({
            "instrument": "phq9",
            "score": if crisis { 24 } else { 7 },
            "suicidal_ideation": crisis,
            "emergency": crisis,
            "completed_at": now,
        }),
        "contacts.updated" => json!({
            "contacts": [{
                "name": "Sam Example",
                "relationship": "friend",
                "phone": "+1-555-0100",
                "preferred_method": "text",
                "available": "always",
            }],
        }),
        "safety_plan.updated" => json!({
            "safety_plan": {
                "warning_signs": ["not sleeping"],
                "coping": ["a walk", "breathing exercises"],
                "reasons_to_live": ["the dog"],
            },
        }),
        "consent.updated" => json!({ "consent": { "emergency_contacts": true } }),
        "device.registered" => {
            json!({ "device": "dev_phone", "platform": "ios", "push": { "kind": "none" }, "locale": "en" })
        }
        "device.removed" => json!({ "device": "dev_phone" }),
        "security.threat" => json!({ "detail": "signed in from an unusual place" }),
        _ => json!({ "detail": "the breathing exercise did not load" }),
    }
}
