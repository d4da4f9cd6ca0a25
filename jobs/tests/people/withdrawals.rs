//! What people say of their contacts after a crisis was known, or with a clock that is wrong, counts when a contact is
//! told.

use std::slice;

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

use super::contacts::{CONTACTS, PATIENT_MS, about_to_be_told, agree, is, press, recorded, told};
use crate::support::{NOW_MS, Room, gateway::Gateway, on_each_database, signal};

async fn all_done(room: &Room, jobs: Vec<NewJob>, now_ms: UnixMs) {
    for job in jobs {
        assert_eq!(room.run_late(job, NOW_MS, now_ms).await, Outcome::Done);
    }
}

/// Runs `test` in a room that tells contacts through a gateway, on each database.
async fn on_each_telling(test: impl AsyncFn(&Room, &Gateway)) {
    on_each_database(async |room| {
        let gateway = Gateway::start().await;
        test(&room.telling(&gateway, PATIENT_MS), &gateway).await;
    })
    .await;
}

/// Has the ledger hold what somebody said in `bodies` at [`NOW_MS`], and nobody has read, in this state.
async fn holds(room: &Room, bodies: &[String], state: &str) {
    let read =
        |body: &String| read_app("msg", &body.clone().into(), &room.care.marks, &room.care.definitions);
    let jobs: Vec<NewJob> = bodies.iter().map(|body| read(body).unwrap().job).collect();
    holds_jobs(room, jobs, state).await;
}

/// Has the ledger hold `jobs`, recorded at [`NOW_MS`], in this state.
pub async fn holds_jobs(room: &Room, jobs: Vec<NewJob>, state: &str) {
    const JOB: &str = "INSERT INTO jobs (id, kind, lane, state, subject, run_at_ms, created_at_ms, finished_at_ms) \
         VALUES ($1, $2, 'therapeutic', $3, $4, $5, $5, $6)";
    const PAYLOAD: &str = "INSERT INTO job_payloads (job_id, key_id, sealed) VALUES ($1, $2, $3)";
    let begun = room.database.begin(Urgency::General, Durability::Relaxed, NOW_MS).await;
    let mut transaction = begun.unwrap();
    let finished_ms = (state != "owed").then_some(NOW_MS);
    for job in jobs {
        let id = JobId::new(NOW_MS);
        let sealed = room.care.keys.seal(id.as_bytes(), &job.payload).unwrap();
        on_connection!(transaction, |connection| {
            let insert = sqlx::query(JOB).bind(id.0).bind(&*job.kind).bind(state).bind(job.subject);
            insert.bind(NOW_MS).bind(finished_ms).execute(connection).await.map(|_| ())
        })
        .unwrap();
        on_connection!(transaction, |connection| {
            let insert = sqlx::query(PAYLOAD).bind(id.0).bind(&*sealed.key_id).bind(sealed.bytes);
            insert.execute(connection).await.map(|_| ())
        })
        .unwrap();
    }
    transaction.commit().await.unwrap();
}

