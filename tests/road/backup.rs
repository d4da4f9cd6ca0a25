//! Backups: taken while the daemon works, and put in the place of a database that went on without them.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex},
};

use futures_util::future::join_all;
use http::StatusCode;
use serde_json::{Value, json};
use sqlx::{Connection as _, SqliteConnection};
use tokio::{sync::watch, task::spawn_blocking};

use super::{
    event::{Event, SHAPES},
    nothing_owed,
    said::Said,
    stripe, taken,
};
use crate::support::{
    daemon::{Daemon, keepwell},
    door::Door,
    eventually,
    redis::Redis,
};

/// Senders at once.
const SENDERS: usize = 12;

/// Events that were answered before the backup begins, and that are answered after it has begun.
const BEFORE: usize = 240;
const AFTER: usize = 120;

/// What a command with `--json` answered.
#[track_caller]
fn json(daemon: &Daemon, arguments: &[&str]) -> Value {
    let said = Said::of(&daemon.keepwell(&[arguments, &["--json"]].concat()));
    assert_eq!(said.code, 0, "{said:?}");
    serde_json::from_str(&said.data).unwrap()
}

pub(super) fn says(daemon: &Daemon, arguments: &[&str]) -> Said {
    Said::of(&daemon.keepwell(arguments))
}

/// Files in `folder` whose names begin with `beginning`.
fn named(folder: &Path, beginning: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with(beginning)).collect()
}

/// The id and state of every job.
pub(super) async fn jobs(daemon: &Daemon) -> Vec<(String, String)> {
    let (mut found, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = daemon.operator().get(&format!("/api/v1/jobs?limit=500&cursor={cursor}")).await.json();
        let text = |job: &Value, name: &str| job[name].as_str().unwrap().to_owned();
        let items = page["items"].as_array().unwrap();
        found.extend(items.iter().map(|job| (text(job, "id"), text(job, "state"))));
        match page["next"].as_str() {
            Some(next) => next.clone_into(&mut cursor),
            None => return found,
        }
    }
}

/// What `keepwell audit verify` says once every entry is in a block.
pub(super) async fn verified(daemon: &Daemon) -> Value {
    eventually("every entry is in a block", async || {
        let report = json(daemon, &["audit", "verify"]);
        assert_eq!(report["whole"], true, "{report}");
        (report["unsealed"] == 0).then_some(report)
    })
    .await
}

async fn restorations(daemon: &Daemon) -> Vec<Value> {
    let page = daemon.operator().get("/api/v1/audit?action=database.restored").await.json();
    page["items"].as_array().unwrap().clone()
}

/// Sends event after event, has `work` done once some are answered, and goes on until some more are. Answers with the
/// jobs of the events that were answered before `work` began, and with what it came to.
pub(super) async fn under_load<T>(door: &Door, work: impl AsyncFnOnce() -> T) -> (Vec<String>, T) {
    let answered = Mutex::new(Vec::new());
    let (counted, mut counting) = watch::channel(0);
    let senders = join_all((0..SENDERS).map(async |sender| {
        for number in 0.. {
            let event =
                Event::of(SHAPES[number % SHAPES.len()], "invoice.payment_failed", &sender.to_string())
                    .with("/data/object/id", format!("in_{sender}_{number}"));
            let id = taken(door.stripe(&event).await)["job"].as_str().unwrap().to_owned();
            let all = {
                let mut answered = answered.lock().unwrap();
                answered.push(id);
                answered.len()
            };
            if counted.send(all).is_err() {
                return;
            }
        }
    }));
    let working = async {
        counting.wait_for(|all| *all >= BEFORE).await.unwrap();
        let before = answered.lock().unwrap().clone();
        let done = work().await;
        let enough = answered.lock().unwrap().len() + AFTER;
        counting.wait_for(|all| *all >= enough).await.unwrap();
        drop(counting);
        (before, done)
    };
    tokio::join!(senders, working).1
}

/// Fails the test unless all of `before` are done, and fewer jobs are there than `all`.
pub(super) async fn assert_holds(daemon: &Daemon, before: &[String], all: usize) {
    nothing_owed(daemon).await;
    let after = jobs(daemon).await;
    let missing: Vec<&String> =
        before.iter().filter(|id| !after.contains(&((*id).clone(), "done".to_owned()))).collect();
    assert_eq!(missing, Vec::<&String>::new());
    assert!(after.len() < all, "{} of {all}: it is from before the end", after.len());
}

