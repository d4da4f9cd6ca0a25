//! What waits for a key is told from what nobody seals.

use keepwell_jobs::store::audit::{Sealer, Waits, append, waits_first};
use keepwell_workers::{
    clock::ManualClock,
    database::{Durability, turn::Urgency},
    seal::KeyRing,
};

use sqlx::{Connection as _, PgConnection};

use crate::{
    acknowledged::{acknowledge, only},
    rotation::rings,
    support::{NOW_MS, Room, on_each_database},
    tampering::{Tampering, lay_open},
    trail::{entry, execute, seal, sealer, write},
};

/// Writes an entry as a process does that has these `keys`.
async fn write_one(room: &Room, keys: &KeyRing) {
    let database = room.database.clone().sealing_with(keys.clone());
    let mut transaction = database.begin(Urgency::General, Durability::Relaxed, NOW_MS).await.unwrap();
    append(&mut transaction, &entry("lane.paused", "lane_1", NOW_MS)).await.unwrap();
    transaction.commit().await.unwrap();
}

#[tokio::test]
async fn what_waits_for_a_key_that_is_brought_round_is_told_from_what_nobody_seals() {
    on_each_database(async |room| {
        let [old, prepared, new] = rings();
        let sealer =
            |ring: &KeyRing| Sealer::new(room.database.clone(), ring.clone(), ManualClock::at(NOW_MS));
        let asked = async |ring: &KeyRing, seals| {
            let waits = waits_first(&room.database, ring, seals).await.unwrap();
            (waits.ready.is_some(), waits.for_key.map(|(_, key)| key))
        };
        let waits = async |ring: &KeyRing| asked(ring, false).await;
        let for_new = Some("new".to_owned());
        write_one(room, &old).await;
        assert_eq!(waits(&old).await, (true, None), "on its first day the trail has no key of its own yet");
        sealer(&old).round().await.unwrap();
        // One node has the new key and does not seal; those who seal do not have it yet.
        write_one(room, &new).await;
        assert_eq!(waits(&old).await, (false, for_new.clone()));
        assert_eq!(waits(&new).await, (false, for_new.clone()), "nor does who has it see a fault");
        assert_eq!(asked(&old, true).await, (false, for_new.clone()));
        assert_eq!(asked(&new, true).await, (true, None), "whoever seals with it waits for nothing");
        assert_eq!(asked(&prepared, true).await, (true, None));
        assert!(sealer(&old).round().await.unwrap().key_unknown.is_some());
        write_one(room, &old).await;
        assert_eq!(waits(&old).await, (true, for_new.clone()), "what they could seal waits for nothing else");
        assert_eq!(waits(&new).await, (true, for_new.clone()));
        assert_eq!(sealer(&prepared).round().await.unwrap().entries, 2);
        assert_eq!(waits(&old).await, (false, None));
        // Somebody seals with it, and then nobody does: only who does not have it waits for it.
        write_one(room, &new).await;
        let mut first = sealer(&new);
        assert!(first.round().await.unwrap().entries + first.round().await.unwrap().entries > 0);
        for (ring, key) in [(&new, "new"), (&old, "test")] {
            write_one(room, ring).await;
            assert_eq!(waits(&new).await, (true, None), "{key}");
            assert_eq!(waits(&old).await, (false, for_new.clone()), "{key}: the chain goes on under it");
        }
    })
    .await;
}

#[tokio::test]
async fn what_nobody_seals_is_seen_behind_very_many_that_wait_for_a_key() {
    on_each_database(async |room| {
        let [old, _, new] = rings();
        write_one(room, &old).await;
        Sealer::new(room.database.clone(), old.clone(), ManualClock::at(NOW_MS)).round().await.unwrap();
        let database = room.database.clone().sealing_with(new);
        for _ in 0..6 {
            let mut transaction =
                database.begin(Urgency::General, Durability::Relaxed, NOW_MS).await.unwrap();
            for number in 0..1_000 {
                append(&mut transaction, &entry("lane.paused", "lane_1", NOW_MS + number)).await.unwrap();
            }
            transaction.commit().await.unwrap();
        }
        write_one(room, &old).await;
        let waits = waits_first(&room.database, &old, true).await.unwrap();
        assert_eq!((waits.ready.is_some(), waits.for_key.is_some()), (true, true));
    })
    .await;
}

