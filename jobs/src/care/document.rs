//! The access document: what a person may use right now, in the shape that apps rely on.

use chrono::{DateTime, SecondsFormat};
use keepwell_workers::clock::UnixMs;
use serde::{Serialize, Serializer};

use super::{
    message::Message,
    resources::{CRISIS_RESOURCES, CrisisResources},
    tiers::{FLOOR, FLOOR_TIER, SyncFrequency},
};

/// An instant that is written as RFC 3339 in UTC, as in `2026-01-31T12:00:00.000Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct UtcTime(pub UnixMs);

impl UtcTime {
    /// Its text; what lies outside the years that can be written becomes the nearest one that can.
    pub fn to_rfc3339(self) -> String {
        let nearest = if self.0 < 0 { DateTime::UNIX_EPOCH } else { DateTime::<chrono::Utc>::MAX_UTC };
        DateTime::from_timestamp_millis(self.0)
            .unwrap_or(nearest)
            .to_rfc3339_opts(SecondsFormat::Millis, true)
    }
}

impl Serialize for UtcTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_rfc3339())
    }
}

/// What a person may use right now, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AccessDocument {
    /// Whom it is about.
    pub customer: String,
    /// Grows with everything that is learned about the person, and with everything that operators switch; 0 for
    /// somebody unknown. Of two documents the one with the higher version is the newer one, whichever node it is from:
    /// one whose clock is slow may for as long tell of a switch that has gone off elsewhere, under the version from
    /// before. While the database is away it is what this process knew last, 0 if that is nothing; such a document is
    /// to be shown, and says nothing of what is newer.
    pub version: i64,
    /// When this was true.
    pub as_of: UtcTime,
    /// The best tier that counts; `floor` if there is none.
    pub tier: String,
    /// The subscription that counts.
    pub subscription: Option<SubscriptionView>,
    /// Whether and how long care goes on although something went wrong.
    pub grace: GraceView,
    /// Whether a crisis opens more than the tier does.
    pub emergency: EmergencyView,
    /// Whether the person is in a crisis.
    pub crisis: CrisisView,
    /// What may be used; always holds the floor.
    pub features: FeaturesView,
    /// How eagerly and how much devices synchronise.
    pub sync: SyncView,
    /// Whom to turn to.
    pub crisis_resources: CrisisResources,
    /// A few supportive words, when there is a reason for them.
    pub message: Option<Message>,
}

/// A subscription.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SubscriptionView {
    /// Its id.
    pub id: String,
    /// Its status, in Stripe's words.
    pub status: String,
    /// When the paid period ends.
    pub period_end: Option<UtcTime>,
    /// When it will end, only there if somebody has asked for that; until then nothing changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cancel_at: Option<UtcTime>,
}

/// Grace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct GraceView {
    /// Whether there is one.
    pub active: bool,
    /// `crisis_detected`, `payment_failure`, `subscription_canceled` or `system_error`.
    pub reason: Option<&'static str>,
    /// When we learned of the reason.
    pub started_at: Option<UtcTime>,
    /// Until when it lasts.
    pub ends_at: Option<UtcTime>,
    /// Days left, a started one counted.
    pub remaining_days: i64,
}

/// Emergency access.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct EmergencyView {
    /// Whether there is one.
    pub active: bool,
    /// `full`, `essential` or `crisis_only`; see [`super::severity::EmergencyLevel`].
    pub level: Option<&'static str>,
    /// `crisis_detected`, `payment_failure` (payments are not looked at now) or `system_error` (we are in trouble).
    pub reason: Option<&'static str>,
    /// Since when.
    pub since: Option<UtcTime>,
    /// Until when; `null` while nobody can say.
    pub until: Option<UtcTime>,
}

/// Crisis.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct CrisisView {
    /// Whether there is one.
    pub active: bool,
    /// `clinical`, `payment`, `system` or `combined`.
    #[serde(rename = "type")]
    pub kind: Option<&'static str>,
    /// `critical`, `high` or `moderate`.
    pub severity: Option<&'static str>,
    /// Since when.
    pub since: Option<UtcTime>,
}

/// Features by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct FeaturesView {
    /// May be used.
    pub enabled: Vec<String>,
    /// Are shown as switched off.
    pub disabled: Vec<String>,
}

/// Synchronisation of devices.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SyncView {
    /// How eagerly.
    pub frequency: SyncFrequency,
    /// Megabytes (10^6 bytes) a person may sync; `null` is no limit.
    pub data_limit_mb: Option<u64>,
}

/// Of somebody who has only the floor: as little as the smallest tier (payment-aware sync, tier feature flags).
pub(crate) const FLOOR_SYNC: SyncView =
    SyncView { frequency: SyncFrequency::Background, data_limit_mb: Some(10) };

impl AccessDocument {
    /// What is true for everybody at any time: the answer when nothing is known, or no database can be asked.
    pub fn floor(customer: &str, now_ms: UnixMs) -> Self {
        Self {
            customer: customer.to_owned(),
            version: 0,
            as_of: UtcTime(now_ms),
            tier: FLOOR_TIER.to_owned(),
            subscription: None,
            grace: GraceView::default(),
            emergency: EmergencyView::default(),
            crisis: CrisisView::default(),
            features: FeaturesView { enabled: FLOOR.map(str::to_owned).to_vec(), disabled: Vec::new() },
            sync: FLOOR_SYNC,
            crisis_resources: CRISIS_RESOURCES,
            message: None,
        }
    }
}

impl AccessDocument {
    /// The same with `resources` to turn to.
    #[must_use]
    pub fn with_resources(self, resources: CrisisResources) -> Self {
        Self { crisis_resources: resources, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_written_as_rfc_3339_in_utc_and_never_fail() {
        assert_eq!(UtcTime(1_700_000_000_123).to_rfc3339(), "2023-11-14T22:13:20.123Z");
        assert!(UtcTime(i64::MAX).to_rfc3339().ends_with('Z'));
        assert_eq!(UtcTime(i64::MIN).to_rfc3339(), "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn the_floor_has_the_shape_that_apps_rely_on() {
        let document = serde_json::to_value(AccessDocument::floor("cus_1", 0)).unwrap();
        assert_eq!(
            document,
            serde_json::json!({
                "customer": "cus_1",
                "version": 0,
                "as_of": "1970-01-01T00:00:00.000Z",
                "tier": "floor",
                "subscription": null,
                "grace": {
                    "active": false, "reason": null, "started_at": null, "ends_at": null, "remaining_days": 0,
                },
                "emergency": { "active": false, "level": null, "reason": null, "since": null, "until": null },
                "crisis": { "active": false, "type": null, "severity": null, "since": null },
                "features": {
                    "enabled": [
                        "crisis_button", "hotline_988", "emergency_contacts", "safety_plan",
                        "breathing_exercises", "phq9_assessment", "gad7_assessment", "basic_check_in",
                    ],
                    "disabled": [],
                },
                "sync": { "frequency": "background", "data_limit_mb": 10 },
                "crisis_resources": {
                    "hotline": "988", "text": "988", "chat_url": "https://988lifeline.org/chat/",
                    "international": "+1-800-273-8255",
                },
                "message": null,
            })
        );
    }

    #[test]
    fn a_document_names_the_lines_of_whoever_asks() {
        let resources = CrisisResources { hotline: "142".into(), ..CRISIS_RESOURCES };
        let document = AccessDocument::floor("cus_1", 0).with_resources(resources.clone());
        assert_eq!(document.crisis_resources, resources);
    }
}