#[tokio::test]
async fn a_backup_taken_under_load_verifies_and_holds_everything_that_was_answered_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("backup.db");
    let path = file.to_str().unwrap().to_owned();
    let mut daemon = Arc::new(Daemon::start().await);
    let (before, backup) = under_load(&daemon.door(), async || {
        let (daemon, path) = (Arc::clone(&daemon), path.clone());
        spawn_blocking(move || json(&daemon, &["backup", &path])).await.unwrap()
    })
    .await;

    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(named(folder.path(), ""), std::slice::from_ref(&file), "nothing else was made");
    nothing_owed(&daemon).await;
    let page = daemon.operator().get("/api/v1/audit?action=database.backup_checked").await.json();
    let told = &page["items"][0];
    assert_eq!((&page["total"], &told["actor"]["kind"]), (&1.into(), &"operator".into()), "{page:#}");
    assert_eq!(
        (&told["after"]["file"], &told["after"]["audit_end"]),
        (&backup["file"], &backup["audit_end"])
    );
    let end_before = verified(&daemon).await["end"].clone();
    says(&daemon, &["restore", &path]).refused(1, &["another keepwell daemon uses", "stop it"]);
    let all = jobs(&daemon).await.len();
    let daemon = Arc::get_mut(&mut daemon).unwrap();
    assert!(daemon.stop().await.success());

    let restored = json(daemon, &["restore", &path]);
    assert_eq!(restored["audit_end"], backup["audit_end"]);
    let kept = restored["set_aside"].as_str().unwrap();
    assert!(fs::metadata(kept).unwrap().len() > 0);
    daemon.start_again().await;
    assert_holds(daemon, &before, all).await;

    // The trail goes on from there, and tells of it once.
    let report = verified(daemon).await;
    let told = restorations(daemon).await;
    assert_eq!(told.len(), 1, "{told:#?}");
    assert_eq!((&told[0]["before"], &told[0]["after"]), (&end_before, &backup["audit_end"]));
    assert!(told[0]["actor"]["name"].as_str().unwrap().starts_with("uid "), "{told:#?}");
    stripe(daemon, &Event::of(SHAPES[0], "invoice.payment_failed", "next")).await;
    assert!(daemon.stop().await.success());
    daemon.start_again().await;
    let next = verified(daemon).await;
    assert!(next["end"]["block"].as_i64() > report["end"]["block"].as_i64(), "{next}");
    assert_eq!(restorations(daemon).await.len(), 1);
}

