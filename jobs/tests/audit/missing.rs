//! Entries that are taken away before they are in a block: whoever wrote them misses them.

use keepwell_jobs::store::audit::{AuditFilter, Problem, tell_of_missing, waits_first};
use keepwell_workers::database::Database;

use crate::{
    support::{NOW_MS, Room, on_each_database},
    tampering::lay_open,
    trail::{all, begin, entry, execute, finding, report, seal, write},
};

/// How many entries the process of `database` misses.
async fn missed(database: &Database) -> usize {
    tell_of_missing(database, NOW_MS).await.expect("a database")
}

/// Takes the entry about `lane` away.
async fn remove(room: &Room, lane: &str) {
    let removed = execute(room, &format!("DELETE FROM audit_entries WHERE subject = '{lane}'")).await;
    assert_eq!(removed, Ok(1));
}

#[tokio::test]
async fn an_entry_that_is_removed_before_it_is_in_a_block_is_missed_and_found_from_then_on() {
    on_each_database(async |room| {
        assert_eq!(missed(&room.database).await, 0);
        write(room, 3).await;
        lay_open(room).await;
        remove(room, "lane_1").await;
        assert_eq!(seal(room).await.block, 1);
        assert_eq!(finding(room).await, None, "inside the database there is no gap");

        assert_eq!(missed(&room.database).await, 1);
        assert_eq!(missed(&room.database).await, 0, "it is told once");
        seal(room).await;
        let found = finding(room).await.expect("somebody removed an entry");
        assert_eq!((found.problem, found.position), (Problem::EntryRemoved, Some(3)));
        let filter = AuditFilter { action: Some("audit".to_owned()), ..AuditFilter::default() };
        let told = all(room, &filter).await;
        let [told] = &told[..] else { panic!("one entry: {told:?}") };
        assert_eq!((told.action.as_str(), told.subject.as_deref()), ("audit.entry_removed", Some("lane_1")));
        let gone = told.before.as_ref().expect("which one it was");
        assert_eq!((&gone["action"], &gone["at_ms"]), (&"lane.paused".into(), &(NOW_MS + 1).into()));
    })
    .await;
}

#[tokio::test]
async fn what_is_in_a_block_or_waits_for_one_or_was_never_committed_is_not_missed() {
    on_each_database(async |room| {
        assert_eq!(missed(&room.database).await, 0);
        write(room, 3).await;
        assert_eq!(missed(&room.database).await, 0, "it waits for its block");
        seal(room).await;
        let mut undone = begin(room).await;
        let never = entry("lane.paused", "lane_7", NOW_MS);
        keepwell_jobs::store::audit::append(&mut undone, &never).await.expect("a database");
        undone.rollback().await.expect("a rollback");
        lay_open(room).await;
        // What is in a block the chain misses, and it names the place.
        remove(room, "lane_1").await;
        assert_eq!(missed(&room.database).await, 0);
        assert_eq!(finding(room).await.expect("a gap").position, Some(2));
    })
    .await;
}

#[tokio::test]
async fn what_waits_for_a_block_is_counted_and_since_when_it_waits() {
    on_each_database(async |room| {
        assert_eq!(waits_first(&room.database).await.expect("a database"), None);
        write(room, 3).await;
        let first = waits_first(&room.database).await.expect("a database");
        assert_eq!(first.map(|id| id.created_ms()), Some(NOW_MS));
        let report = report(room, None).await;
        assert_eq!((report.finding, report.unsealed), (None, 3));
        assert_eq!(report.unsealed_since_ms, Some(NOW_MS));
        seal(room).await;
        assert_eq!(waits_first(&room.database).await.expect("a database"), None);
    })
    .await;
}
