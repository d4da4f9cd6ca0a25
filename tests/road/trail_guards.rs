//! Who reads the audit trail is in it, and who touches it is found out.

use http::StatusCode;
use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};
use sqlx::{Connection, SqliteConnection};

use super::{
    app, assert_problem,
    event::{Event, SHAPES},
    on_both, signal, stripe,
    trail::{entries, says, sealed},
};
use crate::support::{
    daemon::Daemon,
    eventually,
    gateway::{GATEWAY_TOKEN, Gateway, Manner},
};

/// Waits until the metrics say whether the trail is `broken`.
async fn broken(daemon: &Daemon, broken: bool) {
    let line = format!("keepwell_audit_broken {}\n", u8::from(broken));
    eventually(&line, async || daemon.public().get("/metrics").await.text().contains(&line).then_some(()))
        .await;
}

#[tokio::test]
async fn whoever_reads_the_trail_is_in_it_once_and_not_for_every_page() {
    on_both(&[], async |daemon| {
        let operator = daemon.operator();
        for person in ["one", "two"] {
            stripe(daemon, &Event::of(SHAPES[0], "invoice.payment_failed", person)).await;
        }
        let first = operator.get("/api/v1/audit?subject=cus_one&limit=1").await.json();
        let cursor = first["next"].as_str().expect("there is more");
        operator.get(&format!("/api/v1/audit?subject=cus_one&limit=1&cursor={cursor}")).await;
        // Whoever begins behind a page that nobody saw reads all the same.
        let latest = "ffffffff-ffff-ffff-ffff-ffffffffffff";
        operator.get(&format!("/api/v1/audit?subject=cus_two&cursor={latest}")).await;
        let read = entries(daemon, "audit.read").await;
        let about = |subject: &str| read.iter().filter(|entry| entry["subject"] == subject).count();
        assert_eq!((about("cus_one"), about("cus_two")), (1, 1), "{read:#?}");
        assert_eq!(read[0]["actor"]["kind"], "operator");
        sealed(daemon).await;
        let page = operator.get("/api/v1/audit/export?from=1").await.json();
        assert!(page["lines"].as_array().is_some_and(|lines| lines.len() > 4), "{page}");
        assert_eq!(entries(daemon, "audit.exported").await.len(), 1);
        let refused = operator.get("/api/v1/audit/export?cursor=2").await;
        assert_problem(&refused, StatusCode::BAD_REQUEST, "bad_filter");
    })
    .await;
}

#[tokio::test]
async fn a_trail_that_somebody_changed_is_found_out_without_anybody_asking() {
    let daemon = Daemon::start().await;
    stripe(&daemon, &Event::of(SHAPES[0], "invoice.payment_failed", "one")).await;
    sealed(&daemon).await;
    let url = format!("sqlite:{}", daemon.state_dir().join("keepwell.db").display());
    let mut database = SqliteConnection::connect(&url).await.unwrap();
    sqlx::query("DROP TRIGGER audit_entries_unchanged").execute(&mut database).await.unwrap();
    let forge = "UPDATE audit_entries SET subject = 'cus_two' WHERE subject = 'cus_one'";
    sqlx::query(forge).execute(&mut database).await.unwrap();
    broken(&daemon, true).await;
    let log = daemon.log();
    assert!(log.contains("the audit trail is not whole") && log.contains("EntryAltered"), "{log}");
    let undo = "UPDATE audit_entries SET subject = 'cus_one' WHERE subject = 'cus_two'";
    sqlx::query(undo).execute(&mut database).await.unwrap();
    broken(&daemon, false).await;
}

