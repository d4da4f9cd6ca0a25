//! What a start finds changed of the settings that change care.

use std::collections::BTreeMap;

use keepwell_jobs::store::audit::{AuditFilter, Settings, list, note_configuration};
use serde_json::{Value, json};

use crate::support::{NOW_MS, Room, on_each_database};

fn settings(disabled: &[&str], days: u32) -> Settings {
    BTreeMap::from([
        ("alerts.disabled".to_owned(), json!(disabled)),
        ("care.high_risk_days".to_owned(), days.into()),
    ])
}

/// A start with `settings`, a second later than the one before; what it has found changed.
async fn start(room: &Room, settings: &Settings, after_s: i64) -> Vec<String> {
    let defaults = self::settings(&[], 14);
    let (database, keys, now_ms) = (&room.database, &room.care.keys, NOW_MS + after_s * 1_000);
    note_configuration(database, keys, (settings, &defaults), "here", now_ms).await.unwrap()
}

/// What every entry says of before and after, the newest first.
async fn entries(room: &Room) -> Vec<(Value, Value)> {
    let filter = AuditFilter { action: Some("configuration".to_owned()), ..AuditFilter::default() };
    let page = list(&room.database, &room.care.keys, &filter, None, 100).await.unwrap();
    page.items.into_iter().map(|entry| (entry.before.unwrap(), entry.after.unwrap())).collect()
}

#[tokio::test]
async fn a_start_with_other_settings_than_the_last_is_one_entry_with_what_they_were() {
    on_each_database(async |room| {
        assert_eq!(start(room, &settings(&[], 14), 1).await, [""; 0], "as it is built in");
        let quiet = ["EmergencyAccessActivated"];
        assert_eq!(start(room, &settings(&quiet, 14), 2).await, ["alerts.disabled"]);
        assert_eq!(start(room, &settings(&quiet, 14), 3).await, [""; 0]);
        assert_eq!(start(room, &settings(&quiet, 7), 4).await, ["care.high_risk_days"]);
        assert_eq!(start(room, &settings(&[], 14), 5).await, ["alerts.disabled", "care.high_risk_days"]);
        assert_eq!(start(room, &settings(&[], 14), 6).await, [""; 0]);
        let both = |disabled: &[&str], days: u32| json!({ "alerts.disabled": disabled, "care.high_risk_days": days });
        let found = entries(room).await;
        let expected = [
            (both(&quiet, 7), both(&[], 14)),
            (json!({ "care.high_risk_days": 14 }), json!({ "care.high_risk_days": 7 })),
            (json!({ "alerts.disabled": [] }), json!({ "alerts.disabled": quiet })),
        ];
        assert_eq!(found, expected);
    })
    .await;
}

#[tokio::test]
async fn of_several_that_start_with_the_same_settings_one_says_so() {
    on_each_database(async |room| {
        let new = settings(&[], 30);
        let (one, two, three) =
            tokio::join!(start(room, &new, 1), start(room, &new, 1), start(room, &new, 1));
        assert_eq!([one, two, three].concat(), ["care.high_risk_days"]);
        assert_eq!(entries(room).await.len(), 1);
    })
    .await;
}
