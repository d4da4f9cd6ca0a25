//! Nothing of the trail is changed, and nothing leaves before its time.

use keepwell_jobs::store::audit::{AUDIT_RETENTION_DAYS, AUDIT_RETENTION_MS, AuditFilter, append, prune};
use keepwell_workers::{
    clock::{Clock as _, SystemClock},
    database::Dialect,
};

use crate::{
    support::{DAY_MS, on_each_database},
    trail::{all, begin, entry, execute, finding, report, seal, sealer, write},
};

#[tokio::test]
async fn the_database_refuses_to_change_or_delete_anything_of_the_trail() {
    on_each_database(async |room| {
        write(room, 7).await;
        seal(room).await;
        write(room, 1).await;
        for (sql, refusal) in [
            ("UPDATE audit_entries SET action = 'x.y'", "never changed"),
            ("UPDATE audit_entries SET sealed = details_digest", "never"),
            ("UPDATE audit_entries SET position = 100 + position WHERE position > 0", "never changed"),
            ("UPDATE audit_entries SET position = NULL WHERE position > 0", "never changed"),
            ("UPDATE audit_entries SET subject = NULL, key_id = 'other'", "never changed"),
            ("DELETE FROM audit_entries", "2555 days"),
            ("UPDATE audit_blocks SET sealed_at_ms = 0", ""),
            ("DELETE FROM audit_blocks", "2555 days"),
            ("UPDATE audit_keys SET sealed = made_under", ""),
            ("DELETE FROM audit_keys", ""),
            ("DELETE FROM audit_head", ""),
        ] {
            let error = execute(room, sql).await.expect_err(sql);
            assert!(error.contains(refusal), "{sql}: {error}");
        }
        assert_eq!(finding(room).await, None);
        assert_eq!(all(room, &AuditFilter::default()).await.len(), 8);
    })
    .await;
}

#[tokio::test]
async fn what_is_older_than_seven_years_may_leave_and_the_rest_stays_whole() {
    assert_eq!(AUDIT_RETENTION_DAYS, 2_555);
    on_each_database(async |room| {
        let now_ms = SystemClock.now_ms();
        let old_ms = now_ms - AUDIT_RETENTION_MS - DAY_MS;
        let mut transaction = begin(room).await;
        for number in 0..5 {
            append(&mut transaction, &entry("old.thing", "a", old_ms + number)).await.unwrap();
        }
        append(&mut transaction, &entry("young.thing", "a", old_ms + 3 * DAY_MS)).await.unwrap();
        append(&mut transaction, &entry("young.thing", "a", now_ms)).await.unwrap();
        transaction.commit().await.unwrap();
        sealer(room, 2).round().await.unwrap();
        let keys = &room.care.keys;
        // Asking for less than seven years changes nothing.
        assert_eq!(prune(&room.database, keys, 0, now_ms - 5 * DAY_MS).await.unwrap(), 0);
        // The third block has something young in it.
        assert_eq!(prune(&room.database, keys, 0, now_ms).await.unwrap(), 2);
        assert_eq!(prune(&room.database, keys, 0, now_ms).await.unwrap(), 0);
        let left = all(room, &AuditFilter::default()).await;
        assert_eq!(left.len(), 3);
        assert_eq!(report(room, None).await.findings.first, None);
        // Without telling the head it is no retention.
        for trigger in ["audit_blocks_kept", "audit_entries_kept"] {
            let table = trigger.trim_end_matches("_kept");
            let on = if room.database.dialect() == Dialect::Postgres {
                format!(" ON {table}")
            } else {
                String::new()
            };
            execute(room, &format!("DROP TRIGGER {trigger}{on}")).await.unwrap();
        }
        execute(room, "DELETE FROM audit_entries WHERE position <= 6").await.unwrap();
        execute(room, "DELETE FROM audit_blocks WHERE number = 3").await.unwrap();
        let found = report(room, None).await.findings.first.expect("the block is missed");
        assert_eq!(found.block, Some(3));
    })
    .await;
}

#[tokio::test]
async fn what_somebody_made_look_old_does_not_leave() {
    on_each_database(async |room| {
        let now_ms = SystemClock.now_ms();
        let mut transaction = begin(room).await;
        for number in 0..8 {
            append(&mut transaction, &entry("young.thing", "a", now_ms - number)).await.unwrap();
        }
        transaction.commit().await.unwrap();
        sealer(room, 2).round().await.unwrap();
        let postgres = room.database.dialect() == Dialect::Postgres;
        for trigger in ["audit_blocks_unchanged", "audit_blocks_kept", "audit_entries_kept"] {
            let table = trigger.rsplit_once('_').unwrap().0;
            let on = if postgres { format!(" ON {table}") } else { String::new() };
            execute(room, &format!("DROP TRIGGER {trigger}{on}")).await.unwrap();
        }
        execute(room, "UPDATE audit_blocks SET newest_ms = 0").await.unwrap();
        assert_eq!(prune(&room.database, &room.care.keys, 0, now_ms).await.unwrap(), 0);
        assert_eq!(all(room, &AuditFilter::default()).await.len(), 8);
    })
    .await;
}

#[tokio::test]
async fn blocks_leave_by_eights_so_that_retention_keeps_up_with_sealing() {
    on_each_database(async |room| {
        let now_ms = SystemClock.now_ms();
        let mut transaction = begin(room).await;
        for number in 0..21 {
            let at_ms = now_ms - AUDIT_RETENTION_MS - DAY_MS + number;
            append(&mut transaction, &entry("old.thing", "a", at_ms)).await.unwrap();
        }
        transaction.commit().await.unwrap();
        sealer(room, 1).round().await.unwrap();
        let mut left = Vec::new();
        for _ in 0..4 {
            left.push(prune(&room.database, &room.care.keys, 0, now_ms).await.unwrap());
            assert_eq!(finding(room).await, None);
        }
        // The last one stays, for the next one to follow.
        assert_eq!(left, [8, 8, 4, 0]);
    })
    .await;
}

#[tokio::test]
async fn no_statement_replaces_anything_of_the_trail() {
    on_each_database(async |room| {
        write(room, 3).await;
        seal(room).await;
        write(room, 1).await;
        let columns = "at_ms, actor_kind, actor, action, subject, details_digest, key_id, sealed";
        let placed = format!(
            "INSERT INTO audit_entries (id, position, {columns}) SELECT id, 4, {columns} FROM audit_entries \
             WHERE position IS NULL"
        );
        assert!(execute(room, &placed).await.is_err(), "an entry is not added with its position");
        if room.database.dialect() == Dialect::Sqlite {
            for (sql, refusal) in [
                ("UPDATE OR REPLACE audit_entries SET position = 1 WHERE position IS NULL", "never changed"),
                ("INSERT OR REPLACE INTO audit_entries SELECT * FROM audit_entries", "added once"),
                ("INSERT OR REPLACE INTO audit_blocks SELECT * FROM audit_blocks", "added once"),
                ("INSERT OR REPLACE INTO audit_keys SELECT * FROM audit_keys", "added once"),
                ("INSERT OR REPLACE INTO audit_head SELECT * FROM audit_head", "one head"),
            ] {
                let error = execute(room, sql).await.expect_err(sql);
                assert!(error.contains(refusal), "{sql}: {error}");
            }
        }
        assert_eq!(finding(room).await, None);
        assert_eq!(all(room, &AuditFilter::default()).await.len(), 4);
    })
    .await;
}
