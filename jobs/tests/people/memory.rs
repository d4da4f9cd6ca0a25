//! What is remembered about a person is what the database holds, whatever happens to the database or to its rows
//! meanwhile.

use bytes::Bytes;
use keepwell_jobs::{
    care::{crisis::Road, facts::PaymentFailure},
    intake::read_app,
    store,
};
use keepwell_workers::{
    database::{Durability, turn::Urgency},
    on_connection,
};

use crate::support::{NOW_MS, NOW_S, Room, on_each_database, signal};

/// Signals that come while somebody asks.
const SIGNALS: i64 = 60;

/// Takes everything about everybody from the database, as the death of a server does with its last commits.
async fn forget(room: &Room) {
    let mut transaction =
        room.database.begin(Urgency::General, Durability::Durable, NOW_MS).await.expect("a transaction");
    for sql in ["DELETE FROM crisis_signals", "DELETE FROM grace_periods", "DELETE FROM customers"] {
        on_connection!(transaction, |connection| sqlx::query(sql).execute(connection).await.map(|_| ()))
            .expect("a deletion");
    }
    transaction.commit().await.expect("a commit");
}

#[tokio::test]
async fn a_version_that_was_lost_and_given_again_is_not_mistaken_for_the_first() {
    on_each_database(async |room| {
        room.app(&signal("crisis.signal", "cus_1", 9, r#","severity":"critical""#)).await;
        assert_eq!(room.access("cus_1", NOW_MS).await.crisis.severity, Some("critical"));
        forget(room).await;

        let later = signal("crisis.signal", "cus_1", 3, r#","severity":"moderate""#);
        let intake = read_app("msg_2", &Bytes::from(later), &room.care.marks, &room.care.definitions)
            .expect("a signal");
        room.beside().run(intake.job, NOW_MS + 1_000).await;
        let document = room.access("cus_1", NOW_MS + 1_000).await;
        assert_eq!((document.version, document.crisis.severity), (1, Some("moderate")));
    })
    .await;
}

#[tokio::test]
async fn what_is_read_while_it_changes_is_of_one_moment() {
    on_each_database(async |room| {
        let changes = async {
            for _ in 0..SIGNALS {
                room.app(&signal("crisis.signal", "cus_1", 9, r#","severity":"high""#)).await;
            }
        };
        let questions = async {
            let mut seen = 0;
            while seen < SIGNALS {
                let beside = room.beside();
                let mut reader = room.database.reader(Urgency::General).await.expect("a reader");
                let facts = store::facts(&mut reader, "cus_1", &beside.care.memory).await.expect("an answer");
                assert_eq!(facts.signals.len() as i64, facts.version);
                seen = facts.version;
            }
        };
        tokio::join!(changes, questions);
    })
    .await;
}

#[tokio::test]
async fn runs_of_one_transaction_know_what_those_before_them_taught() {
    on_each_database(async |room| {
        let database = &room.database;
        let begun = database.begin(Urgency::General, Durability::Relaxed, NOW_MS).await;
        let mut transaction = begun.expect("a transaction");
        // In turns, so that somebody's rows are waiting among another's when they are asked for.
        for round in 1..=3 {
            for customer in ["cus_1", "cus_2"] {
                let taught = store::taught(&mut transaction, customer, &room.care, |facts| {
                    assert_eq!(facts.version, round - 1, "everything before this was learned");
                    let failure = PaymentFailure {
                        invoice: format!("in_{round}"),
                        subscription: None,
                        attempt_count: 1,
                        event_created_s: NOW_S,
                        event_id: format!("evt_{round}"),
                        road: Road::Brought,
                    };
                    facts.payment_failed(failure, NOW_MS);
                });
                taught.await.expect("a database");
            }
        }
        transaction.take_follow_ups();
        transaction.commit().await.expect("a commit");
        for customer in ["cus_1", "cus_2"] {
            let facts = room.facts(customer).await;
            assert_eq!((facts.version, facts.invoices.len(), facts.graces.len()), (3, 3, 3));
        }
    })
    .await;
}

/// Hears of a crisis in `room`'s process.
async fn learn(room: &Room, customer: &str) {
    room.app(&signal("crisis.signal", customer, 9, r#","severity":"high""#)).await;
}

/// How many crises `room`'s process says it knows of, and of which version that is.
async fn known(room: &Room, customer: &str) -> (i64, i64) {
    let mut reader = room.database.reader(Urgency::General).await.expect("a reader");
    let facts = store::facts(&mut reader, customer, &room.care.memory).await.expect("an answer");
    (facts.signals.len() as i64, facts.version)
}

#[tokio::test]
async fn what_another_process_learned_is_neither_answered_stale_nor_overwritten() {
    on_each_database(async |here| {
        let there = here.beside();
        let processes = [here, &there];
        for learned in 0..12 {
            // Everything happens at the same instant, and both remember what was before.
            for process in processes {
                assert_eq!(known(process, "cus_1").await, (learned, learned));
            }
            learn(processes[learned as usize % 2], "cus_1").await;
        }
        assert_eq!(here.facts("cus_1").await.signals.len(), 12);
    })
    .await;
}

#[tokio::test]
async fn what_two_processes_learn_at_once_is_all_kept() {
    on_each_database(async |here| {
        let there = here.beside();
        let learn_many = async |process: &Room| {
            for _ in 0..SIGNALS / 2 {
                learn(process, "cus_1").await;
            }
        };
        tokio::join!(learn_many(here), learn_many(&there));
        for process in [here, &there] {
            assert_eq!(known(process, "cus_1").await, (SIGNALS, SIGNALS));
        }
    })
    .await;
}

#[tokio::test]
async fn what_was_undone_is_not_remembered_in_place_of_what_another_process_wrote() {
    on_each_database(async |here| {
        let there = here.beside();
        learn(here, "cus_1").await;
        let critical = signal("crisis.signal", "cus_1", 9, r#","severity":"critical""#);
        let intake = read_app("msg_1", &Bytes::from(critical), &here.care.marks, &here.care.definitions)
            .expect("a signal");
        let (_, undone) = here.apply(intake.job, NOW_MS).await;
        undone.rollback().await.expect("a rollback");
        // The same version at the same instant, and something else in it.
        learn(&there, "cus_1").await;
        for process in [here, &there] {
            assert_eq!(known(process, "cus_1").await, (2, 2));
            assert_eq!(process.access("cus_1", NOW_MS).await.crisis.severity, Some("high"));
        }
    })
    .await;
}

#[tokio::test]
async fn what_the_database_has_lost_is_not_remembered_in_place_of_what_it_knows() {
    on_each_database(async |room| {
        for _ in 0..3 {
            learn(room, "cus_1").await;
        }
        assert_eq!(known(room, "cus_1").await, (3, 3));
        forget(room).await;
        assert_eq!(known(room, "cus_1").await, (0, 0));
        assert_eq!(room.care.memory.last("cus_1").map(|facts| facts.version), None);
        // Another process begins anew with the versions that were given before.
        learn(&room.beside(), "cus_1").await;
        assert_eq!(known(room, "cus_1").await, (1, 1));
        assert_eq!(room.care.memory.last("cus_1").map(|facts| facts.version), Some(1));
    })
    .await;
}
