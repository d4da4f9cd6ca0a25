//! `keepwell backup`: copies SQLite's database while the daemon serves. `BACKUP.md` says what else belongs to a backup.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use keepwell_config::Config;
use keepwell_jobs::store::audit::ChainEnd;
use keepwell_workers::{
    clock::{Clock as _, SystemClock},
    database::{CopyError, SqliteCopy, copy_sqlite, sqlite_file},
    ledger::LedgerExtent,
};
use serde_json::{Value, json};
use tokio::{signal::unix::SignalKind, time::Instant};

use super::{Context, daemon::Operators, failure::Failure, progress, say};
use crate::new_file::NewFile;
use crate::{api::instant::rfc3339, serve::database_url};

const MEBIBYTE: u64 = 1 << 20;

/// Where to.
#[derive(Debug, Args)]
#[command(
    long_about = "Copies the database (SQLite) while the daemon serves, and looks through the copy. The keys \
    (`encryption.keys`) are not in it: keep them elsewhere. BACKUP.md says more"
)]
pub(super) struct BackupArgs {
    /// The file to make; in a folder it is named after the instant
    #[arg(value_name = "FILE")]
    to: PathBuf,
}

pub(super) async fn run(context: &Context, args: &BackupArgs) -> Result<(), Failure> {
    let config = context.client_config()?.config;
    let database = sqlite_database(&config, "backed up")?;
    let bytes_before =
        fs::metadata(&database).map(|found| found.len()).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                let what = format!(
                    "there is no database in {}; the daemon makes it at its first start",
                    database.display()
                );
                Failure::Failed(what)
            }
            _ => Failure::because(format!("{} cannot be read", database.display()), error),
        })?;
    let started = Instant::now();
    let taken_at_ms = SystemClock.now_ms();
    let target = target(&args.to, &rfc3339(taken_at_ms))?;
    let unmakable = |error| unmakable(&target, error);
    let new = NewFile::to_become(&target).map_err(unmakable)?;
    let made = async {
        let line = || progress_line(new.path(), bytes_before);
        progress::during_if_long(copy_sqlite(&database, new.path()), line).await?;
        progress::during_if_long(look_through(new.path()), || "looking through the copy".to_owned()).await
    };
    let held = tokio::select! {
        made = made => made.map_err(|error| Failure::because("the database cannot be backed up", error))?,
        () = interrupted() => return Err(Failure::Failed("interrupted; nothing was left behind".to_owned())),
    };
    new.place().map_err(unmakable)?;
    let bytes = fs::metadata(&target).map_err(unmakable)?.len();
    let keys: Vec<&str> = config.encryption.keys.iter().map(|key| key.id.as_str()).collect();
    let told = json!({
        "file": target, "bytes": bytes, "taken_at": rfc3339(taken_at_ms),
        "duration_ms": u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        "owed": held.ledger.owed, "newest_job_at": held.ledger.newest_ms.map(rfc3339),
        "audit_end": held.trail, "keys": keys,
    });
    // It can be made without a daemon; then nobody tells the trail of it.
    let noted = json!({ "file": target, "bytes": bytes, "audit_end": held.trail, "looked_through": true });
    if let Err(failure) = Operators::of(&config).post("/api/v1/backups", noted.to_string()).await {
        say(&format!("warning: the audit trail does not tell of this backup: {failure}"));
    }
    context.print(&told, render);
    if !context.json {
        say(&keys_hint(&keys));
    }
    Ok(())
}

/// What is in a copy that holds together.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) ledger: LedgerExtent,
    pub(super) trail: ChainEnd,
}

/// Reads all of `copy`; an error if it does not hold together, or is no copy of our database.
pub(super) async fn look_through(copy: &Path) -> Result<Held, CopyError> {
    let mut copy = SqliteCopy::open(copy).await?;
    copy.check().await?;
    let held =
        Held { ledger: LedgerExtent::of(&mut copy).await?, trail: ChainEnd::of_copy(&mut copy).await? };
    copy.close().await?;
    Ok(held)
}