fn consents(customer: &str, ago_s: i64, yes: bool) -> String {
    signal("consent.updated", customer, ago_s, &format!(r#","crisis_contact_consent":{yes}"#))
}

#[tokio::test]
async fn whoever_takes_it_back_before_a_contact_is_told_is_obeyed() {
    on_each_telling(async |room, gateway| {
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
            agree(room, &customer, CONTACTS).await;
            let jobs = about_to_be_told(room, &customer, "high").await;
            assert_eq!(jobs.len(), 2);
            room.app(&signal(stated, &customer, 0, &more)).await;
            room.follow_ups();
            all_done(room, jobs, NOW_MS).await;
        }
        assert_eq!(told(gateway), []);
        let expected = [
            // One neighbour each, and what was taken back of two.
            ("skipped/contact_consent", 5 + 2),
            ("skipped/not_automatic", 2),
            ("skipped/not_named", 2),
            ("skipped/person_consent", 2),
            ("skipped/severity", 2),
        ];
        is(&recorded(room).await, &expected);
    })
    .await;
}

#[tokio::test]
async fn nobody_is_told_of_a_crisis_that_is_over_or_was_long_ago() {
    on_each_telling(async |room, gateway| {
        agree(room, "cus_over", CONTACTS).await;
        let jobs = about_to_be_told(room, "cus_over", "critical").await;
        room.app_at(&signal("crisis.resolved", "cus_over", -60, ""), NOW_MS + 60_000).await;
        all_done(room, jobs, NOW_MS + 60_000).await;

        agree(room, "cus_late", CONTACTS).await;
        let mut jobs = about_to_be_told(room, "cus_late", "critical").await;
        let last = jobs.pop().unwrap();
        all_done(room, jobs, NOW_MS + TOLD_AGAIN_MS + 1).await;
        assert_eq!(told(gateway), []);
        all_done(room, vec![last], NOW_MS + TOLD_AGAIN_MS).await;
        assert_eq!(told(gateway).len(), 1);
        let expected = [
            ("notified", 1),
            ("skipped/contact_consent", 2),
            ("skipped/crisis_over", 2),
            ("skipped/stale", 1),
        ];
        is(&recorded(room).await, &expected);
    })
    .await;
}

#[tokio::test]
async fn how_much_and_how_a_contact_is_told_is_as_it_was_stated_last() {
    on_each_telling(async |room, gateway| {
        agree(room, "cus_1", CONTACTS).await;
        let jobs = about_to_be_told(room, "cus_1", "critical").await;
        let less = CONTACTS.replace("standard", "minimal").replace("1111111", "3333333");
        room.app(&signal("contacts.updated", "cus_1", 0, &less)).await;
        all_done(room, jobs, NOW_MS).await;
        let told = told(gateway);
        assert!(told.iter().any(|(_, number, _)| number.ends_with("3333333")), "{told:?}");
        assert!(told.iter().all(|(.., body)| !body.contains("hard")), "{told:?}");
    })
    .await;
}

#[tokio::test]
async fn what_is_taken_back_is_obeyed_whatever_has_become_of_its_job() {
    on_each_telling(async |room, gateway| {
        let refused = CONTACTS.replace("consent_to_contact\":true", "consent_to_contact\":false");
        let elsewhere = CONTACTS.replace("\"c-", "\"d-").replace("consent_to_contact\":true", "none\":true");
        let nobody = format!(r#"{}"contacts":[]"#, CONTACTS.split_once(r#""contacts":"#).unwrap().0);
        for state in ["owed", "dead", "cancelled"] {
            for (said, signal_type, ago_s, more) in [
                ("no", "consent.updated", 3_600, r#","crisis_contact_consent":false"#),
                ("none", "contacts.updated", 0, &*refused),
                ("nobody", "contacts.updated", 0, &*nobody),
                ("others", "contacts.updated", 0, &*elsewhere),
            ] {
                let customer = format!("{said}-{state}");
                let withdrawal = signal(signal_type, &customer, ago_s, more);
                agree(room, &customer, CONTACTS).await;
                let jobs = about_to_be_told(room, &customer, "critical").await;
                assert_eq!(jobs.len(), 2);
                holds(room, &[withdrawal], state).await;
                all_done(room, jobs, NOW_MS).await;
            }
        }
        assert_eq!(told(gateway), []);
        // One neighbour each.
        let expected =
            [("skipped/contact_consent", 12 + 6), ("skipped/not_named", 12), ("skipped/person_consent", 6)];
        is(&recorded(room).await, &expected);
    })
    .await;
}

#[tokio::test]
async fn what_is_taken_back_wins_over_what_was_recorded_before_it_and_is_read_after_it() {
    on_each_telling(async |room, gateway| {
        let elsewhere = CONTACTS.replace("\"c-", "\"d-").replace("consent_to_contact\":true", "none\":true");
        for (customer, signal_type, yes, no) in [
            (
                "cus_1",
                "consent.updated",
                r#","crisis_contact_consent":true"#,
                r#","crisis_contact_consent":false"#,
            ),
            ("cus_2", "contacts.updated", CONTACTS, &*elsewhere),
        ] {
            agree(room, customer, CONTACTS).await;
            let earlier = signal(signal_type, customer, 0, yes);
            holds(room, slice::from_ref(&earlier), "owed").await;
            // Ten minutes slow.
            room.app_at(&signal(signal_type, customer, 600, no), NOW_MS + 1_000).await;
            let read = read_app("msg_2", &earlier.into(), &room.care.marks, &room.care.definitions).unwrap();
            room.run_late(read.job, NOW_MS, NOW_MS + 2_000).await;
            press(room, customer, "critical", NOW_MS + 3_000).await;
        }
        room.follow(NOW_MS + 3_000).await;
        assert_eq!(told(gateway), []);
    })
    .await;
}

#[tokio::test]
async fn of_what_will_not_be_read_only_what_takes_back_counts_and_until_it_is_stated_anew() {
    on_each_telling(async |room, gateway| {
        let moved = CONTACTS.replace("1111111", "3333333");
        for (customer, unread, numbers) in [
            ("waits", ("contacts.updated", &*moved, "owed"), ["3333333", "example"]),
            ("dead", ("contacts.updated", &*moved, "dead"), ["1111111", "example"]),
            ("plan", ("safety_plan.updated", "", "owed"), ["1111111", "example"]),
            (
                "anew",
                ("consent.updated", r#","crisis_contact_consent":false"#, "dead"),
                ["1111111", "example"],
            ),
        ] {
            let before = told(gateway).len();
            agree(room, customer, CONTACTS).await;
            let (signal_type, more, state) = unread;
            holds(room, &[signal(signal_type, customer, 0, more)], state).await;
            if customer == "anew" {
                room.app(&consents(customer, 0, true)).await;
            }
            let jobs = about_to_be_told(room, customer, "critical").await;
            all_done(room, jobs, NOW_MS).await;
            let told: Vec<String> =
                told(gateway)[before..].iter().map(|(_, address, _)| address.clone()).collect();
            assert_eq!(told.len(), 2, "{customer} {told:?}");
            for number in numbers {
                assert!(told.iter().any(|address| address.contains(number)), "{customer} {told:?}");
            }
        }
        // A consent that nobody can read is none.
        room.app(&signal("contacts.updated", "never", 900, CONTACTS)).await;
        room.app(&consents("never", 900, true)).await;
        let jobs = about_to_be_told(room, "never", "critical").await;
        room.app(&consents("never", 600, false)).await;
        holds(room, &[consents("never", 0, true)], "dead").await;
        let before = told(gateway).len();
        all_done(room, jobs, NOW_MS).await;
        assert_eq!(told(gateway).len(), before);
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_read_hides_nothing_that_was_said_beside_it() {
    on_each_telling(async |room, gateway| {
        for customer in ["broken", "beside", "anew"] {
            agree(room, customer, CONTACTS).await;
            let mut jobs = about_to_be_told(room, customer, "critical").await;
            let broken = NewJob::new(kinds::PERSON_DATA_UPDATED, Lane::Therapeutic, "{").subject(customer);
            holds_jobs(room, vec![broken], "dead").await;
            match customer {
                // Its sender may have said no.
                "broken" => {
                    let outcome = room.run(jobs.remove(0), NOW_MS).await;
                    assert!(matches!(&outcome, Outcome::Dead { error } if error.contains("nobody is told")));
                    continue;
                }
                "beside" => holds(room, &[consents(customer, 0, false)], "owed").await,
                _ => {
                    room.app(&signal("contacts.updated", customer, 0, CONTACTS)).await;
                    room.app(&consents(customer, 0, true)).await;
                }
            }
            all_done(room, jobs, NOW_MS).await;
        }
        assert_eq!(told(gateway).len(), 2, "of whoever has stated all of it anew");
        let expected = [
            ("notified", 2),
            ("queued", 1),
            ("skipped/contact_consent", 3),
            ("skipped/not_delivered", 1),
            ("skipped/person_consent", 2),
        ];
        is(&recorded(room).await, &expected);
    })
    .await;
}

#[tokio::test]
async fn nobody_is_told_while_more_is_unread_than_can_be_looked_through() {
    on_each_telling(async |room, gateway| {
        agree(room, "cus_1", CONTACTS).await;
        let mut jobs = about_to_be_told(room, "cus_1", "critical").await;
        let plans = vec![signal("safety_plan.updated", "cus_1", 0, ""); 1_024];
        holds(room, &plans[1..], "owed").await;
        all_done(room, vec![jobs.remove(0)], NOW_MS).await;
        holds(room, &plans[..1], "owed").await;
        let outcome = room.run(jobs.remove(0), NOW_MS).await;
        assert!(matches!(&outcome, Outcome::Retry { error, .. } if error.contains("more")), "{outcome:?}");
        assert_eq!(told(gateway).len(), 1);
    })
    .await;
}

#[tokio::test]
async fn whoever_is_named_or_agreed_to_in_a_crisis_is_told_of_it() {
    on_each_telling(async |room, gateway| {
        press(room, "cus_1", "critical", NOW_MS).await;
        room.follow(NOW_MS).await;
        let named = signal("contacts.updated", "cus_1", 0, CONTACTS);
        let intake =
            read_app("msg", &named.clone().into(), &room.care.marks, &room.care.definitions).unwrap();
        assert_eq!(intake.job.lane, Lane::Crisis);
        room.app(&named).await;
        room.follow(NOW_MS).await;
        assert_eq!(told(gateway), []);
        room.app(&signal("safety_plan.updated", "cus_1", 0, r#","steps":[]"#)).await;
        assert!(room.follow_ups().is_empty());
        room.app(&signal("consent.updated", "cus_1", 0, r#","crisis_contact_consent":true"#)).await;
        room.follow(NOW_MS).await;
        assert_eq!(told(gateway).len(), 2);
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
    on_each_telling(async |room, gateway| {
        agree(room, "cus_1", CONTACTS).await;
        let agreed = consents("cus_1", 60, true);
        room.app(&agreed).await;
        // An hour slow.
        room.app(&consents("cus_1", 3_600, false)).await;
        room.app(&agreed).await;
        let fewer = CONTACTS.replace("\"c-sister\"", "\"c-cousin\"");
        agree(room, "cus_2", CONTACTS).await;
        room.app(&signal("contacts.updated", "cus_2", 3_600, &fewer)).await;
        for customer in ["cus_1", "cus_2"] {
            press(room, customer, "critical", NOW_MS).await;
        }
        room.follow(NOW_MS).await;
        // Ada, the sister, has become the cousin; of the first person nobody is told.
        let expected = [("notified", 2), ("skipped/contact_consent", 1), ("skipped/person_consent", 3)];
        is(&recorded(room).await, &expected);
        // What is agreed to anew counts, and what is only older takes nothing.
        room.app(&consents("cus_1", 50, true)).await;
        let more = CONTACTS.replace("\"consent_to_contact\":true", "\"consent_to_contact\":\"true\"");
        room.app(&signal("contacts.updated", "cus_1", 3_600, &more.replace("+49", "+43"))).await;
        room.follow(NOW_MS).await;
        let told = told(gateway);
        assert_eq!(told.len(), 4);
        assert!(told.iter().all(|(_, address, _)| !address.starts_with("+43")), "{told:?}");
    })
    .await;
}