#[tokio::test]
async fn lanes_that_know_other_jobs_than_the_restored_ledger_serve_what_that_one_owes() {
    let redis = Redis::start().await;
    let url = redis.url();
    let mut daemon = Daemon::start_with(&[("KEEPWELL_REDIS__URL", &url)]).await;
    let file = daemon.state_dir().join("backup.db");
    let path = file.to_str().unwrap().to_owned();
    let pause = async |daemon: &Daemon, verb: &str| {
        let answer = daemon.operator().post(&format!("/api/v1/lanes/standard/{verb}"), &json!({})).await;
        assert!(answer.status.is_success(), "{}", answer.text());
    };
    let waits = |person: &str| Event::of(SHAPES[0], "setup_intent.succeeded", person);
    let id = |accepted: &Value| accepted["job"].as_str().unwrap().to_owned();

    // Owed in the backup; by the time of the restoration they are done, and the lanes have let them go.
    pause(&daemon, "pause").await;
    let mut old = Vec::new();
    for person in ["a", "b", "c"] {
        old.push(id(&taken(daemon.stripe(&waits(person)).await)));
    }
    let backup = json(&daemon, &["backup", &path]);
    assert_eq!(backup["owed"], 3, "{backup}");
    pause(&daemon, "resume").await;
    nothing_owed(&daemon).await;

    // In the lanes and in the hands of a worker that dies; nothing of them is in the backup.
    pause(&daemon, "pause").await;
    let mut new = Vec::new();
    let later: Vec<Event> = ["d", "e", "f"].map(waits).into();
    for event in &later {
        new.push(id(&taken(daemon.stripe(event).await)));
    }
    let door = daemon.door();
    let failed: Vec<Event> =
        (0..60).map(|number| Event::of(SHAPES[0], "invoice.payment_failed", &number.to_string())).collect();
    for answer in join_all(failed.iter().map(|event| door.stripe(event))).await {
        new.push(id(&taken(answer)));
    }
    daemon.kill();
    json(&daemon, &["restore", &path]);
    daemon.start_again().await;
    pause(&daemon, "resume").await;
    nothing_owed(&daemon).await;
    eventually("the lanes have let go what nobody owes", async || {
        let lanes = daemon.operator().get("/api/v1/lanes").await.json();
        let lanes = lanes["lanes"].as_array().unwrap();
        let empty = |lane: &Value| ["waiting", "running", "later"].iter().all(|place| lane[place] == 0);
        lanes.iter().all(empty).then_some(())
    })
    .await;
    let mut found = jobs(&daemon).await;
    found.sort();
    assert_eq!(found, old.iter().map(|id| (id.clone(), "done".to_owned())).collect::<Vec<_>>());
    for id in &new {
        let answer = daemon.operator().get(&format!("/api/v1/jobs/{id}")).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND);
    }
    // Who sends again is heard as if for the first time.
    for event in later.iter().chain(&failed) {
        assert_eq!(taken(daemon.stripe(event).await)["duplicate"], false);
    }
    nothing_owed(&daemon).await;
    assert_eq!(jobs(&daemon).await.len(), 66);
    verified(&daemon).await;
}

#[tokio::test]
async fn a_backup_takes_nobodys_place_and_one_that_fails_leaves_nothing_behind() {
    let mut daemon = Daemon::start().await;
    stripe(&daemon, &Event::of(SHAPES[0], "invoice.payment_failed", "one")).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mine");
    let path = file.to_str().unwrap();
    fs::write(&file, "not yours").unwrap();
    says(&daemon, &["backup", path]).refused(1, &["exists already"]);
    assert_eq!(fs::read_to_string(&file).unwrap(), "not yours");
    fs::remove_file(&file).unwrap();
    says(&daemon, &["backup", "/nowhere/at/all"]).refused(1, &["/nowhere/at/all cannot be made"]);

    // As with a disk that is full: no file may have more than 32 KiB.
    let limited = "trap '' 25; ulimit -f 64; exec \"$0\" backup \"$1\"";
    let output = Command::new("sh")
        .args(["-c", limited, env!("CARGO_BIN_EXE_keepwell"), path])
        .env_clear()
        .env("KEEPWELL_STATE_DIR", daemon.state_dir())
        .output()
        .unwrap();
    Said::of(&output).refused(1, &["the database cannot be backed up"]);
    assert_eq!(named(folder.path(), ""), Vec::<PathBuf>::new());

    // In a folder it finds a name by itself, also while no daemon runs.
    assert!(daemon.stop().await.success());
    let said = says(&daemon, &["backup", folder.path().to_str().unwrap()]);
    assert_eq!(said.code, 0, "{said:?}");
    let made = named(folder.path(), "keepwell-2");
    assert!(made.len() == 1 && said.data.starts_with(made[0].to_str().unwrap()), "{said:?}");
    assert!(said.talk.contains("the keys are not in it"), "{said:?}");
    assert_eq!(named(daemon.state_dir(), "keepwell.db"), [daemon.state_dir().join("keepwell.db")]);
}

