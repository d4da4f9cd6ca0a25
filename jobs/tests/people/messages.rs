//! What people are told, when, and how seldom.

use std::collections::HashSet;

use keepwell_jobs::{
    access_query::access_without_database,
    care::lines::{CRISIS_LINES_TOML, CrisisLines},
};
use keepwell_workers::{lane::Lane, outcome::Outcome};

use crate::support::{
    DAY_MS, NOW_MS, Room, event, gateway::Gateway, invoice, on_each_database, signal, subscription,
};

/// Far more than a gateway on this machine needs.
const PATIENT_MS: u64 = 20_000;

/// What the jobs that follow now are about, with their keys; nothing is sent.
fn told(room: &Room) -> Vec<String> {
    let jobs = room.follow_ups();
    assert!(jobs.iter().all(|job| &*job.kind == "care.message"), "{jobs:?}");
    jobs.into_iter().map(|job| job.dedupe_key.expect("a key")).collect()
}

fn key(about: &str, customer: &str, days: i64) -> String {
    format!("message:{about}:{customer}:{}", NOW_MS.div_euclid(DAY_MS) + days)
}

#[tokio::test]
async fn a_payment_that_fails_and_is_made_up_for_is_told_once_each() {
    on_each_database(async |room| {
        let room = room.telling(&Gateway::start().await, PATIENT_MS);
        room.stripe(&event("evt_0", "customer.subscription.created", 9, &subscription("cus_1", "active")))
            .await;
        assert_eq!(told(&room), [""; 0]);
        for (id, attempt) in [("evt_1", 1), ("evt_2", 2), ("evt_1", 1)] {
            let failed =
                invoice("cus_1").replace("\"attempt_count\":1", &format!("\"attempt_count\":{attempt}"));
            room.stripe(&event(id, "invoice.payment_failed", 5, &failed)).await;
        }
        room.stripe(&event("evt_3", "customer.subscription.updated", 4, &subscription("cus_1", "past_due")))
            .await;
        assert_eq!(told(&room), [key("payment_failure", "cus_1", 0)]);
        room.stripe(&event("evt_4", "invoice.payment_succeeded", 2, &invoice("cus_1"))).await;
        room.stripe(&event("evt_5", "customer.subscription.updated", 1, &subscription("cus_1", "active")))
            .await;
        assert_eq!(told(&room), [key("recovered", "cus_1", 0)]);
    })
    .await;
}

