//! Emergency contacts are told when all have agreed, as much as was agreed to, once, and what becomes of each is
//! recorded.

use keepwell_jobs::{care::contacts::QUEUED_MS, kinds, store::notice_counts};
use keepwell_workers::{clock::UnixMs, database::turn::Urgency, job::NewJob, lane::Lane, outcome::Outcome};

use crate::support::{
    NOW_MS, Room,
    gateway::{Gateway, Manner},
    on_each_database, signal,
};

/// Far more than a gateway on this machine needs.
pub const PATIENT_MS: u64 = 20_000;

const HOUR_MS: i64 = 60 * 60 * 1_000;

/// Kim's sister and therapist have agreed; the neighbour has not.
pub const CONTACTS: &str = r#","automatic_notification":true,"crisis_level_triggers":["high","critical"],
    "context_sharing_level":"standard","display_name":"Kim","contacts":[
    {"id":"c-sister","name":"Ada","relationship":"sister","phone":"+49 170 1111111","priority":1,
     "consent_to_contact":true,"preferred_contact_method":"text","locale":"de"},
    {"id":"c-neighbour","phone":"+49 170 2222222","priority":2,"preferred_contact_method":"call"},
    {"id":"c-therapist","email":"t@example.org","priority":3,"consent_to_contact":true,
     "preferred_contact_method":"call"}]"#;

/// The same in the app's own spelling, of one who can be reached between eight and ten in the evening in Vienna; now
/// it is a quarter past eleven at night there.
pub const EVENINGS: &str = r#","automaticNotification":true,"crisisLevelTriggers":["moderate"],"contextSharingLevel":"detailed",
    "contacts":[{"id":"c-friend","phone":"+43 1","consentToContact":true,"preferredContactMethod":"call",
    "availableHours":"20:00-22:00","timeZone":"Europe/Vienna"}]"#;