#[tokio::test]
async fn what_cannot_be_restored_leaves_the_database_as_it_is() {
    let mut daemon = Daemon::start().await;
    stripe(&daemon, &Event::of(SHAPES[0], "invoice.payment_failed", "one")).await;
    verified(&daemon).await;
    let database = daemon.state_dir().join("keepwell.db");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("backup.db");
    let path = file.to_str().unwrap();
    json(&daemon, &["backup", path]);
    assert!(daemon.stop().await.success());
    let before = fs::read(&database).unwrap();

    let unchanged = |daemon: &Daemon| {
        assert!(fs::read(&database).unwrap() == before);
        assert_eq!(named(daemon.state_dir(), "keepwell.db"), std::slice::from_ref(&database));
        assert_eq!(named(daemon.state_dir(), "audit.end"), [daemon.state_dir().join("audit.end")]);
    };
    let diary = folder.path().join("diary");
    fs::write(&diary, "Dear diary").unwrap();
    says(&daemon, &["restore", diary.to_str().unwrap()]).refused(1, &["is no backup to restore"]);
    unchanged(&daemon);
    let foreign = folder.path().join("foreign.db");
    let url = format!("sqlite:{}?mode=rwc", foreign.display());
    let mut other = SqliteConnection::connect(&url).await.unwrap();
    sqlx::query("CREATE TABLE recipes (dish TEXT)").execute(&mut other).await.unwrap();
    other.close().await.unwrap();
    says(&daemon, &["restore", foreign.to_str().unwrap()]).refused(1, &["is no backup to restore"]);
    unchanged(&daemon);
    let newer = folder.path().join("newer.db");
    fs::copy(&file, &newer).unwrap();
    let mut made = SqliteConnection::connect(&format!("sqlite:{}", newer.display())).await.unwrap();
    sqlx::query("UPDATE _sqlx_migrations SET version = 9999 WHERE version = 7")
        .execute(&mut made)
        .await
        .unwrap();
    made.close().await.unwrap();
    says(&daemon, &["restore", newer.to_str().unwrap()]).refused(1, &["newer version", "step 9999"]);
    unchanged(&daemon);
    let mut used = SqliteConnection::connect(&format!("sqlite:{}", database.display())).await.unwrap();
    sqlx::query("SELECT count(*) FROM jobs").execute(&mut used).await.unwrap();
    says(&daemon, &["restore", path]).refused(1, &["another process uses", "keepwell.db"]);
    used.close().await.unwrap();
    unchanged(&daemon);
    fs::write(folder.path().join("backup.db-wal"), "frames").unwrap();
    says(&daemon, &["restore", path]).refused(1, &["write-ahead log"]);
    fs::remove_file(folder.path().join("backup.db-wal")).unwrap();
    unchanged(&daemon);

    // A database that makes no sense any more is kept all the same, with its log, and what comes after it works.
    fs::write(&database, "gone").unwrap();
    fs::write(daemon.state_dir().join("keepwell.db-wal"), "its log").unwrap();
    let said = says(&daemon, &["restore", path]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.talk.contains("the database that is there cannot be opened"), "{said:?}");
    let kept: Vec<Vec<u8>> =
        named(daemon.state_dir(), "keepwell.db.before-").iter().map(|path| fs::read(path).unwrap()).collect();
    assert!(kept.contains(&b"gone".to_vec()) && kept.contains(&b"its log".to_vec()), "{kept:?}");
    assert!(!daemon.state_dir().join("keepwell.db-wal").exists());
    daemon.start_again().await;
    verified(&daemon).await;
    assert_eq!(restorations(&daemon).await.len(), 1);

    // Whoever was interrupted left a note of what did not happen.
    assert!(daemon.stop().await.success());
    let note = daemon.state_dir().join("restored.json");
    let elsewhere = json!({ "block": 999, "hash": "00" });
    let text =
        json!({ "at": "2027-01-31T12:00:00.000Z", "operator": "uid 0", "before": null, "after": elsewhere });
    fs::write(&note, text.to_string()).unwrap();
    daemon.start_again().await;
    eventually("the note is gone", async || (!note.exists()).then_some(())).await;
    assert_eq!(restorations(&daemon).await.len(), 1);
}

#[test]
fn what_is_not_there_or_not_ours_to_copy_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let path = folder.path().join("backup.db");
    let backup = ["backup", path.to_str().unwrap()];
    let environment = [("KEEPWELL_STATE_DIR", state.to_str().unwrap())];
    Said::of(&keepwell(&environment, folder.path(), &backup)).refused(1, &["there is no database in"]);
    let postgres = [environment[0], ("KEEPWELL_DATABASE__URL", "postgres://keepwell@localhost/keepwell")];
    for command in [backup, ["restore", backup[1]]] {
        Said::of(&keepwell(&postgres, folder.path(), &command)).refused(2, &["PostgreSQL", "BACKUP.md"]);
    }
    assert!(!path.exists() && !state.exists());
}
