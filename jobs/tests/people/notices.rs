//! What the audit trail says of emergency contacts.

use keepwell_workers::{database::turn::Urgency, on_connection, outcome::Outcome};

use crate::{
    contacts::{CONTACTS, PATIENT_MS, about_to_be_told, agree, killed_while_telling},
    support::{NOW_MS, Room, gateway::Gateway, on_each_database},
};

/// How many entries of the trail say that `action` was done.
async fn entries(room: &Room, action: &str) -> i64 {
    const SQL: &str = "SELECT COUNT(*) FROM audit_entries WHERE action = $1";
    let mut reader = room.database.reader(Urgency::General).await.unwrap();
    let (count,): (i64,) =
        on_connection!(reader, |connection| sqlx::query_as(SQL).bind(action).fetch_one(connection).await)
            .unwrap();
    count
}

#[tokio::test]
async fn that_a_contact_may_be_told_from_now_on_is_in_the_trail_whatever_becomes_of_the_process() {
    on_each_database(async |room| {
        let gateway = Gateway::start().await;
        let room = room.telling(&gateway, PATIENT_MS);
        agree(&room, "cus_1", CONTACTS).await;
        let job = about_to_be_told(&room, "cus_1", "critical").await.remove(0);
        assert_eq!(entries(&room, "contact.perhaps_told").await, 0);
        killed_while_telling(&room, &gateway, &job).await;
        assert_eq!(entries(&room, "contact.perhaps_told").await, 1);
        assert_eq!(room.run(job, NOW_MS).await, Outcome::Done);
        assert_eq!(entries(&room, "contact.perhaps_told").await, 1);
        assert_eq!(entries(&room, "contact.notified").await, 1);
    })
    .await;
}
