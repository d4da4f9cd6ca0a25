//! What becomes of contacts whom nobody will tell, and of those whom two runs of one job tell at once.

use keepwell_jobs::{
    care::{
        contacts::{Method, Skipped},
        severity::Severity,
    },
    settle_all_untold,
    store::{NoticeKey, NoticeResult, Telling, begin_telling, contact_number, keep_notice, not_yet_told},
};
use keepwell_workers::{
    database::{Durability, Transaction, turn::Urgency},
    job::NewJob,
    lane::Lane,
    on_connection,
    outcome::Outcome,
};

use super::{
    contacts::{EVENINGS, PATIENT_MS, about_to_be_told, agree, is, recorded, told},
    withdrawals::holds_jobs,
};
use crate::support::{
    DAY_MS, NOW_MS, Room,
    gateway::{Gateway, Manner},
    on_each_database, signal,
};

/// What tells the one contact of somebody in a critical crisis.
async fn about_to_tell_one(room: &Room, customer: &str) -> NewJob {
    agree(room, customer, EVENINGS).await;
    about_to_be_told(room, customer, "critical").await.pop().unwrap()
}

/// How often the trail has that a contact was left out.
async fn audited(room: &Room) -> i64 {
    let sql = "SELECT COUNT(*) FROM audit_entries WHERE action = 'contact.skipped'";
    let mut reader = room.database.reader(Urgency::General).await.unwrap();
    let (count,) =
        on_connection!(reader, |connection| sqlx::query_as(sql).fetch_one(connection).await).unwrap();
    count
}

#[tokio::test]
async fn whom_nobody_will_tell_is_recorded_so_whatever_has_become_of_the_job() {
    on_each_database(async |room| {
        let gateway = Gateway::start().await;
        let room = room.telling(&gateway, PATIENT_MS);
        for state in ["owed", "dead", "cancelled", "gone"] {
            let job = about_to_tell_one(&room, state).await;
            if state != "gone" {
                holds_jobs(&room, vec![job], state).await;
            }
        }
        // Nobody knows whom this one tells.
        let job = about_to_tell_one(&room, "unreadable").await;
        let unreadable = NewJob::new(job.kind, Lane::Crisis, "{").subject("unreadable");
        holds_jobs(&room, vec![unreadable], "owed").await;
        let settle = async |since_ms| {
            settle_all_untold(&room.database, &room.care.keys, since_ms, NOW_MS + 1_000).await.unwrap();
        };
        settle(NOW_MS + 1).await;
        is(&recorded(&room).await, &[("queued", 5)]);
        for _ in 0..2 {
            settle(NOW_MS - DAY_MS).await;
            is(&recorded(&room).await, &[("queued", 2), ("skipped/not_delivered", 3)]);
            assert_eq!(audited(&room).await, 3, "each once");
        }
    })
    .await;
}

async fn begin(room: &Room) -> Transaction {
    room.database.begin(Urgency::General, Durability::Relaxed, NOW_MS).await.unwrap()
}

#[tokio::test]
async fn of_two_runs_that_tell_a_contact_the_one_that_knows_more_is_believed() {
    on_each_database(async |room| {
        let gateway = Gateway::start().await;
        let room = room.telling(&gateway, PATIENT_MS);
        let job = about_to_tell_one(&room, "cus_1").await;
        let payload: serde_json::Value = serde_json::from_slice(&job.payload).unwrap();
        let contact = contact_number("cus_1", "c-friend");
        let key = NoticeKey { customer: "cus_1", cause: payload["cause"].as_str().unwrap(), contact };
        let begins = async || {
            let mut transaction = begin(&room).await;
            let telling = begin_telling(&mut transaction, key).await.unwrap();
            transaction.commit().await.unwrap();
            telling
        };
        let takes_back = async |telling: &Telling| {
            let Telling::Begun(Some(before)) = telling else { panic!("{telling:?}") };
            let mut transaction = begin(&room).await;
            not_yet_told(&mut transaction, key, before).await.unwrap();
            transaction.commit().await.unwrap();
        };
        takes_back(&begins().await).await;
        is(&recorded(&room).await, &[("queued", 1)]);
        // The gateway refuses the first run while the second one is still on its way to it.
        let first = begins().await;
        assert!(matches!(begins().await, Telling::Begun(None)));
        takes_back(&first).await;
        is(&recorded(&room).await, &[("perhaps_told", 1)]);

        // The second one has told them; another begins after that, and one had decided otherwise.
        assert_eq!(room.run(job.clone(), NOW_MS).await, Outcome::Done);
        is(&recorded(&room).await, &[("notified", 1)]);
        gateway.next([Manner::Answers(422, Vec::new())]);
        assert_eq!(room.run(job.clone(), NOW_MS).await, Outcome::Done);
        assert!(matches!(begins().await, Telling::Told));
        for result in [
            NoticeResult::Skipped(Skipped::CrisisOver),
            NoticeResult::Queued(Method::Call),
            NoticeResult::Later,
        ] {
            let mut transaction = begin(&room).await;
            keep_notice(&mut transaction, key, Severity::High, result).await.unwrap();
            transaction.commit().await.unwrap();
        }
        room.app(&signal("consent.updated", "cus_1", 0, r#","crisis_contact_consent":false"#)).await;
        room.follow_ups();
        assert_eq!(room.run(job, NOW_MS).await, Outcome::Done);
        is(&recorded(&room).await, &[("notified", 1)]);
        assert_eq!((told(&gateway).len(), gateway.asked().len(), audited(&room).await), (1, 1, 0));
    })
    .await;
}
