//! What is noted about people who do not come back is forgotten too, when its time is over and not before.

use keepwell_jobs::{
    kinds,
    store::{Violation, forget, keep_violation, take},
};
use keepwell_workers::{
    clock::UnixMs,
    database::{Dialect, Durability, turn::Urgency},
    job::NewJob,
    lane::Lane,
    on_connection,
};
use sqlx::AssertSqlSafe;

use crate::support::{DAY_MS, NOW_MS, NOW_S, Room, event, invoice, on_each_database, signal};

/// More than two batches.
const CONTACTS: i64 = 250;

/// Notes that many contacts of one person as told at [`NOW_MS`], and one crisis that was answered late then.
async fn fill(room: &Room) {
    room.app(&signal("crisis.signal", "cus_1", 5, r#","severity":"moderate""#)).await;
    let numbers = match room.database.dialect() {
        Dialect::Sqlite => format!(
            "(WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {CONTACTS}) \
             SELECT n FROM numbers) numbers"
        ),
        Dialect::Postgres => format!("generate_series(1, {CONTACTS}) numbers (n)"),
    };
    let sql = format!(
        "INSERT INTO contact_notices (customer, cause, contact, severity, result, method, at_ms) \
         SELECT 'cus_1', 'long ago', n, 'high', 'notified', 'text', {NOW_MS} FROM {numbers}"
    );
    let mut transaction = room.database.begin(Urgency::General, Durability::Relaxed, NOW_MS).await.unwrap();
    on_connection!(transaction, |connection| {
        sqlx::query(AssertSqlSafe(sql)).execute(connection).await.map(|_| ())
    })
    .unwrap();
    take(&mut transaction, "cus_1").await.unwrap();
    let violation = Violation {
        id: "late".to_owned(),
        customer: "cus_1".to_owned(),
        severity: keepwell_jobs::care::severity::Severity::High,
        at_ms: NOW_MS,
        limit_ms: 200,
        took_ms: 300,
    };
    keep_violation(&mut transaction, &violation).await.unwrap();
    transaction.commit().await.unwrap();
}

/// How many rows there are about contacts, and about crises that were answered late.
async fn kept(room: &Room) -> (i64, i64) {
    const SQL: &str = "SELECT (SELECT count(*) FROM contact_notices WHERE cause = 'long ago'), \
         (SELECT count(*) FROM crisis_violations)";
    let mut reader = room.database.reader(Urgency::General).await.unwrap();
    on_connection!(reader, |connection| sqlx::query_as(SQL).fetch_one(connection).await).unwrap()
}

/// Forgets everything that may be; says in how many batches.
async fn forgotten(room: &Room, late_before_ms: UnixMs, now_ms: UnixMs) -> u32 {
    let mut batches = 1;
    while forget(&room.database, late_before_ms, now_ms).await.unwrap() {
        batches += 1;
    }
    batches
}

#[tokio::test]
async fn what_is_noted_of_crises_is_forgotten_when_its_time_is_over() {
    on_each_database(async |room| {
        fill(room).await;
        assert_eq!(forgotten(room, NOW_MS, NOW_MS + 90 * DAY_MS).await, 1);
        assert_eq!(kept(room).await, (CONTACTS, 1));
        assert_eq!(forgotten(room, NOW_MS, NOW_MS + 90 * DAY_MS + 1).await, 3);
        assert_eq!(kept(room).await, (0, 1));
        assert_eq!(forgotten(room, NOW_MS + 1, NOW_MS + 90 * DAY_MS + 1).await, 1);
        assert_eq!(kept(room).await, (0, 0));
    })
    .await;
}

#[tokio::test]
async fn what_is_old_about_a_person_goes_together_and_nothing_of_anybody_else() {
    on_each_database(async |room| {
        for customer in ["cus_1", "cus_2"] {
            for id in ["in_1", "in_2", "in_3"] {
                let failed = invoice(customer).replace("in_1", id).replace("sub_1", &format!("sub_{id}"));
                room.stripe(&event(id, "invoice.payment_failed", 0, &failed)).await;
            }
            for (severity, ago_s) in [("moderate", 10), ("critical", 20)] {
                let more = format!(r#","severity":"{severity}""#);
                let body = signal("crisis.signal", customer, ago_s, &more);
                room.run(
                    NewJob::new(kinds::CRISIS_SIGNALLED, Lane::Crisis, body).dedupe_key(severity),
                    NOW_MS,
                )
                .await;
            }
        }
        room.follow_ups();
        let kept = async |customer: &str| {
            let facts = room.facts(customer).await;
            (facts.invoices.len(), facts.graces.len(), facts.signals.len())
        };
        let before = kept("cus_2").await;
        assert!(before.0 == 3 && before.1 >= 3 && before.2 >= 2, "{before:?}");
        let later_ms = NOW_MS + 300 * DAY_MS;
        // Each time something is closed that is forgotten the next time.
        for day in 0..3 {
            let at_ms = later_ms + 100 * day * DAY_MS;
            let over = signal("crisis.resolved", "cus_1", NOW_S - at_ms / 1_000, "");
            room.app_at(&over, at_ms).await;
        }
        let left = kept("cus_1").await;
        assert_eq!((left.0, left.2), (0, 0), "{left:?}");
        assert_eq!(kept("cus_2").await, before);
    })
    .await;
}