#[tokio::test]
async fn nobody_hears_of_money_in_a_crisis() {
    on_each_database(async |room| {
        let room = room.telling(&Gateway::start().await, PATIENT_MS);
        room.app(&signal("crisis.signal", "cus_1", 9, r#","severity":"high""#)).await;
        let kinds: Vec<String> = room.follow_ups().iter().map(|job| job.kind.to_string()).collect();
        assert_eq!(kinds, ["care.contacts_due", "care.message"]);
        room.stripe(&event("evt_0", "customer.subscription.updated", 5, &subscription("cus_1", "past_due")))
            .await;
        room.stripe(&event("evt_1", "invoice.payment_failed", 4, &invoice("cus_1"))).await;
        room.stripe(&event("evt_2", "customer.subscription.deleted", 3, &subscription("cus_1", "canceled")))
            .await;
        assert_eq!(told(&room), [""; 0]);
        room.app(&signal("crisis.resolved", "cus_1", 1, "")).await;
        assert_eq!(told(&room), [""; 0]);
    })
    .await;
}

#[tokio::test]
async fn a_message_that_waited_until_a_crisis_began_is_not_sent() {
    on_each_database(async |room| {
        let gateway = Gateway::start().await;
        let room = room.telling(&gateway, PATIENT_MS);
        room.stripe(&event("evt_1", "invoice.payment_failed", 5, &invoice("cus_1"))).await;
        let [late] = &room.follow_ups()[..] else { panic!("one message") };
        room.app(&signal("crisis.signal", "cus_1", 1, r#","severity":"moderate""#)).await;
        let outcome = room.run(late.clone(), NOW_MS).await;
        assert!(matches!(outcome, Outcome::Cancel { .. }), "{outcome:?}");
        room.follow(NOW_MS).await;
        let told: Vec<_> =
            gateway.taken().into_iter().map(|notice| notice.document["about"].clone()).collect();
        assert_eq!(told, ["crisis_active"]);
    })
    .await;
}

#[tokio::test]
async fn a_message_to_somebody_vulnerable_is_not_sent_in_their_next_crisis() {
    on_each_database(async |room| {
        let gateway = Gateway::start().await;
        let room = room.telling(&gateway, PATIENT_MS);
        room.app(&signal("crisis.signal", "cus_1", 90, r#","severity":"moderate""#)).await;
        room.app(&signal("crisis.resolved", "cus_1", 60, "")).await;
        room.follow_ups();
        // Two days before the fourteen of the crisis end: seven more make a longer period, which is told.
        let (in_s, later_ms) = (12 * 86_400, NOW_MS + 12 * DAY_MS);
        let failed = event("evt_1", "invoice.payment_failed", -in_s, &invoice("cus_1"));
        let intake =
            keepwell_jobs::intake::read_stripe(&failed.into(), &room.care.marks, &room.care.event_types)
                .unwrap();
        room.run(intake.job, later_ms).await;
        let [calm] = &room.follow_ups()[..] else { panic!("one message") };
        let crisis = signal("crisis.signal", "cus_1", -in_s - 9, r#","severity":"moderate""#);
        room.app_at(&crisis, later_ms + 9_000).await;
        let outcome = room.run(calm.clone(), later_ms + 9_000).await;
        assert!(matches!(outcome, Outcome::Cancel { .. }), "{outcome:?}");
        let resolved = signal("crisis.resolved", "cus_1", -in_s - 60, "");
        room.app_at(&resolved, later_ms + 60_000).await;
        assert_eq!(room.run(calm.clone(), later_ms + 60_000).await, Outcome::Done);
    })
    .await;
}

#[tokio::test]
async fn nobody_hears_of_money_in_a_crisis_that_another_process_learned_of() {
    on_each_database(async |room| {
        let gateway = Gateway::start().await;
        let room = room.telling(&gateway, PATIENT_MS);
        room.stripe(&event("evt_1", "invoice.payment_failed", 5, &invoice("cus_1"))).await;
        let [late] = &room.follow_ups()[..] else { panic!("one message") };
        let crisis = signal("crisis.signal", "cus_1", 1, r#","severity":"moderate""#);
        assert_eq!(room.beside().app(&crisis).await, Outcome::Done);
        room.follow_ups();
        // Neither the process that has the message nor one that was started just now has seen it.
        for process in [&room, &room.beside()] {
            let outcome = process.run(late.clone(), NOW_MS).await;
            assert!(matches!(outcome, Outcome::Cancel { .. }), "{outcome:?}");
        }
        assert!(gateway.taken().is_empty());
    })
    .await;
}

#[tokio::test]
async fn what_is_told_late_is_told_as_it_is_by_then_or_not_at_all() {
    on_each_database(async |room| {
        let gateway = Gateway::start().await;
        let room = room.telling(&gateway, PATIENT_MS);
        room.stripe(&event("evt_1", "invoice.payment_failed", 5, &invoice("cus_1"))).await;
        let [failed] = &room.follow_ups()[..] else { panic!("one message") };
        let crisis = signal("crisis.signal", "cus_2", 0, r#","severity":"moderate""#);
        room.app(&crisis).await;
        let [_, begun] = &room.follow_ups()[..] else { panic!("a look and a message") };
        let body = |notice: usize| gateway.taken()[notice].document["body"].as_str().unwrap().to_owned();
        for (job, after_ms, told) in [
            (failed, 0, 1),
            (failed, DAY_MS, 2),
            (failed, DAY_MS + 1, 2),
            (begun, 60 * 60 * 1_000, 3),
            (begun, 60 * 60 * 1_000 + 1, 3),
        ] {
            let outcome = room.run_late(job.clone(), NOW_MS, NOW_MS + after_ms).await;
            assert_eq!(gateway.taken().len(), told, "{outcome:?} after {after_ms}");
        }
        assert!(body(0).contains("7 days") && body(1).contains("6 days"), "{} {}", body(0), body(1));
        // It is paid, and nothing is said of it any more.
        room.stripe(&event("evt_2", "invoice.payment_succeeded", 2, &invoice("cus_1"))).await;
        let outcome = room.run(failed.clone(), NOW_MS).await;
        assert!(matches!(outcome, Outcome::Cancel { .. }), "{outcome:?}");
    })
    .await;
}

#[tokio::test]
async fn words_come_in_the_persons_language_with_the_line_of_their_country() {
    on_each_database(async |room| {
        let gateway = Gateway::start().await;
        let room = room.telling(&gateway, PATIENT_MS);
        let elsewhere = (*room.care.resources).clone();
        let lines = CrisisLines::from_toml(CRISIS_LINES_TOML, elsewhere).unwrap();
        let room = room.caring(room.care.clone().with_lines(lines));
        let device = r#","device":"dev_1","platform":"ios","locale":"de_AT","time_zone":"Europe/Vienna""#;
        room.app(&signal("device.registered", "cus_1", 60, device)).await;
        room.app(&signal("device.registered", "cus_1", 90, r#","device":"dev_0","locale":"fr""#)).await;
        room.stripe(&event("evt_1", "invoice.payment_failed", 5, &invoice("cus_1"))).await;
        let [job] = &room.follow_ups()[..] else { panic!("one message") };
        assert_eq!((job.lane, &job.turn, job.subject.as_deref()), (Lane::Therapeutic, &None, Some("cus_1")));
        assert_eq!(room.run(job.clone(), NOW_MS).await, Outcome::Done);
        let document = &gateway.taken()[0].document;
        assert_eq!((&document["locale"], &document["kind"]), (&"de".into(), &"message".into()));
        let body = document["body"].as_str().unwrap();
        assert!(body.contains("Kulanzzeit bleiben 7 Tage") && body.contains("Anruf: 142"), "{body}");
        assert_eq!(document["actions"][1]["action"], "activate_crisis_button");

        let access = room.access("cus_1", NOW_MS).await;
        assert_eq!(access.message.unwrap().body, body);
        assert_eq!(access.crisis_resources.hotline, "142");
        // With the database away too.
        let without = access_without_database(&room.care, "cus_1", NOW_MS);
        assert_eq!(without.crisis_resources, access.crisis_resources);
        // It is the evening of the 14th in Vienna, and a quarter of an hour later the 15th.
        assert_eq!(access.grace.remaining_days, 7);
        assert_eq!(room.access("cus_1", NOW_MS + 3 * 60 * 60 * 1_000).await.grace.remaining_days, 6);
    })
    .await;
}

#[tokio::test]
async fn without_a_gateway_nobody_is_told_and_everything_else_is_as_ever() {
    on_each_database(async |room| {
        room.app(&signal("crisis.signal", "cus_1", 9, r#","severity":"critical""#)).await;
        room.stripe(&event("evt_1", "invoice.payment_failed", 4, &invoice("cus_2"))).await;
        assert!(room.follow_ups().is_empty());
        assert!(room.access("cus_1", NOW_MS).await.crisis.active);
        assert!(room.access("cus_2", NOW_MS).await.grace.active);
    })
    .await;
}

#[tokio::test]
async fn a_fault_of_ours_is_told_only_to_whom_it_makes_a_difference() {
    on_each_database(async |room| {
        let room = room.telling(&Gateway::start().await, PATIENT_MS);
        room.stripe(&event("evt_0", "customer.subscription.created", 9, &subscription("paying", "active")))
            .await;
        for customer in ["paying", "trying"] {
            room.app(&signal("tool.failed", customer, 1, "")).await;
        }
        assert_eq!(told(&room), [key("system_error", "trying", 0)]);
        // A payment that fails later is another reason.
        room.stripe(&event("evt_1", "invoice.payment_failed", 0, &invoice("trying"))).await;
        assert_eq!(told(&room), [key("payment_failure", "trying", 0)]);
    })
    .await;
}

#[tokio::test]
async fn the_same_thing_is_told_at_most_once_a_day() {
    on_each_database(async |room| {
        let room = room.telling(&Gateway::start().await, PATIENT_MS);
        let mut keys = HashSet::new();
        for number in 0..3_i64 {
            let (failed_s, paid_s) = (100 - 2 * number, 99 - 2 * number);
            room.stripe(&event(&format!("f{number}"), "invoice.payment_failed", failed_s, &invoice("cus_1")))
                .await;
            room.stripe(&event(
                &format!("p{number}"),
                "invoice.payment_succeeded",
                paid_s,
                &invoice("cus_1"),
            ))
            .await;
            keys.extend(told(&room));
        }
        // The ledger records one job for each key.
        assert_eq!(keys, HashSet::from([key("payment_failure", "cus_1", 0)]));
    })
    .await;
}
