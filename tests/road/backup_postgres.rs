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
