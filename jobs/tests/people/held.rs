//! Whoever is in need has what that calls for, whatever a process remembers.

use keepwell_jobs::{
    access_held::{Held, look_after},
    care::severity::EMERGENCY_FEATURES,
    store::marked_behind,
};
use keepwell_workers::{
    database::{Durability, turn::Urgency},
    on_connection,
};

use crate::support::{NOW_MS, Room, on_each_database, signal};

async fn held(room: &Room, customer: &str) -> Held {
    look_after(&room.database, &room.care, customer, NOW_MS).await.unwrap()
}

/// Changes the database behind everybody's back.
async fn tamper(room: &Room, sql: &'static str) {
    let mut transaction =
        room.database.begin(Urgency::General, Durability::Relaxed, NOW_MS).await.expect("a transaction");
    on_connection!(transaction, |connection| sqlx::query(sql).execute(connection).await.map(|_| ())).unwrap();
    transaction.commit().await.unwrap();
}

#[tokio::test]
async fn what_is_missing_because_of_what_is_remembered_is_found_and_given_back_at_once() {
    on_each_database(async |room| {
        room.app(&signal("crisis.signal", "cus_1", 5, r#","severity":"moderate""#)).await;
        assert_eq!(held(room, "cus_1").await, Held::All);
        assert_eq!(held(room, "nobody").await, Held::All);
        assert_eq!(room.care.tallies.access(), [2, 0, 0]);

        tamper(room, "UPDATE crisis_signals SET severity = 'critical'").await;
        let Held::Missing { features, still } = held(room, "cus_1").await else {
            panic!("nothing was missing")
        };
        assert!(!features.is_empty() && !features.iter().any(|it| EMERGENCY_FEATURES.contains(&it.as_str())));
        assert_eq!(still, [""; 0]);
        assert_eq!(room.access("cus_1", NOW_MS).await.emergency.level, Some("full"));
        assert_eq!(held(room, "cus_1").await, Held::All);
        assert_eq!(room.care.tallies.access(), [4, 1, 1]);
    })
    .await;
}

#[tokio::test]
async fn everybody_who_is_marked_is_found_page_by_page() {
    on_each_database(async |room| {
        for customer in ["cus_3", "cus_1", "cus_2"] {
            room.app(&signal("crisis.signal", customer, 5, r#","severity":"high""#)).await;
        }
        room.app(&signal("assessment.completed", "cus_0", 5, r#","instrument":"phq9","score":1"#)).await;
        let mut reader = room.database.reader(Urgency::General).await.unwrap();
        for (after, expected) in [("", ["cus_1", "cus_2"].as_slice()), ("cus_2", &["cus_3"]), ("cus_3", &[])]
        {
            assert_eq!(marked_behind(&mut reader, after, NOW_MS, 2).await.unwrap(), expected);
        }
        let later_ms = NOW_MS + 90 * crate::support::DAY_MS;
        assert_eq!(marked_behind(&mut reader, "", later_ms, 2).await.unwrap(), [""; 0], "it is long over");
    })
    .await;
}
