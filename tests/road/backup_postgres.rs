//! PostgreSQL's own tools, as BACKUP.md has operators use them.

use std::{fs, sync::Arc};

use http::StatusCode;
use serde_json::json;
use tokio::task::spawn_blocking;

use super::{
    backup::{assert_holds, jobs, says, under_load, verified},
    nothing_owed,
};
use crate::support::{
    daemon::Daemon,
    eventually,
    postgres::{Postgres, Sync},
};

#[tokio::test]
async fn a_dump_of_postgres_taken_under_load_comes_back_with_everything_answered_before_it() {
    let postgres = Arc::new(Postgres::start(Sync::Off).await);
    let url = postgres.database("keepwell").await;
    let mut daemon = Daemon::start_with(&[("KEEPWELL_DATABASE__URL", &url)]).await;
    let (before, dump) = under_load(&daemon.door(), async || {
        let postgres = Arc::clone(&postgres);
        spawn_blocking(move || postgres.dump("keepwell")).await.unwrap()
    })
    .await;
    // As a script does it with curl.
    let noted = json!({ "file": dump, "bytes": fs::metadata(&dump).unwrap().len() }).to_string();
    let form = [("content-type", "application/x-www-form-urlencoded".to_owned())];
    let noted = daemon.operator().post_bytes("/api/v1/backups", &form, noted).await;
    assert_eq!(noted.status, StatusCode::CREATED, "{}", noted.text());
    let found = says(&daemon, &["audit", "list", "--action", "database.backed_up", "--json"]).json();
    assert_eq!(found["items"][0]["after"]["file"], json!(dump), "{found:#}");
    nothing_owed(&daemon).await;
    verified(&daemon).await;
    let all = jobs(&daemon).await.len();
    assert!(daemon.stop().await.success());

    let restored = postgres.database("restored").await;
    postgres.restore(&dump, "restored");
    daemon.set("KEEPWELL_DATABASE__URL", &restored);
    daemon.start_again().await;
    let noticed = says(&daemon, &["audit", "verify"]);
    assert!(noticed.code == 1 && noticed.data.contains("truncated"), "{noticed:?}");
    assert!(daemon.stop().await.success());
    let end = daemon.state_dir().join("audit.end");
    fs::rename(&end, daemon.state_dir().join("audit.end.before-restore")).unwrap();
    daemon.start_again().await;
    assert_holds(&daemon, &before, all).await;
    verified(&daemon).await;
}

#[tokio::test]
async fn what_nobody_looked_through_is_no_checked_backup_whoever_says_so() {
    let daemon = Daemon::start().await;
    let first = daemon.operator().post("/api/v1/backups", &json!({ "file": "first.dump" })).await;
    assert_eq!(first.status, StatusCode::CREATED, "{}", first.text());
    let end = eventually("there is a block", async || {
        let end = verified(&daemon).await["end"].clone();
        (end["block"].as_i64() > Some(0)).then_some(end)
    })
    .await;
    let other = json!({ "block": end["block"], "hash": "00".repeat(32) });
    let beyond = json!({ "block": i64::MAX, "hash": end["hash"] });
    for (said, expected) in [
        (json!({ "file": "a.dump" }), false),
        (json!({ "file": "a.dump", "looked_through": true }), false),
        (json!({ "file": "a.dump", "audit_end": end }), false),
        (json!({ "file": "a.dump", "looked_through": true, "audit_end": other }), false),
        (json!({ "file": "a.dump", "looked_through": true, "audit_end": beyond }), false),
        (json!({ "file": "a.db", "looked_through": true, "audit_end": end }), true),
    ] {
        let noted = daemon.operator().post("/api/v1/backups", &said).await;
        assert_eq!(
            (noted.status, noted.json()["checked"].as_bool()),
            (StatusCode::CREATED, Some(expected)),
            "{said}"
        );
    }
    let page = daemon.operator().get("/api/v1/audit?action=database.backup_checked").await.json();
    assert_eq!((&page["total"], &page["items"][0]["after"]["file"]), (&1.into(), &json!("a.db")), "{page:#}");
}