pub async fn agree(room: &Room, customer: &str, contacts: &str) {
    room.app(&signal("contacts.updated", customer, 900, contacts)).await;
    room.app(&signal("consent.updated", customer, 900, r#","crisis_contact_consent":true"#)).await;
}

pub async fn press(room: &Room, customer: &str, severity: &str, now_ms: UnixMs) {
    let ago_s = (NOW_MS - now_ms) / 1_000;
    room.app_at(&signal("crisis.signal", customer, ago_s, &format!(r#","severity":"{severity}""#)), now_ms)
        .await;
}

/// What tells the contacts of `customer`, who has just pressed the button.
pub async fn about_to_be_told(room: &Room, customer: &str, severity: &str) -> Vec<NewJob> {
    press(room, customer, severity, NOW_MS).await;
    let due = room.follow_ups().into_iter().find(|job| &*job.kind == kinds::CONTACTS_DUE).unwrap();
    room.run(due, NOW_MS).await;
    room.follow_ups()
}

/// How often each result was recorded, as `result` or `result/reason`.
pub async fn recorded(room: &Room) -> Vec<(String, i64)> {
    let mut reader = room.database.reader(Urgency::General).await.unwrap();
    let counts = notice_counts(&mut reader, NOW_MS).await.unwrap();
    assert_eq!(notice_counts(&mut reader, UnixMs::MAX).await.unwrap(), []);
    let word = |count: &keepwell_jobs::store::NoticeCount| match &count.reason {
        Some(reason) => format!("{}/{reason}", count.result),
        None => count.result.clone(),
    };
    counts.iter().map(|count| (word(count), count.count)).collect()
}

pub fn is(recorded: &[(String, i64)], expected: &[(&str, i64)]) {
    let recorded: Vec<(&str, i64)> = recorded.iter().map(|(word, count)| (word.as_str(), *count)).collect();
    assert_eq!(recorded, expected);
}

/// What emergency contacts were told, as method, address and body.
pub fn told(gateway: &Gateway) -> Vec<(String, String, String)> {
    let notices = gateway.taken().into_iter().map(|notice| notice.document);
    let contacts = notices.filter(|document| document["kind"] == "emergency_contact");
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    contacts
        .map(|document| {
            (text(&document["to"]["method"]), text(&document["to"]["address"]), text(&document["body"]))
        })
        .collect()
}

#[tokio::test]
async fn whoever_has_agreed_is_told_their_way_and_the_others_are_recorded_as_skipped() {
    on_each_database(async |room| {
        let gateway = Gateway::start().await;
        let room = room.telling(&gateway, PATIENT_MS);
        agree(&room, "cus_1", CONTACTS).await;
        press(&room, "cus_1", "high", NOW_MS).await;
        room.follow(NOW_MS).await;
        let [sister, therapist] = &told(&gateway)[..] else { panic!("{:?}", told(&gateway)) };
        assert_eq!((&*sister.0, &*sister.1), ("sms", "+49 170 1111111"));
        // How else she can be reached goes along, for a gateway that finds a way closed.
        let mut documents = gateway.taken().into_iter().map(|notice| notice.document);
        let document = documents.find(|document| document["locale"] == "de").unwrap();
        let otherwise = serde_json::json!([{ "method": "call", "address": "+49 170 1111111" }]);
        assert_eq!(document["to"]["otherwise"], otherwise);
        assert!(sister.2.starts_with("Kim hat dich als Notfallkontakt benannt"), "{}", sister.2);
        // A therapist without a number for calls is written to.
        assert_eq!((&*therapist.0, &*therapist.1), ("email", "t@example.org"));
        assert!(therapist.2.contains("Kim has named you") && therapist.2.contains("988"), "{}", therapist.2);
        assert!(!therapist.2.contains("serious"), "{}", therapist.2);
        is(&recorded(&room).await, &[("notified", 2), ("skipped/contact_consent", 1)]);
    })
    .await;
}

#[tokio::test]
async fn without_a_gateway_it_is_recorded_who_would_have_been_told() {
    on_each_database(async |room| {
        agree(room, "cus_1", CONTACTS).await;
        press(room, "cus_1", "high", NOW_MS).await;
        room.follow(NOW_MS).await;
        is(&recorded(room).await, &[("skipped/contact_consent", 1), ("skipped/no_gateway", 2)]);
        // With the next sign, once there is a gateway, they are told: nobody was.
        let gateway = Gateway::start().await;
        let room = room.telling(&gateway, PATIENT_MS);
        press(&room, "cus_1", "high", NOW_MS + 1_000).await;
        room.follow(NOW_MS + 1_000).await;
        assert_eq!(told(&gateway).len(), 2);
    })
    .await;
}

#[tokio::test]
async fn each_contact_is_a_job_of_the_crisis_lane_that_waits_for_nobody() {
    on_each_database(async |room| {
        let room = room.telling(&Gateway::start().await, PATIENT_MS);
        agree(&room, "cus_1", CONTACTS).await;
        press(&room, "cus_1", "critical", NOW_MS).await;
        let due = room.follow_ups().into_iter().find(|job| &*job.kind == "care.contacts_due").unwrap();
        assert_eq!((due.lane, &due.turn), (Lane::Crisis, &None));
        room.run(due, NOW_MS).await;
        let jobs = room.follow_ups();
        assert_eq!(jobs.len(), 2);
        for job in jobs {
            assert_eq!((&*job.kind, job.lane, &job.turn), ("care.contact_told", Lane::Crisis, &None));
            assert_eq!(job.subject.as_deref(), Some("cus_1"));
        }
        is(&recorded(&room).await, &[("queued", 2), ("skipped/contact_consent", 1)]);
    })
    .await;
}

#[tokio::test]
async fn nobody_is_told_against_somebodys_will() {
    on_each_database(async |room| {
        let gateway = Gateway::start().await;
        let room = room.telling(&gateway, PATIENT_MS);
        let consent = |yes: bool| format!(r#","crisis_contact_consent":{yes}"#);
        for (customer, contacts, agreed, severity) in [
            ("silent", CONTACTS.to_owned(), None, "critical"),
            ("no", CONTACTS.to_owned(), Some(false), "critical"),
            (
                "by-hand",
                CONTACTS.replace("notification\":true", "notification\":false"),
                Some(true),
                "critical",
            ),
            ("mild", CONTACTS.to_owned(), Some(true), "moderate"),
            (
                "unreachable",
                CONTACTS.replace("\"phone\"", "\"fax\"").replace("email", "fax"),
                Some(true),
                "critical",
            ),
            ("nonsense", r#","contacts":"none""#.to_owned(), Some(true), "critical"),
        ] {
            room.app(&signal("contacts.updated", customer, 900, &contacts)).await;
            if let Some(agreed) = agreed {
                room.app(&signal("consent.updated", customer, 900, &consent(agreed))).await;
            }
            press(&room, customer, severity, NOW_MS).await;
        }
        press(&room, "nobody", "critical", NOW_MS).await;
        room.follow(NOW_MS).await;
        assert_eq!(told(&gateway), []);
        let expected = [
            ("skipped/contact_consent", 1),
            ("skipped/no_address", 3),
            ("skipped/not_automatic", 3),
            ("skipped/person_consent", 6),
            ("skipped/severity", 2),
        ];
        is(&recorded(&room).await, &expected);
    })
    .await;
}

#[tokio::test]
async fn a_critical_crisis_waits_for_no_hours_and_any_other_for_the_next_ones() {
    on_each_database(async |room| {
        let gateway = Gateway::start().await;
        let room = room.telling(&gateway, PATIENT_MS);
        for customer in ["grave", "hard", "over"] {
            agree(&room, customer, EVENINGS).await;
        }
        press(&room, "grave", "critical", NOW_MS).await;
        press(&room, "hard", "high", NOW_MS).await;
        press(&room, "over", "high", NOW_MS).await;
        let later = room.follow(NOW_MS).await;
        let [(method, number, body)] = &told(&gateway)[..] else { panic!("{:?}", told(&gateway)) };
        assert_eq!((&**method, &**number), ("call", "+43 1"));
        assert!(body.contains("since 2023-11-14 23:13") && body.contains("very serious"), "{body}");
        assert!(body.starts_with("Somebody who trusts you"), "{body}");
        is(&recorded(&room).await, &[("later", 2), ("notified", 1)]);

        // At eight the next evening.
        let begin_ms = 1_700_074_800_000;
        assert_eq!(later.iter().map(|job| job.run_at_ms).collect::<Vec<_>>(), [Some(begin_ms); 2]);
        room.app_at(&signal("crisis.resolved", "over", -60, ""), NOW_MS + 60_000).await;
        for job in later {
            room.run(job, begin_ms).await;
        }
        room.follow(begin_ms).await;
        assert_eq!(told(&gateway).len(), 2);
        is(&recorded(&room).await, &[("notified", 2), ("skipped/crisis_over", 1)]);
    })
    .await;
}

#[tokio::test]
async fn whoever_was_told_is_not_told_again_unless_it_gets_worse_or_half_a_day_passes() {
    on_each_database(async |room| {
        let gateway = Gateway::start().await;
        let room = room.telling(&gateway, PATIENT_MS);
        agree(&room, "cus_1", CONTACTS).await;
        for (severity, after_ms, count) in [
            ("high", 0, 2),
            ("high", HOUR_MS, 2),
            ("moderate", 2 * HOUR_MS, 2),
            ("critical", 3 * HOUR_MS, 4),
            ("critical", 15 * HOUR_MS - 1_000, 4),
            ("critical", 15 * HOUR_MS, 6),
        ] {
            press(&room, "cus_1", severity, NOW_MS + after_ms).await;
            room.follow(NOW_MS + after_ms).await;
            assert_eq!(told(&gateway).len(), count, "{severity} after {after_ms} ms");
        }
        // What only adds to the crisis is no reason to call somebody's sister.
        room.app_at(&signal("tool.failed", "cus_1", -16 * 3_600, ""), NOW_MS + 30 * HOUR_MS).await;
        assert!(room.follow_ups().is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_contact_that_the_gateway_refuses_is_not_recorded_as_told() {
    on_each_database(async |room| {
        let gateway = Gateway::start().await;
        let room = room.telling(&gateway, PATIENT_MS);
        agree(&room, "cus_1", EVENINGS).await;
        let [job] = &about_to_be_told(&room, "cus_1", "critical").await[..] else { panic!("one contact") };
        gateway.next([Manner::Answers(422, Vec::new())]);
        let outcome = room.run(job.clone(), NOW_MS).await;
        assert!(matches!(outcome, Outcome::Dead { .. }), "{outcome:?}");
        is(&recorded(&room).await, &[("skipped/not_delivered", 1)]);
        assert_eq!(room.run(job.clone(), NOW_MS).await, Outcome::Done);
        is(&recorded(&room).await, &[("notified", 1)]);
    })
    .await;
}

/// What tells the one contact of somebody in a critical crisis.
async fn about_to_tell_one(room: &Room, customer: &str) -> NewJob {
    agree(room, customer, EVENINGS).await;
    about_to_be_told(room, customer, "critical").await.pop().unwrap()
}

/// Runs `job` until the gateway is asked, which hangs, and no further: as a process that is killed then.
pub async fn killed_while_telling(room: &Room, gateway: &Gateway, job: &NewJob) {
    gateway.next([Manner::Hangs]);
    let asked = gateway.asked().len();
    let reached = async {
        while gateway.asked().len() == asked {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        outcome = room.run(job.clone(), NOW_MS) => panic!("{outcome:?}"),
        () = reached => {}
    }
}

#[tokio::test]
async fn whoever_may_have_been_told_is_never_recorded_as_not_told() {
    on_each_database(async |room| {
        let gateway = Gateway::start().await;
        let room = room.telling(&gateway, PATIENT_MS);
        let lost = about_to_tell_one(&room, "lost").await;
        gateway.next([Manner::TakesAndHangsUp]);
        assert!(matches!(room.run(lost.clone(), NOW_MS).await, Outcome::Retry { .. }));
        let dying = about_to_tell_one(&room, "dying").await;
        gateway.next([Manner::Answers(504, Vec::new())]);
        assert!(matches!(room.run_again(dying, 99, NOW_MS, NOW_MS).await, Outcome::Retry { .. }));
        let killed = about_to_tell_one(&room, "killed").await;
        killed_while_telling(&room, &gateway, &killed).await;
        is(&recorded(&room).await, &[("perhaps_told", 3)]);
        // Nobody is told any more, and nobody says that they were not. Nor are they told by another sign, for a while.
        for (customer, job) in [("lost", lost), ("killed", killed.clone())] {
            press(&room, customer, "critical", NOW_MS + 1_000).await;
            room.follow(NOW_MS + 1_000).await;
            room.app(&signal("consent.updated", customer, 0, r#","crisis_contact_consent":false"#)).await;
            room.follow_ups();
            assert_eq!(room.run(job, NOW_MS).await, Outcome::Done);
        }
        is(&recorded(&room).await, &[("perhaps_told", 3), ("skipped/told_lately", 2)]);
        // Whoever is known to have been told is recorded so.
        room.app(&signal("consent.updated", "killed", 0, r#","crisis_contact_consent":true"#)).await;
        room.follow_ups();
        assert_eq!(room.run(killed, NOW_MS).await, Outcome::Done);
        is(&recorded(&room).await, &[("notified", 1), ("perhaps_told", 2), ("skipped/told_lately", 2)]);
    })
    .await;
}

#[tokio::test]
async fn a_contact_counts_as_not_told_when_the_gateway_was_tried_for_the_last_time() {
    on_each_database(async |room| {
        let gateway = Gateway::start().await;
        let room = room.telling(&gateway, PATIENT_MS);
        agree(&room, "cus_1", EVENINGS).await;
        let [job] = &about_to_be_told(&room, "cus_1", "critical").await[..] else { panic!("one contact") };
        for (attempts, result) in [(98, "queued"), (99, "skipped/not_delivered")] {
            gateway.next([Manner::Answers(503, Vec::new())]);
            let outcome = room.run_again(job.clone(), attempts, NOW_MS, NOW_MS).await;
            assert!(matches!(outcome, Outcome::Retry { .. }), "{outcome:?}");
            is(&recorded(&room).await, &[(result, 1)]);
        }
        // So the next sign of the crisis is told at once.
        press(&room, "cus_1", "critical", NOW_MS + 1_000).await;
        room.follow(NOW_MS + 1_000).await;
        assert_eq!(told(&gateway).len(), 1);
    })
    .await;
}

#[tokio::test]
async fn whoever_could_not_be_told_is_told_with_the_next_sign_hours_later() {
    on_each_database(async |room| {
        let gateway = Gateway::start().await;
        let room = room.telling(&gateway, PATIENT_MS);
        agree(&room, "cus_1", EVENINGS).await;
        // The gateway refuses for good: the job is dead, and nobody retries it.
        let [dead] = &about_to_be_told(&room, "cus_1", "critical").await[..] else { panic!("one contact") };
        assert_eq!(&*dead.kind, "care.contact_told");
        for (after_ms, count) in [(QUEUED_MS, 0), (QUEUED_MS + 1, 1)] {
            press(&room, "cus_1", "critical", NOW_MS + after_ms).await;
            room.follow(NOW_MS + after_ms).await;
            assert_eq!(told(&gateway).len(), count, "after {after_ms} ms");
        }
    })
    .await;
}

#[tokio::test]
async fn who_the_contacts_are_is_readable_nowhere_in_the_database() {
    on_each_database(async |room| {
        let gateway = Gateway::start().await;
        let room = room.telling(&gateway, PATIENT_MS);
        agree(&room, "cus_1", CONTACTS).await;
        press(&room, "cus_1", "critical", NOW_MS).await;
        room.follow(NOW_MS).await;
        assert_eq!(told(&gateway).len(), 2);
        let mut file = Vec::new();
        for name in ["jobs.db", "jobs.db-wal"] {
            file.extend(std::fs::read(room.directory.path().join(name)).unwrap_or_default());
        }
        assert!(!file.is_empty());
        for word in ["1111111", "c-sister", "t@example.org", "Notfallkontakt"] {
            assert!(!file.windows(word.len()).any(|window| window == word.as_bytes()), "{word}");
        }
    })
    .await;
}
