//! Entries that are taken away before they are in a block: whoever wrote them misses them.

use keepwell_jobs::store::audit::{AuditFilter, Problem, Waits, append, tell_of_missing, waits_first};
use keepwell_workers::database::{Database, DatabaseOptions, Dialect, Durability, turn::Urgency};
use sqlx::{Connection as _, PgConnection};

use crate::{
    support::{NOW_MS, Room, on_each_database},
    tampering::lay_open,
    trail::{all, begin, entry, execute, finding, report, seal, write},
};

/// How many entries the process of `database` misses.
pub async fn missed(database: &Database) -> usize {
    tell_of_missing(database, NOW_MS).await.expect("a database").len()
}

/// Takes the entry about `lane` away.
pub async fn remove(room: &Room, lane: &str) {
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
        append(&mut undone, &never).await.expect("a database");
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
        let waits = async || waits_first(&room.database, &room.care.keys, true).await.expect("a database");
        assert_eq!(waits().await, Waits::default());
        write(room, 3).await;
        let first = waits().await;
        assert_eq!((first.ready.map(|id| id.created_ms()), first.for_key), (Some(NOW_MS), None));
        let report = report(room, None).await;
        assert_eq!((report.findings.first, report.unsealed), (None, 3));
        assert_eq!(report.unsealed_since_ms, Some(NOW_MS));
        seal(room).await;
        assert_eq!(waits().await, Waits::default());
    })
    .await;
}

/// The same, once the database answers again.
async fn missed_again(room: &Room) -> usize {
    for _ in 0..1_000 {
        if let Ok(missed) = tell_of_missing(&room.database, NOW_MS).await {
            return missed.len();
        }
        tokio::task::yield_now().await;
    }
    panic!("the database does not answer again")
}

/// Kills one of the server's processes, and waits until it has ended all others.
async fn crash(room: &Room) {
    let mut connections = Vec::new();
    for _ in 0..2 {
        connections.push(PgConnection::connect(room.url()).await.expect("a server that answers"));
    }
    let kill = "COPY (SELECT 1) TO PROGRAM 'kill -9 $PPID'";
    assert!(sqlx::query(kill).execute(&mut connections[0]).await.is_err(), "nobody is left to answer");
    while sqlx::query("SELECT 1").execute(&mut connections[1]).await.is_ok() {}
}

/// What the trail tells of entries that are gone, in the order of their names.
async fn told(room: &Room) -> Vec<(String, Option<String>)> {
    let filter = AuditFilter { action: Some("audit".to_owned()), ..AuditFilter::default() };
    let mut told: Vec<_> =
        all(room, &filter).await.into_iter().map(|entry| (entry.action, entry.subject)).collect();
    told.sort();
    told
}

#[tokio::test]
async fn a_connection_that_is_ended_explains_no_missing_entry_and_a_server_that_died_does() {
    let Some(room) = Room::on_a_server_of_its_own().await else {
        return eprintln!("PostgreSQL is not installed: nothing was tested");
    };
    let removed = |lane: &str| ("audit.entry_removed".to_owned(), Some(lane.to_owned()));
    assert_eq!(missed(&room.database).await, 0);
    write(&room, 3).await;
    lay_open(&room).await;
    remove(&room, "lane_1").await;
    // Whoever removes it ends every connection of the process that would miss it.
    let mut other = PgConnection::connect(room.url()).await.expect("a server that answers");
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
               WHERE pid <> pg_backend_pid() AND usesysid IS NOT NULL";
    let ended = sqlx::query(end).execute(&mut other).await.expect("a superuser").rows_affected();
    assert!(ended > 0);
    assert_eq!(missed_again(&room).await, 1);
    assert_eq!(told(&room).await, [removed("lane_1")]);

    let mut kept =
        room.database.begin(Urgency::General, Durability::Durable, NOW_MS).await.expect("a database");
    append(&mut kept, &entry("lane.paused", "lane_9", NOW_MS)).await.expect("an entry");
    kept.commit().await.expect("a commit");
    // Where one of its processes is killed the server begins anew, from what is on disk.
    remove_for_good(&mut other, "lane_9").await;
    crash(&room).await;
    assert_eq!(missed_again(&room).await, 0);
    assert_eq!(missed(&room.database).await, 0);
    let lost = ("audit.entry_lost".to_owned(), Some("lane_9".to_owned()));
    assert_eq!(told(&room).await, [lost, removed("lane_1")]);

    // What it has had since it began anew it cannot have lost with its former life.
    let remove = "DELETE FROM audit_entries WHERE subject = 'lane_2'";
    assert_eq!(execute(&room, remove).await, Ok(1));
    assert_eq!(missed(&room.database).await, 1);
    assert!(told(&room).await.contains(&removed("lane_2")));
    room.database.close().await;
}

