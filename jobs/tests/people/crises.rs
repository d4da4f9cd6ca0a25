//! Crises: open at once, seen by the door, over when somebody says so.

use bytes::Bytes;
use keepwell_jobs::{
    Care,
    care::{document::AccessDocument, tiers::FLOOR_TIER},
    intake::{event_types::EventTypes, read_app, read_stripe},
    marks::Marks,
};
use keepwell_workers::{
    clock::ManualClock,
    database::Dialect,
    lane::Lane,
    outcome::Outcome,
    seal::{KeyRing, SealingKey},
};
use zeroize::Zeroizing;

use crate::support::{DAY_MS, NOW_MS, event, invoice, on_each_database, signal, subscription};

#[tokio::test]
async fn a_crisis_opens_everything_at_once_for_somebody_unknown_too() {
    on_each_database(async |room| {
        assert_eq!(room.access("cus_1", NOW_MS).await.tier, FLOOR_TIER);
        let button = signal("crisis.signal", "cus_1", 5, r#","source":"button","severity":"critical""#);
        assert_eq!(room.app(&button).await, Outcome::Done);
        let document = room.access("cus_1", NOW_MS).await;
        assert_eq!((document.crisis.active, document.crisis.severity), (true, Some("critical")));
        assert_eq!((document.emergency.active, document.emergency.level), (true, Some("full")));
        assert_eq!((document.grace.reason, document.grace.remaining_days), (Some("crisis_detected"), 30));
        assert!(document.features.enabled.iter().any(|feature| feature == "advanced_crisis_features"));
        assert!(!room.access("cus_2", NOW_MS).await.crisis.active);
    })
    .await;
}

#[tokio::test]
async fn a_resolved_crisis_leaves_its_grace_behind() {
    on_each_database(async |room| {
        room.app(&signal("crisis.signal", "cus_1", 9, r#","severity":"high""#)).await;
        room.app(&signal("crisis.resolved", "cus_1", 3, r#","by":"clinician""#)).await;
        let document = room.access("cus_1", NOW_MS).await;
        assert!(!document.crisis.active && !document.emergency.active);
        assert_eq!((document.grace.reason, document.grace.remaining_days), (Some("crisis_detected"), 21));
        room.app(&signal("crisis.signal", "cus_1", 1, r#","severity":"moderate""#)).await;
        assert_eq!(room.access("cus_1", NOW_MS).await.crisis.severity, Some("moderate"));
    })
    .await;
}

#[tokio::test]
async fn the_door_knows_who_is_in_a_crisis_once_it_is_committed() {
    on_each_database(async |room| {
        let body = Bytes::from(signal("crisis.signal", "cus_1", 0, r#","severity":"high""#));
        let job = || read_app("msg_1", &body, &room.care.marks, &room.care.definitions).unwrap().job;
        let (outcome, transaction) = room.apply(job(), NOW_MS).await;
        assert_eq!(outcome, Outcome::Done);
        transaction.rollback().await.unwrap();
        assert!(!room.care.marks.contains("cus_1"));
        assert!(!room.access("cus_1", NOW_MS).await.crisis.active);

        room.run(job(), NOW_MS).await;
        assert!(room.care.marks.contains("cus_1"));
        let later = ManualClock::at(NOW_MS);
        let after_a_restart = Marks::new(later.clone());
        after_a_restart.refresh(&room.database).await.unwrap();
        assert!(after_a_restart.contains("cus_1") && !after_a_restart.contains("cus_2"));
        let failed = Bytes::from(event("evt_1", "invoice.payment_failed", 0, &invoice("cus_1")));
        assert_eq!(
            read_stripe(&failed, &after_a_restart, &EventTypes::default()).unwrap().job.lane,
            Lane::Crisis
        );
        // Nobody says that it is over: after the 21 days of a high crisis it is.
        later.advance_ms(21 * DAY_MS - 1);
        assert!(after_a_restart.contains("cus_1"));
        later.advance_ms(1);
        assert_eq!(
            read_stripe(&failed, &after_a_restart, &EventTypes::default()).unwrap().job.lane,
            Lane::Therapeutic
        );
    })
    .await;
}

#[tokio::test]
async fn stripes_metadata_can_tell_of_a_crisis() {
    on_each_database(async |room| {
        let object =
            subscription("cus_1", "active").replacen('{', r#"{"metadata":{"crisisMode":"true"},"#, 1);
        room.stripe(&event("evt_1", "customer.subscription.updated", 5, &object)).await;
        assert_eq!(room.access("cus_1", NOW_MS).await.crisis.severity, Some("high"));
    })
    .await;
}

#[tokio::test]
async fn an_assessment_is_a_crisis_when_the_rules_say_so_and_else_changes_nothing() {
    on_each_database(async |room| {
        for (customer, more, severity) in [
            ("mild", r#","instrument":"phq9","score":19"#, None),
            ("severe", r#","instrument":"phq9","score":20"#, Some("high")),
            ("anxious", r#","instrument":"gad7","score":15"#, Some("high")),
            ("suicidal", r#","instrument":"gad7","score":0,"suicidal_ideation":true"#, Some("critical")),
        ] {
            room.app(&signal("assessment.completed", customer, 1, more)).await;
            let document = room.access(customer, NOW_MS).await;
            assert_eq!(document.crisis.severity, severity, "{customer}");
            let nothing = AccessDocument { version: 1, ..AccessDocument::floor(customer, NOW_MS) };
            assert_eq!(document == nothing, severity.is_none(), "{customer}");
        }
    })
    .await;
}

#[tokio::test]
async fn trouble_raises_the_severity_of_a_crisis_and_is_none_by_itself() {
    on_each_database(async |room| {
        for (customer, trouble) in [
            ("tool", signal("tool.failed", "tool", 1, "")),
            ("threat", signal("security.threat", "threat", 1, "")),
        ] {
            room.app(&trouble).await;
            assert!(!room.access(customer, NOW_MS).await.crisis.active, "{customer}");
            room.app(&signal("crisis.signal", customer, 9, r#","severity":"moderate""#)).await;
            assert_eq!(room.access(customer, NOW_MS).await.crisis.severity, Some("high"), "{customer}");
        }
        assert_eq!(room.access("threat", NOW_MS).await.grace.reason, Some("crisis_detected"));
    })
    .await;
}

#[tokio::test]
async fn a_cancellation_in_a_crisis_is_treated_as_part_of_it() {
    on_each_database(async |room| {
        room.app(&signal("crisis.signal", "cus_1", 9, r#","severity":"moderate""#)).await;
        let ended = event("evt_1", "customer.subscription.deleted", 5, &subscription("cus_1", "canceled"));
        room.stripe(&ended).await;
        let document = room.access("cus_1", NOW_MS).await;
        assert_eq!((document.crisis.severity, document.grace.remaining_days), (Some("high"), 21));
        let message = document.message.unwrap();
        assert!(message.body.contains("988") && !message.body.contains("pay"));
    })
    .await;
}

#[tokio::test]
async fn scores_that_rise_fast_are_a_crisis_and_are_not_readable_on_disk() {
    on_each_database(async |room| {
        let scored = |ago_s, score| {
            let more = format!(r#","instrument":"phq9","score":{score}"#);
            signal("assessment.completed", "cus_1", ago_s, &more)
        };
        room.app(&scored(9, 4)).await;
        assert!(!room.access("cus_1", NOW_MS).await.crisis.active);
        assert!(room.facts("cus_1").await.signals.is_empty(), "a score is no sign");
        room.app(&scored(5, 13)).await;
        let crisis = room.access("cus_1", NOW_MS).await.crisis;
        assert_eq!((crisis.kind, crisis.severity), (Some("clinical"), Some("moderate")));
        if room.database.dialect() == Dialect::Sqlite {
            for file in room.directory.path().read_dir().unwrap().flatten() {
                let bytes = std::fs::read(file.path()).unwrap();
                assert!(!bytes.windows(4).any(|window| window == b"phq9"), "{}", file.path().display());
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_payment_that_fails_after_an_elevated_score_is_a_crisis_whichever_is_told_first() {
    on_each_database(async |room| {
        for (customer, first) in [("cus_1", true), ("cus_2", false)] {
            let more = r#","instrument":"phq9","score":16"#;
            let elevated = signal("assessment.completed", customer, 9, more);
            let failed = event("evt_1", "invoice.payment_failed", 5, &invoice(customer));
            if first {
                room.app(&elevated).await;
            }
            room.stripe(&failed).await;
            if !first {
                room.app(&elevated).await;
            }
            let crisis = room.access(customer, NOW_MS).await.crisis;
            assert_eq!((crisis.kind, crisis.severity), (Some("payment"), Some("moderate")), "{customer}");
            assert!(room.care.marks.contains(customer));
        }
    })
    .await;
}

/// Keys of which the first one seals.
fn keys(names: &[(&str, u8)]) -> KeyRing {
    let mut keys = names.iter().map(|(id, byte)| SealingKey::new(*id, &Zeroizing::new([*byte; 32])));
    KeyRing::new(keys.next().expect("a key"), keys)
}

#[tokio::test]
async fn a_node_without_the_newest_key_judges_an_assessment_by_itself_and_loses_no_scores() {
    on_each_database(async |room| {
        let with = |keys| room.caring(Care { keys, ..room.beside().care });
        let (newest, older) = (with(keys(&[("new", 8), ("test", 7)])), with(keys(&[("test", 7)])));
        let scored = |ago_s, score| {
            let more = format!(r#","instrument":"phq9","score":{score}"#);
            signal("assessment.completed", "cus_1", ago_s, &more)
        };
        newest.app(&scored(9, 4)).await;
        assert_eq!(older.app(&scored(7, 12)).await, Outcome::Done);
        assert!(!older.access("cus_1", NOW_MS).await.crisis.active);
        assert!(older.facts("cus_1").await.signals.is_empty());
        // A rise from four, and none from twelve.
        newest.app(&scored(5, 13)).await;
        assert_eq!(newest.access("cus_1", NOW_MS).await.crisis.severity, Some("moderate"));
    })
    .await;
}
