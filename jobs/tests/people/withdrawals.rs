//! What people say of their contacts after a crisis was known, or with a clock that is wrong, counts when a contact is
//! told.

use keepwell_jobs::{care::contacts::TOLD_AGAIN_MS, intake::read_app, kinds};
use keepwell_workers::{
    clock::UnixMs,
    database::{Durability, turn::Urgency},
    id::JobId,
    job::NewJob,
    lane::Lane,
    on_connection,
    outcome::Outcome,
};

use super::contacts::{CONTACTS, HOUR_MS, PATIENT_MS, about_to_be_told, agree, is, press, recorded, told};
use crate::support::{NOW_MS, Room, gateway::Gateway, on_each_database, signal};

async fn all_done(room: &Room, jobs: Vec<NewJob>, now_ms: UnixMs) {
    for job in jobs {
        assert_eq!(room.run_late(job, NOW_MS, now_ms).await, Outcome::Done);
    }
}

/// Has the ledger hold what `customer` said of their contacts, in this state.
async fn holds(room: &Room, id: JobId, customer: &str, state: &str, finished: &str) {
    let kind = kinds::PERSON_DATA_UPDATED;
    let sql = format!(
        "INSERT INTO jobs (id, kind, lane, state, subject, run_at_ms, created_at_ms, finished_at_ms) \
         VALUES ($1, '{kind}', 'therapeutic', '{state}', '{customer}', 0, 0, {finished}) \
         ON CONFLICT (id) DO UPDATE SET state = excluded.state, finished_at_ms = excluded.finished_at_ms"
    );
    let begun = room.database.begin(Urgency::General, Durability::Relaxed, NOW_MS).await;
    let mut transaction = begun.unwrap();
    on_connection!(transaction, |connection| {
        let insert = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(id.0);
        insert.execute(connection).await.map(|_| ())
    })
    .unwrap();
    transaction.commit().await.unwrap();
}

