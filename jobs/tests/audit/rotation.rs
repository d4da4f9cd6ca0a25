//! A rotation of keys: everything is sealed with the new key in the end, whatever happens meanwhile.

use std::{collections::BTreeSet, sync::Arc};

use keepwell_jobs::{
    care::report::safeguards::NOT_SEALED,
    kinds,
    store::{
        PersonDataKind,
        audit::{AuditError, AuditFilter, Problem, Sealer, Verifier, list},
        keep_person_data,
        rotation::{KeyUse, ROWS_MAX, Rotation, Step, key_use, tables},
        taught,
    },
};
use keepwell_workers::{
    clock::ManualClock,
    database::Dialect,
    engine::{Engine, EngineOptions, EngineParts},
    handler::Registry,
    id::JobId,
    job::NewJob,
    lane::Lane,
    observer::Unobserved,
    on_connection,
    outcome::Outcome,
    seal::{KeyRing, SealingKey},
};
use zeroize::Zeroizing;

use crate::{
    support::{NOW_MS, Room, on_each_database, signal},
    trail::{begin, execute, finding, seal, write},
};

fn new_ring() -> KeyRing {
    let key = |id: &str, byte| SealingKey::new(id, &Zeroizing::new([byte; 32]));
    KeyRing::new(key("new", 9), [key("test", 7)])
}

fn rotation(room: &Room, keys: &KeyRing) -> Rotation {
    let database = room.database.clone().sealing_with(keys.clone());
    Rotation::new(database, keys.clone(), ManualClock::at(NOW_MS))
}

/// The keys in use, each with how much it sealed.
async fn used(room: &Room) -> Vec<(String, u64)> {
    let mut used = std::collections::BTreeMap::new();
    for KeyUse { key_id, rows, .. } in key_use(&room.database).await.unwrap() {
        *used.entry(key_id).or_default() += rows;
    }
    used.into_iter().collect()
}

/// Records `count` jobs as the door does, their payloads sealed with `keys`.
async fn record(room: &Room, keys: &KeyRing, count: usize) {
    let parts = EngineParts {
        database: room.database.clone(),
        keys: keys.clone(),
        clock: ManualClock::at(NOW_MS),
        registry: Registry::default(),
        redis_url: format!("unix://{}", room.directory.path().join("nobody.sock").display()),
        observer: Arc::new(Unobserved),
    };
    let engine =
        Engine::start(parts, &EngineOptions { runs_jobs: false, ..EngineOptions::default() }).unwrap();
    let jobs = (0..count)
        .map(|number| NewJob::new(kinds::EVENT_RECORDED, Lane::Background, format!("payload {number}")))
        .collect();
    engine.enqueue_all(jobs).await.unwrap();
    engine.shutdown().await;
}