/// Takes the entry about `lane` away, and does not answer before that is on disk.
async fn remove_for_good(connection: &mut PgConnection, lane: &str) {
    let remove = format!("DELETE FROM audit_entries WHERE subject = '{lane}'");
    let done = sqlx::query(sqlx::AssertSqlSafe(remove)).execute(connection).await.expect("a superuser");
    assert_eq!(done.rows_affected(), 1);
}

#[tokio::test]
async fn a_server_that_died_has_lost_nothing_in_front_of_what_it_still_has() {
    let Some(room) = Room::on_a_server_of_its_own().await else {
        return eprintln!("PostgreSQL is not installed: nothing was tested");
    };
    let removed = |lane: &str| ("audit.entry_removed".to_owned(), Some(lane.to_owned()));
    lay_open(&room).await;
    let mut gone = Vec::new();
    for (seals, [first, second]) in [(false, ["lane_1", "lane_2"]), (true, ["lane_3", "lane_4"])] {
        assert_eq!(missed(&room.database).await, 0);
        for lane in [first, second] {
            let mut transaction = begin(&room).await;
            append(&mut transaction, &entry("lane.paused", lane, NOW_MS)).await.expect("an entry");
            transaction.commit().await.expect("a commit");
        }
        let mut other = PgConnection::connect(room.url()).await.expect("a server that answers");
        remove_for_good(&mut other, first).await;
        if seals {
            seal(&room).await;
        }
        crash(&room).await;
        gone.push(removed(first));
        assert_eq!(missed_again(&room).await, 1, "{second} is there");
        assert_eq!(told(&room).await, gone);
    }
    room.database.close().await;
}

#[tokio::test]
async fn a_user_who_may_see_nothing_of_others_can_tell_one_life_of_the_server_from_another() {
    let Some(room) = Room::on_a_server_of_its_own().await else {
        return eprintln!("PostgreSQL is not installed: nothing was tested");
    };
    // The crash must not take the user along.
    for sql in ["CREATE ROLE nobody_special LOGIN", "CHECKPOINT"] {
        execute(&room, sql).await.expect("a superuser");
    }
    let url = room.url().replace("user=keepwell", "user=nobody_special");
    assert_ne!(url, room.url());
    let database = Database::connect(&url, &DatabaseOptions::default()).await.expect("a database");
    let life = database.server_life().await.expect("an answer");
    assert!(!format!("{life:?}").contains("helpers: {}"), "{life:?}");
    assert!(life.is_same_as(&database.server_life().await.expect("an answer")));
    crash(&room).await;
    let mut next = None;
    while next.is_none() {
        next = database.server_life().await.ok();
    }
    assert!(next.is_some_and(|next| !next.is_same_as(&life)));
    database.close().await;
    room.database.close().await;
}

#[tokio::test]
async fn an_entry_that_is_removed_before_the_first_look_is_missed_where_no_server_can_have_lost_it() {
    on_each_database(async |room| {
        write(room, 1).await;
        lay_open(room).await;
        remove(room, "lane_0").await;
        let sqlite = room.database.dialect() == Dialect::Sqlite;
        assert_eq!(missed(&room.database).await, usize::from(sqlite));
        let action = if sqlite { "audit.entry_removed" } else { "audit.entry_lost" };
        assert_eq!(told(room).await, [(action.to_owned(), Some("lane_0".to_owned()))]);
    })
    .await;
}

#[tokio::test]
async fn the_server_itself_says_in_which_life_it_is_and_one_that_hides_its_helpers_says_when_it_began() {
    let Some(room) = Room::on_a_server_of_its_own().await else {
        return eprintln!("PostgreSQL is not installed: nothing was tested");
    };
    for sql in [
        "CREATE ROLE nobody_special LOGIN",
        "CREATE SCHEMA theirs",
        "CREATE VIEW theirs.pg_stat_activity AS \
         SELECT CAST(NULL AS oid) AS datid, CAST(NULL AS oid) AS usesysid, 1 AS pid",
        "CREATE FUNCTION theirs.pg_postmaster_start_time() RETURNS timestamptz LANGUAGE sql AS 'SELECT now()'",
        "GRANT USAGE ON SCHEMA theirs TO nobody_special",
        "GRANT SELECT ON theirs.pg_stat_activity TO nobody_special",
        "ALTER ROLE nobody_special SET search_path = theirs, pg_catalog",
    ] {
        execute(&room, sql).await.expect("a superuser");
    }
    let url = room.url().replace("user=keepwell", "user=nobody_special");
    let database = Database::connect(&url, &DatabaseOptions::default()).await.expect("a database");
    let life = async |database: &Database| database.server_life().await.expect("an answer");
    assert!(life(&database).await.is_same_as(&life(&room.database).await));
    execute(&room, "REVOKE SELECT ON pg_catalog.pg_stat_activity FROM PUBLIC").await.expect("a superuser");
    let hidden = life(&database).await;
    assert!(format!("{hidden:?}").contains("helpers: {}"), "{hidden:?}");
    assert!(hidden.is_same_as(&life(&database).await));
    database.close().await;
    room.database.close().await;
}