#[tokio::test]
async fn what_operators_have_looked_into_breaks_the_trail_no_longer_and_is_told_for_good() {
    let daemon = Daemon::start().await;
    stripe(&daemon, &Event::of(SHAPES[0], "invoice.payment_failed", "one")).await;
    sealed(&daemon).await;
    let url = format!("sqlite:{}", daemon.state_dir().join("keepwell.db").display());
    let mut database = SqliteConnection::connect(&url).await.unwrap();
    for sql in ["DROP TRIGGER audit_entries_kept", "DELETE FROM audit_entries WHERE position = 1"] {
        sqlx::query(sql).execute(&mut database).await.unwrap();
    }
    broken(&daemon, true).await;
    let told: Value = serde_json::from_str(&says(&daemon, &["audit", "verify", "--json"]).data).unwrap();
    let fingerprint = told["finding"]["fingerprint"].as_str().expect("it can be acknowledged").to_owned();
    let reason = "a disk was broken; the ticket says more";
    let path = format!("/api/v1/audit/findings/{fingerprint}/acknowledge");
    let refused = daemon.operator().post(&path, &json!({ "reason": " " })).await;
    assert_problem(&refused, StatusCode::BAD_REQUEST, "bad_reason");
    let nothing = says(&daemon, &["audit", "acknowledge", &"0".repeat(32), "--reason", reason]);
    assert_eq!(nothing.code, 1, "nothing that is not there is acknowledged: {nothing:?}");

    let done = says(&daemon, &["audit", "acknowledge", &fingerprint, "--reason", reason]).done();
    assert!(done.starts_with("acknowledged: entry_removed, block 1, position 1"), "{done}");
    let again = says(&daemon, &["audit", "acknowledge", &fingerprint, "--reason", "another"]).done();
    assert!(again.starts_with("was acknowledged before: "), "{again}");
    broken(&daemon, false).await;
    let metrics = daemon.public().get("/metrics").await.text();
    assert!(metrics.contains("keepwell_audit_findings_acknowledged 1\n"), "{metrics}");
    let entries = entries(&daemon, "audit.finding_acknowledged").await;
    assert_eq!((entries.len(), &entries[0]["reason"]), (1, &reason.into()));
    sealed(&daemon).await;
    let told = says(&daemon, &["audit", "verify"]).done();
    assert!(told.contains("acknowledged: entry_removed") && told.contains(reason), "{told}");
    let told = says(&daemon, &["audit", "verify", "--json"]).json();
    assert_eq!((&told["whole"], &told["finding"]), (&false.into(), &Value::Null), "{told}");
    assert!(told["acknowledged_findings"][0]["acknowledged"]["by"].as_str().unwrap().starts_with("uid "));

    // Another one is news.
    sqlx::query("DELETE FROM audit_entries WHERE position = 2").execute(&mut database).await.unwrap();
    broken(&daemon, true).await;
    let output = daemon.keepwell(&["audit", "verify"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}

#[tokio::test]
async fn a_note_of_the_end_that_cannot_be_read_is_no_leave_to_go_on() {
    let daemon = Daemon::start().await;
    stripe(&daemon, &Event::of(SHAPES[0], "invoice.payment_failed", "one")).await;
    sealed(&daemon).await;
    let note = daemon.state_dir().join("audit.end");
    // The daemon may have been about to note where the chain ends.
    eventually("the daemon says that it cannot read its note", async || {
        std::fs::write(&note, "half a no").unwrap();
        let metrics = daemon.public().get("/metrics").await.text();
        metrics.contains("keepwell_audit_broken 1\n").then_some(())
    })
    .await;
    let told = says(&daemon, &["audit", "verify", "--json"]).data;
    assert!(told.contains("note_unreadable"), "{told}");
    // Nobody waits for it: what happens is written all the same, and sealed once somebody has seen to it.
    let pressed = signal("crisis.signal", "cus_one", json!({ "source": "button", "severity": "high" }));
    app(&daemon, &pressed).await;
    assert_eq!(daemon.access("cus_one").await["crisis"]["active"], true);
    std::fs::remove_file(&note).unwrap();
    broken(&daemon, false).await;
    sealed(&daemon).await;
}

#[tokio::test]
async fn what_is_done_while_the_daemon_stops_is_in_a_block_when_it_has_stopped() {
    let gateway = Gateway::start().await;
    gateway.always(Manner::Hangs);
    let url = gateway.url();
    let mut daemon = Daemon::start_with(&[
        ("KEEPWELL_NOTIFY__URL", &*url),
        ("KEEPWELL_NOTIFY__TOKEN", GATEWAY_TOKEN),
        ("KEEPWELL_NOTIFY__TIMEOUT_MS", "20000"),
    ])
    .await;
    stripe(&daemon, &Event::of(SHAPES[0], "invoice.payment_failed", "owing")).await;
    eventually("a message is under way", async || (gateway.held() == 1).then_some(())).await;
    sealed(&daemon).await;
    kill_process(daemon.pid(), Signal::TERM).unwrap();
    eventually("it stops", async || daemon.log().contains("stopping").then_some(())).await;
    // It waits for the message, and people and operators are answered meanwhile.
    says(&daemon, &["queue", "pause", "background", "--reason", "a late thought"]).done();
    gateway.let_go();
    daemon.stop().await;
    let file = format!("sqlite:{}", daemon.state_dir().join("keepwell.db").display());
    let mut database = SqliteConnection::connect(&file).await.unwrap();
    let sql = "SELECT COUNT(*), COUNT(position) FROM audit_entries WHERE action = 'lane.paused'";
    let paused: (i64, i64) = sqlx::query_as(sql).fetch_one(&mut database).await.unwrap();
    assert_eq!(paused, (1, 1));
    let sql = "SELECT COUNT(*) FROM audit_entries WHERE position IS NULL";
    assert_eq!(sqlx::query_as(sql).fetch_one(&mut database).await.ok(), Some((0_i64,)));
}