#[tokio::test]
async fn what_waits_for_a_key_is_not_read_to_find_what_nobody_seals() {
    const LOCKED: &str = "INSERT INTO audit_entries \
         (id, at_ms, actor_kind, actor, action, subject, details_digest, key_id, sealed) \
         SELECT ('01900000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, at_ms, actor_kind, actor, action, \
         subject, details_digest, 'new', sealed FROM audit_entries, generate_series(1, 40000) n WHERE position = 1";
    const READ: &str = "SELECT (COALESCE(seq_tup_read, 0) + COALESCE(idx_tup_fetch, 0))::BIGINT \
         FROM pg_stat_user_tables WHERE relname = 'audit_entries'";
    const OTHERS: &str = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
         AND pid <> pg_backend_pid() AND backend_type = 'client backend'";
    let Some(room) = Room::on_a_server_of_its_own().await else {
        return eprintln!("PostgreSQL is not installed: nothing was tested");
    };
    let [old, ..] = rings();
    write_one(&room, &old).await;
    Sealer::new(room.database.clone(), old.clone(), ManualClock::at(NOW_MS)).round().await.unwrap();
    execute(&room, LOCKED).await.unwrap();
    write_one(&room, &old).await;
    let waits = waits_first(&room.database, &old, true).await.unwrap();
    assert_eq!((waits.ready.is_some(), waits.for_key.is_some()), (true, true));
    // A session tells what it has read when it ends.
    room.database.close().await;
    let mut connection = PgConnection::connect(room.url()).await.unwrap();
    while sqlx::query_scalar::<_, i64>(OTHERS).fetch_one(&mut connection).await.unwrap() > 0 {}
    let read: i64 = sqlx::query_scalar(READ).fetch_one(&mut connection).await.unwrap();
    assert!((1..10_000).contains(&read), "{read} entries were read");
}

/// What waits for a block, as whoever seals sees it.
async fn waits(room: &Room) -> Waits {
    waits_first(&room.database, &room.care.keys, true).await.unwrap()
}

#[tokio::test]
async fn what_somebody_put_in_by_hand_waits_for_no_block_nor_for_a_key_that_somebody_knows_to_be_made_up() {
    on_each_database(async |room| {
        write(room, 3).await;
        seal(room).await;
        lay_open(room).await;
        for statement in (Tampering::Copy { from: 1, position: None }).statements() {
            execute(room, &statement).await.unwrap();
        }
        acknowledge(room, &only(room).await).await;
        seal(room).await;
        assert_eq!(waits(room).await, Waits::default());

        execute(room, "UPDATE audit_entries SET key_id = 'nowhere' WHERE position IS NULL").await.unwrap();
        let awaited = async || waits(room).await.for_key.map(|(_, key)| key);
        assert_eq!(awaited().await.as_deref(), Some("nowhere"), "it may be a key that is brought round");
        assert!(sealer(room, 3).round().await.unwrap().key_unknown.is_some());
        acknowledge(room, &only(room).await).await;
        seal(room).await;
        assert_eq!(waits(room).await, Waits::default());
        assert_eq!(sealer(room, 3).round().await.unwrap().key_unknown, None);

        // Behind it waits whatever is genuine, and what somebody does once more.
        write(room, 1).await;
        assert!(waits(room).await.ready.is_some());
        seal(room).await;
        execute(room, "UPDATE audit_entries SET subject = 'again' WHERE position IS NULL").await.unwrap();
        assert_eq!(awaited().await.as_deref(), Some("nowhere"));
        assert!(sealer(room, 3).round().await.unwrap().key_unknown.is_some());
    })
    .await;
}