/// Something in every table that has a sealed column.
async fn fill(room: &Room, jobs: usize) {
    record(room, &room.care.keys, jobs).await;
    for number in 0..40 {
        let customer = format!("cus_{number}");
        for (signal_type, more) in [
            ("contacts.updated", r#","contacts":[{"name":"Mina"}]"#),
            ("device.registered", r#","device":"phone","push":{"kind":"expo","token":"t"}"#),
        ] {
            assert_eq!(room.app(&signal(signal_type, &customer, 5, more)).await, Outcome::Done);
        }
    }
    seal(room).await;
    write(room, 1).await;
}

async fn to_its_end(rotation: &Rotation) -> usize {
    let mut steps = 0;
    while rotation.step().await.unwrap() != Step::Finished {
        steps += 1;
        assert!(steps < 1_000, "a rotation ends");
    }
    steps
}

#[tokio::test]
async fn after_a_rotation_the_old_key_opens_nothing_that_is_kept() {
    on_each_database(async |room| {
        fill(room, 150).await;
        let ring = new_ring();
        let rotation = rotation(room, &ring);
        assert_eq!(rotation.step().await.unwrap(), Step::Idle, "nobody asked for it");
        rotation.start("uid 0").await.unwrap();
        to_its_end(&rotation).await;
        let progress = rotation.progress().await.unwrap().unwrap();
        assert!(progress.finished_at_ms.is_some() && progress.resealed > 200, "{progress:?}");
        assert_eq!(progress.unreadable, 0);
        let used = used(room).await;
        assert_eq!(used.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>(), ["new"], "{used:?}");
        // The old key is gone, and everything still opens; the trail is the same.
        let alone = KeyRing::new(SealingKey::new("new", &Zeroizing::new([9; 32])), []);
        let verifier = Verifier::new(room.database.clone(), alone.clone());
        assert_eq!(verifier.page(None, 200, None, NOW_MS).await.unwrap().findings.first, None);
        let entries = list(&room.database, &alone, &AuditFilter::default(), None, 500).await.unwrap().items;
        assert!(entries.iter().all(|entry| entry.readable));
        let actions: Vec<&str> = entries.iter().map(|entry| entry.action.as_str()).collect();
        assert!(actions.contains(&"key.rotation_started") && actions.contains(&"key.rotation_finished"));
        let mut sealer = Sealer::new(room.database.clone(), alone.clone(), ManualClock::at(NOW_MS));
        assert!(sealer.round().await.unwrap().entries > 0);
        assert_eq!(verifier.page(None, 200, None, NOW_MS).await.unwrap().findings.first, None);
        assert_eq!(rotation.step().await.unwrap(), Step::Idle);
    })
    .await;
}

#[tokio::test]
async fn a_rotation_that_was_killed_goes_on_where_it_was() {
    on_each_database(async |room| {
        fill(room, 150).await;
        let ring = new_ring();
        rotation(room, &ring).start("uid 0").await.unwrap();
        let (mut steps, mut looked_at) = (0, 0);
        loop {
            // Each step by a process of its own; asking again changes nothing.
            let rotation = rotation(room, &ring);
            rotation.start("uid 0").await.unwrap();
            let progress = rotation.progress().await.unwrap().unwrap();
            assert!(progress.looked_at >= looked_at, "it never goes back");
            assert!(progress.resealed - progress.looked_at <= 0);
            looked_at = progress.looked_at;
            if rotation.step().await.unwrap() == Step::Finished {
                break;
            }
            steps += 1;
        }
        let progress = rotation(room, &ring).progress().await.unwrap().unwrap();
        assert!(i64::from(steps) >= progress.resealed / ROWS_MAX as i64, "in small batches");
        assert_eq!(used(room).await.len(), 1);
        // Nothing was done twice.
        let rows: u64 = used(room).await.iter().map(|(_, rows)| rows).sum();
        assert!(progress.resealed as u64 <= rows);
    })
    .await;
}

#[tokio::test]
async fn what_is_written_during_a_rotation_is_neither_lost_nor_left_behind() {
    on_each_database(async |room| {
        fill(room, 60).await;
        let ring = new_ring();
        let rotation = rotation(room, &ring);
        rotation.start("uid 0").await.unwrap();
        let mut stated_ms = NOW_MS;
        for number in 0.. {
            if rotation.step().await.unwrap() == Step::Finished {
                break;
            }
            // Another process that has not been restarted yet seals with the old key, in front of and behind the place
            // that was reached.
            if number % 3 == 0 && number < 20 {
                stated_ms += 1;
                for customer in ["cus_0", "cus_39"] {
                    let mut transaction = begin(room).await;
                    taught(&mut transaction, customer, &room.care, |_| {}).await.unwrap();
                    let value = format!("value {stated_ms}");
                    let (kind, job) = (PersonDataKind::Contacts, JobId::new(stated_ms));
                    let keys = &room.care.keys;
                    keep_person_data(
                        &mut transaction,
                        keys,
                        customer,
                        kind,
                        stated_ms,
                        job,
                        value.as_bytes(),
                    )
                    .await
                    .unwrap();
                    transaction.commit().await.unwrap();
                }
                record(room, &room.care.keys, 2).await;
            }
        }
        assert_eq!(used(room).await.len(), 1);
        let mut transaction = begin(room).await;
        let (key_id, sealed): (String, Vec<u8>) = on_connection!(transaction, |connection| {
            sqlx::query_as(
                "SELECT key_id, sealed FROM person_data WHERE customer = 'cus_0' AND kind = 'contacts'",
            )
            .fetch_one(connection)
            .await
        })
        .unwrap();
        let opened = ring.open(b"contacts\0cus_0", &key_id, &sealed).unwrap();
        assert_eq!(String::from_utf8(opened).unwrap(), format!("value {stated_ms}"));
        let payloads: Vec<(sqlx::types::Uuid, String, Vec<u8>)> = on_connection!(transaction, |connection| {
            sqlx::query_as("SELECT job_id, key_id, sealed FROM job_payloads").fetch_all(connection).await
        })
        .unwrap();
        assert_eq!(payloads.len(), 74);
        for (job, key_id, sealed) in payloads {
            assert!(ring.open(job.as_bytes(), &key_id, &sealed).unwrap().starts_with(b"payload "));
        }
    })
    .await;
}

#[tokio::test]
async fn a_process_that_was_not_restarted_yet_leaves_the_rotation_alone() {
    on_each_database(async |room| {
        fill(room, 3).await;
        let ring = new_ring();
        rotation(room, &ring).start("uid 0").await.unwrap();
        let begun = rotation(room, &ring).progress().await.unwrap();
        assert_eq!(rotation(room, &room.care.keys).step().await.unwrap(), Step::Idle);
        assert_eq!(rotation(room, &ring).progress().await.unwrap(), begun);
        to_its_end(&rotation(room, &ring)).await;
        assert_eq!(used(room).await.len(), 1);
    })
    .await;
}

/// The rings of two nodes while a key is brought to one after the other.
pub fn rings() -> [KeyRing; 3] {
    let key = |id: &str, byte| SealingKey::new(id, &Zeroizing::new([byte; 32]));
    let prepared = KeyRing::new(key("test", 7), [key("new", 9)]);
    [KeyRing::new(key("test", 7), []), prepared, new_ring()]
}

#[tokio::test]
async fn a_node_that_has_no_new_key_yet_says_so_and_nothing_of_tampering() {
    on_each_database(async |room| {
        let [old, _, new] = rings();
        let sealer =
            |ring: &KeyRing| Sealer::new(room.database.clone(), ring.clone(), ManualClock::at(NOW_MS));
        let mut behind = sealer(&old);
        write(room, 2).await;
        assert_eq!(behind.round().await.unwrap().entries, 2);
        rotation(room, &new).start("uid 0").await.unwrap();
        assert_eq!(sealer(&new).round().await.unwrap().entries, 1);
        write(room, 1).await;
        let error = behind.round().await.unwrap_err();
        assert!(matches!(&error, AuditError::KeyUnknown(key) if key == "new"), "{error:?}");
        let verify = async |ring: &KeyRing| {
            let verifier = Verifier::new(room.database.clone(), ring.clone());
            verifier
                .page(None, 200, None, NOW_MS)
                .await
                .unwrap()
                .findings
                .first
                .map(|finding| finding.problem)
        };
        assert_eq!(verify(&old).await, Some(Problem::KeyUnknown));
        assert_eq!(verify(&new).await, None);
        assert_eq!(sealer(&new).round().await.unwrap().entries, 1, "others seal meanwhile");
    })
    .await;
}

#[tokio::test]
async fn nodes_that_seal_in_turns_while_a_key_is_brought_to_them_make_one_whole_chain() {
    on_each_database(async |room| {
        let [old, prepared, new] = rings();
        let sealer =
            |ring: &KeyRing| Sealer::new(room.database.clone(), ring.clone(), ManualClock::at(NOW_MS));
        write(room, 1).await;
        assert_eq!(sealer(&old).round().await.unwrap().entries, 1);
        let (mut one, mut other) = (sealer(&prepared), sealer(&new));
        for _ in 0..3 {
            for sealer in [&mut one, &mut other] {
                write(room, 1).await;
                // The first round after another node made a key only learns of it.
                let first = sealer.round().await.unwrap().entries;
                assert!(first == 1 || sealer.round().await.unwrap().entries == 1);
            }
        }
        assert_eq!(finding(room).await.map(|finding| finding.problem), Some(Problem::KeyUnknown));
        let verifier = Verifier::new(room.database.clone(), prepared);
        let report = verifier.page(None, 200, None, NOW_MS).await.unwrap();
        assert_eq!((report.findings.first, report.blocks), (None, 7));
        let mut reader = begin(room).await;
        let (keys,): (i64,) = on_connection!(reader, |connection| {
            sqlx::query_as("SELECT COUNT(*) FROM audit_keys").fetch_one(connection).await
        })
        .unwrap();
        assert_eq!(keys, 2, "they do not take turns in making keys");
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_opened_is_left_alone_and_counted() {
    on_each_database(async |room| {
        fill(room, 5).await;
        execute(room, "UPDATE person_data SET key_id = 'lost' WHERE customer = 'cus_7'").await.unwrap();
        execute(
            room,
            "UPDATE devices SET sealed = (SELECT sealed FROM person_data WHERE customer = 'cus_1') \
             WHERE customer = 'cus_8'",
        )
        .await
        .unwrap();
        let ring = new_ring();
        let rotation = rotation(room, &ring);
        rotation.start("uid 0").await.unwrap();
        to_its_end(&rotation).await;
        assert_eq!(rotation.progress().await.unwrap().unwrap().unreadable, 2);
        let used = used(room).await;
        let rows = |key: &str| used.iter().find(|(id, _)| id == key).map(|(_, rows)| *rows);
        assert_eq!((rows("lost"), rows("test")), (Some(1), Some(1)));
    })
    .await;
}

#[tokio::test]
async fn every_sealed_column_is_rotated() {
    on_each_database(async |room| {
        let sql = match room.database.dialect() {
            Dialect::Sqlite => {
                "SELECT m.name FROM sqlite_master m JOIN pragma_table_info(m.name) c ON c.name = 'sealed' \
                 WHERE m.type = 'table'"
            }
            Dialect::Postgres => {
                "SELECT CAST(table_name AS TEXT) FROM information_schema.columns WHERE column_name = 'sealed'"
            }
        };
        let mut transaction = begin(room).await;
        let found: Vec<(String,)> =
            on_connection!(transaction, |connection| sqlx::query_as(sql).fetch_all(connection).await)
                .unwrap();
        let found: BTreeSet<String> = found.into_iter().map(|(name,)| name).collect();
        assert_eq!(found, tables().map(str::to_owned).collect());
    })
    .await;
}

#[tokio::test]
async fn what_says_something_of_people_and_is_not_sealed_is_named_in_every_report() {
    on_each_database(async |room| {
        let sql = match room.database.dialect() {
            Dialect::Sqlite => {
                "SELECT m.name FROM sqlite_master m JOIN pragma_table_info(m.name) c \
                 ON c.name IN ('customer', 'subject') WHERE m.type = 'table' \
                 AND NOT EXISTS (SELECT 1 FROM pragma_table_info(m.name) s WHERE s.name = 'sealed')"
            }
            Dialect::Postgres => {
                "SELECT CAST(table_name AS TEXT) FROM information_schema.columns c \
                 WHERE table_schema = 'public' AND column_name IN ('customer', 'subject') \
                 AND NOT EXISTS (SELECT 1 FROM information_schema.columns s WHERE s.table_name = c.table_name \
                 AND s.column_name = 'sealed')"
            }
        };
        let mut transaction = begin(room).await;
        let found: Vec<(String,)> =
            on_connection!(transaction, |connection| sqlx::query_as(sql).fetch_all(connection).await).unwrap();
        // They name people as well: one by their id, one by the job of their crisis.
        let mut found: BTreeSet<String> = found.into_iter().map(|(name,)| name).collect();
        found.extend(["customers", "crisis_responses"].map(str::to_owned));
        assert_eq!(found, BTreeSet::from(NOT_SEALED.map(str::to_owned)));
    })
    .await;
}