#[tokio::test]
async fn whoever_takes_it_back_before_a_contact_is_told_is_obeyed() {
    on_each_database(async |room| {
        let gateway = Gateway::start().await;
        let room = room.telling(&gateway, PATIENT_MS);
        let by_hand = CONTACTS.replace("notification\":true", "notification\":false");
        let refused = CONTACTS.replace("consent_to_contact\":true", "consent_to_contact\":false");
        let elsewhere = CONTACTS.replace("c-", "d-").replace("consent_to_contact\":true", "none\":true");
        for (number, (stated, more)) in [
            ("consent.updated", r#","crisis_contact_consent":false"#.to_owned()),
            ("contacts.updated", by_hand),
            ("contacts.updated", refused),
            ("contacts.updated", elsewhere),
            ("contacts.updated", CONTACTS.replace("\"high\",", "")),
        ]
        .into_iter()
        .enumerate()
        {
            let customer = format!("cus_{number}");
            agree(&room, &customer, CONTACTS).await;
            let jobs = about_to_be_told(&room, &customer, "high").await;
            assert_eq!(jobs.len(), 2);
            room.app(&signal(stated, &customer, 0, &more)).await;
            room.follow_ups();
            all_done(&room, jobs, NOW_MS).await;
        }
        assert_eq!(told(&gateway), []);
        let expected = [
            // One neighbour each, and what was taken back of two.
            ("skipped/contact_consent", 5 + 2),
            ("skipped/not_automatic", 2),
            ("skipped/not_named", 2),
            ("skipped/person_consent", 2),
            ("skipped/severity", 2),
        ];
        is(&recorded(&room).await, &expected);
    })
    .await;
}

#[tokio::test]
async fn nobody_is_told_of_a_crisis_that_is_over_or_was_long_ago() {
    on_each_database(async |room| {
        let gateway = Gateway::start().await;
        let room = room.telling(&gateway, PATIENT_MS);
        agree(&room, "cus_over", CONTACTS).await;
        let jobs = about_to_be_told(&room, "cus_over", "critical").await;
        room.app_at(&signal("crisis.resolved", "cus_over", -60, ""), NOW_MS + 60_000).await;
        all_done(&room, jobs, NOW_MS + 60_000).await;

        agree(&room, "cus_late", CONTACTS).await;
        let mut jobs = about_to_be_told(&room, "cus_late", "critical").await;
        let last = jobs.pop().unwrap();
        all_done(&room, jobs, NOW_MS + TOLD_AGAIN_MS + 1).await;
        assert_eq!(told(&gateway), []);
        all_done(&room, vec![last], NOW_MS + TOLD_AGAIN_MS).await;
        assert_eq!(told(&gateway).len(), 1);
        let expected = [
            ("notified", 1),
            ("skipped/contact_consent", 2),
            ("skipped/crisis_over", 2),
            ("skipped/stale", 1),
        ];
        is(&recorded(&room).await, &expected);
    })
    .await;
}

#[tokio::test]
async fn how_much_and_how_a_contact_is_told_is_as_it_was_stated_last() {
    on_each_database(async |room| {
        let gateway = Gateway::start().await;
        let room = room.telling(&gateway, PATIENT_MS);
        agree(&room, "cus_1", CONTACTS).await;
        let jobs = about_to_be_told(&room, "cus_1", "critical").await;
        let less = CONTACTS.replace("standard", "minimal").replace("1111111", "3333333");
        room.app(&signal("contacts.updated", "cus_1", 0, &less)).await;
        all_done(&room, jobs, NOW_MS).await;
        let told = told(&gateway);
        assert!(told.iter().any(|(_, number, _)| number.ends_with("3333333")), "{told:?}");
        assert!(told.iter().all(|(.., body)| !body.contains("hard")), "{told:?}");
    })
    .await;
}

#[tokio::test]
async fn a_contact_is_not_told_before_what_the_person_said_of_them_has_been_read() {
    on_each_database(async |room| {
        let gateway = Gateway::start().await;
        let room = room.telling(&gateway, PATIENT_MS);
        agree(&room, "cus_1", CONTACTS).await;
        let jobs = about_to_be_told(&room, "cus_1", "critical").await;
        let unread = JobId::new(NOW_MS);
        holds(&room, unread, "cus_1", "owed", "NULL").await;
        for (after_ms, wait_ms) in [(0, 250), (8_000, 2_000), (HOUR_MS, 30_000)] {
            let outcome = room.run_late(jobs[0].clone(), NOW_MS, NOW_MS + after_ms).await;
            let after = std::time::Duration::from_millis(wait_ms);
            assert_eq!(outcome, Outcome::Snooze { after });
        }
        assert_eq!(told(&gateway), []);
        // Nobody waits for what somebody else says, nor for what could not be read.
        agree(&room, "cus_2", CONTACTS).await;
        let others = about_to_be_told(&room, "cus_2", "critical").await;
        all_done(&room, others, NOW_MS).await;
        assert_eq!(told(&gateway).len(), 2);
        holds(&room, unread, "cus_1", "dead", "1").await;
        all_done(&room, jobs, NOW_MS).await;
        assert_eq!(told(&gateway).len(), 4);
    })
    .await;
}

#[tokio::test]
async fn whoever_is_named_or_agreed_to_in_a_crisis_is_told_of_it() {
    on_each_database(async |room| {
        let gateway = Gateway::start().await;
        let room = room.telling(&gateway, PATIENT_MS);
        press(&room, "cus_1", "critical", NOW_MS).await;
        room.follow(NOW_MS).await;
        let named = signal("contacts.updated", "cus_1", 0, CONTACTS);
        let intake =
            read_app("msg", &named.clone().into(), &room.care.marks, &room.care.definitions).unwrap();
        assert_eq!(intake.job.lane, Lane::Crisis);
        room.app(&named).await;
        room.follow(NOW_MS).await;
        assert_eq!(told(&gateway), []);
        room.app(&signal("safety_plan.updated", "cus_1", 0, r#","steps":[]"#)).await;
        assert!(room.follow_ups().is_empty());
        room.app(&signal("consent.updated", "cus_1", 0, r#","crisis_contact_consent":true"#)).await;
        room.follow(NOW_MS).await;
        assert_eq!(told(&gateway).len(), 2);
        // Half a day after the last sign of it nobody is called because somebody tidies up their list.
        for (after_ms, looks) in [(TOLD_AGAIN_MS, 1), (TOLD_AGAIN_MS + 1_000, 0)] {
            let stated = signal("contacts.updated", "cus_1", -after_ms / 1_000, CONTACTS);
            room.app_at(&stated, NOW_MS + after_ms).await;
            assert_eq!(room.follow_ups().len(), looks, "{after_ms}");
        }
    })
    .await;
}

#[tokio::test]
async fn what_is_taken_back_counts_whatever_the_clock_of_the_device_says() {
    on_each_database(async |room| {
        let gateway = Gateway::start().await;
        let room = room.telling(&gateway, PATIENT_MS);
        let consent = |customer: &str, ago_s, yes: bool| {
            signal("consent.updated", customer, ago_s, &format!(r#","crisis_contact_consent":{yes}"#))
        };
        agree(&room, "cus_1", CONTACTS).await;
        let agreed = consent("cus_1", 60, true);
        room.app(&agreed).await;
        // An hour slow.
        room.app(&consent("cus_1", 3_600, false)).await;
        room.app(&agreed).await;
        let fewer = CONTACTS.replace("\"c-sister\"", "\"c-cousin\"");
        agree(&room, "cus_2", CONTACTS).await;
        room.app(&signal("contacts.updated", "cus_2", 3_600, &fewer)).await;
        for customer in ["cus_1", "cus_2"] {
            press(&room, customer, "critical", NOW_MS).await;
        }
        room.follow(NOW_MS).await;
        // Ada, the sister, has become the cousin; of the first person nobody is told.
        let expected = [("notified", 2), ("skipped/contact_consent", 1), ("skipped/person_consent", 3)];
        is(&recorded(&room).await, &expected);
        // What is agreed to anew counts, and what is only older takes nothing.
        room.app(&consent("cus_1", 50, true)).await;
        let more = CONTACTS.replace("\"consent_to_contact\":true", "\"consent_to_contact\":\"true\"");
        room.app(&signal("contacts.updated", "cus_1", 3_600, &more.replace("+49", "+43"))).await;
        room.follow(NOW_MS).await;
        let told = told(&gateway);
        assert_eq!(told.len(), 4);
        assert!(told.iter().all(|(_, address, _)| !address.starts_with("+43")), "{told:?}");
    })
    .await;
}
