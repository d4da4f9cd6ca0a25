//! Payloads that no sender should send: a clear end, and nothing changed.

use keepwell_jobs::kinds;
use keepwell_workers::{job::NewJob, lane::Lane, outcome::Outcome};

use crate::support::{NOW_MS, event, on_each_database};

const KINDS: [&str; 14] = [
    kinds::CONFIRM_SUBSCRIPTION,
    kinds::SUBSCRIPTION_CHANGED,
    kinds::SUBSCRIPTION_ENDED,
    kinds::INVOICE_PAID,
    kinds::INVOICE_PAYMENT_FAILED,
    kinds::PAYMENT_METHOD_SAVED,
    kinds::EVENT_RECORDED,
    kinds::CRISIS_SIGNALLED,
    kinds::CRISIS_RESOLVED,
    kinds::ASSESSMENT_COMPLETED,
    kinds::PERSON_DATA_UPDATED,
    kinds::DEVICE_CHANGED,
    kinds::SAFETY_EVENT,
    kinds::SIGNAL_RECORDED,
];

#[tokio::test]
async fn an_unreadable_payload_ends_without_a_retry_and_changes_nothing() {
    let payloads = [
        "",
        "[]",
        "{\"type\":",
        r#"{"id":"evt_1","type":"t","data":{"object":7}}"#,
        r#"{"id":"evt_1","type":"t","data":{"object":{"id":"x","customer":"a\u0000b"}}}"#,
        r#"{"type":"t","data":{"customer":"a\u0000b"}}"#,
    ];
    on_each_database(async |room| {
        for kind in KINDS {
            for payload in payloads {
                let outcome = room.run(NewJob::new(kind, Lane::Standard, payload), NOW_MS).await;
                assert!(
                    matches!(outcome, Outcome::Done | Outcome::Dead { .. }),
                    "{kind} {payload}: {outcome:?}"
                );
            }
        }
        assert_eq!(room.access("a", NOW_MS).await.version, 0);
    })
    .await;
}

#[tokio::test]
async fn what_is_wrong_is_told_without_repeating_what_was_sent() {
    on_each_database(async |room| {
        for kind in [kinds::CRISIS_SIGNALLED, kinds::INVOICE_PAID] {
            let secret = r#"{"secret":"thoughts"}"#;
            let outcome = room.run(NewJob::new(kind, Lane::Standard, secret), NOW_MS).await;
            let Outcome::Dead { error } = outcome else { panic!("{kind}: {outcome:?}") };
            assert!(!error.is_empty() && !error.contains("thoughts"), "{error}");
        }
    })
    .await;
}

#[tokio::test]
async fn numbers_at_the_edge_of_what_can_be_written_are_kept_and_shown() {
    on_each_database(async |room| {
        for (customer, end) in
            [("far", "9223372036854775807"), ("past", "-9223372036854775808"), ("none", "1e999")]
        {
            let object = format!(
                r#"{{"id":"sub_1","customer":"{customer}","status":"active","current_period_end":{end}}}"#
            );
            let body = event("evt_1", "customer.subscription.updated", 0, &object);
            assert_eq!(room.stripe(&body).await, Outcome::Done);
            let document = room.access(customer, NOW_MS).await;
            assert_eq!(document.tier, "basic", "{customer}");
            serde_json::to_string(&document).unwrap();
        }
    })
    .await;
}