/// The file of the database that `config` describes, which is to be `treated`.
pub(super) fn sqlite_database(config: &Config, treated: &str) -> Result<PathBuf, Failure> {
    sqlite_file(&database_url(config)).ok_or_else(|| {
        Failure::Usage(format!(
            "the database (`database.url`) is PostgreSQL, which is {treated} with its own tools; BACKUP.md says how"
        ))
    })
}

/// The file that is to be made, by its whole path.
fn target(to: &Path, instant: &str) -> Result<PathBuf, Failure> {
    let to = std::path::absolute(to)
        .map_err(|error| Failure::because(format!("{} leads nowhere", to.display()), error))?;
    if !to.is_dir() {
        return if to.exists() { Err(exists(&to)) } else { Ok(to) };
    }
    let digits: String = instant.chars().filter(char::is_ascii_digit).take(14).collect();
    let (day, time) = digits.split_at(8);
    Ok(to.join(format!("keepwell-{day}T{time}Z.db")))
}

fn exists(target: &Path) -> Failure {
    Failure::Failed(format!("{} exists already; name another file, or a folder", target.display()))
}

fn unmakable(target: &Path, error: io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::AlreadyExists => exists(target),
        io::ErrorKind::WouldBlock => {
            Failure::Failed(format!("another backup to {} is under way", target.display()))
        }
        _ => Failure::because(format!("{} cannot be made", target.display()), error),
    }
}

/// Returns when somebody wants an end of it.
pub(super) async fn interrupted() {
    let wanted = |kind| async move {
        match tokio::signal::unix::signal(kind) {
            Ok(mut signal) => drop(signal.recv().await),
            // Then the signal ends the process, as it always did.
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        () = wanted(SignalKind::interrupt()) => {}
        () = wanted(SignalKind::terminate()) => {}
        () = wanted(SignalKind::hangup()) => {}
    }
}

fn progress_line(copy: &Path, bytes_before: u64) -> String {
    let bytes = fs::metadata(copy).map_or(0, |found| found.len());
    format!("copied {} MiB of at most {} MiB", bytes / MEBIBYTE, bytes_before.div_ceil(MEBIBYTE))
}

fn render(told: &Value) -> String {
    let text = |name: &str| told[name].as_str().unwrap_or_default().to_owned();
    let duration = Duration::from_millis(told["duration_ms"].as_u64().unwrap_or(0));
    format!(
        "{}: {:.1} MiB in {:.1} s, everything up to {}\n{} jobs are owed in it; the audit trail ends with block {}\n",
        text("file"),
        told["bytes"].as_f64().unwrap_or(0.0) / MEBIBYTE as f64,
        duration.as_secs_f64(),
        text("taken_at"),
        told["owed"],
        told["audit_end"]["block"],
    )
}

fn keys_hint(keys: &[&str]) -> String {
    let named = if keys.is_empty() { String::new() } else { format!(" ({})", keys.join(", ")) };
    format!(
        "hint: the keys are not in it; keep `encryption.keys`{named} elsewhere, or it can never be opened"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backup_in_a_folder_is_named_after_its_instant() {
        let folder = tempfile::tempdir().unwrap();
        let named = target(folder.path(), "2027-01-31T12:34:56.789Z").unwrap();
        assert_eq!(named, folder.path().join("keepwell-20270131T123456Z.db"));
        let file = folder.path().join("mine.db");
        assert_eq!(target(&file, "2027-01-31T12:34:56.789Z").unwrap(), file);
        fs::write(&file, "").unwrap();
        assert!(target(&file, "").unwrap_err().to_string().contains("exists already"));
    }

    #[test]
    fn the_result_is_told_in_words() {
        let told = json!({
            "file": "/b/k.db", "bytes": 3 << 20, "taken_at": "2027-01-31T12:00:00.000Z", "duration_ms": 1_500,
            "owed": 7, "audit_end": { "block": 4, "hash": "ab" },
        });
        assert_eq!(
            render(&told),
            "/b/k.db: 3.0 MiB in 1.5 s, everything up to 2027-01-31T12:00:00.000Z\n\
             7 jobs are owed in it; the audit trail ends with block 4\n"
        );
        assert!(keys_hint(&["a", "b"]).contains("`encryption.keys` (a, b) elsewhere"));
    }
}
