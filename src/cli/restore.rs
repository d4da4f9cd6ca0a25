//! `keepwell restore`: puts a backup in the place of the database, while no daemon runs. What was there is kept.

use std::{
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
};

use clap::Args;
use keepwell_workers::{
    clock::{Clock as _, SystemClock},
    database::{SqliteCopy, sqlite_is_alone},
};
use serde_json::{Value, json};
use tokio::task::spawn_blocking;

use super::{
    Context,
    backup::{Held, look_through, sqlite_database},
    failure::Failure,
    progress, say,
};
use crate::{
    api::instant::rfc3339,
    new_file::{NewFile, sync_folder, with_suffix},
    serve::{migrations, state_dir::StateDir},
    trail::restoration::Restoration,
};

const HINTS: &str = "\
hint: `encryption.keys` has to hold the keys that sealed it; once the daemon runs, `keepwell key list` names any missing
hint: what was answered after the backup is not in it; have Stripe and the app send it again, see BACKUP.md";

/// What to restore.
#[derive(Debug, Args)]
pub(super) struct RestoreArgs {
    /// The backup that `keepwell backup` made
    #[arg(value_name = "FILE")]
    from: PathBuf,
}

pub(super) async fn run(context: &Context, args: &RestoreArgs) -> Result<(), Failure> {
    let config = context.client_config()?.config;
    let database = sqlite_database(&config, "restored")?;
    let failed = |error| Failure::because("the backup cannot be restored", error);
    // Made whole by hand, it may miss what stood in its log.
    if fs::metadata(with_suffix(&args.from, "-wal")).is_ok_and(|log| log.len() > 0) {
        return Err(Failure::Failed(format!(
            "beside {} lies its write-ahead log, so it was copied by hand or is in use; take what `keepwell backup` made",
            args.from.display()
        )));
    }
    let mut backup = fs::File::open(&args.from)
        .map_err(|error| Failure::because(format!("{} cannot be read", args.from.display()), error))?;
    let lock = StateDir::lock(&config.state_dir);
    let state_dir = lock.map_err(|error| Failure::because("the backup cannot be restored now", error))?;

    let mut new = NewFile::to_become(&database).map_err(failed)?;
    let mut copy = new.file().try_clone().map_err(failed)?;
    let copied = spawn_blocking(move || io::copy(&mut backup, &mut copy));
    let copied = progress::during_if_long(copied, || "copying the backup".to_owned()).await;
    copied.map_err(io::Error::other).flatten().map_err(failed)?;
    let looked = look_through(new.path());
    let held = progress::during_if_long(looked, || "looking through the backup".to_owned()).await;
    let no_backup =
        |error| Failure::because(format!("{} is no backup to restore", args.from.display()), error);
    let held = held.map_err(no_backup)?;
    is_not_newer(new.path())
        .await
        .map_err(|what| Failure::Failed(format!("{} {what}", args.from.display())))?;
    // The first two may be there only since we took the lock.
    for file in [&state_dir.path().join("lock"), &state_dir.path().join("instance"), new.path()] {
        state_dir.give(file).map_err(failed)?;
    }

    let now_ms = SystemClock.now_ms();
    let aside = set_aside(&database, now_ms).await?;
    let operator = format!("uid {}", rustix::process::getuid().as_raw());
    let end_aside = Restoration::prepare(&state_dir, operator, held.trail.clone(), now_ms).map_err(failed)?;
    new.replace().map_err(failed)?;
    let told = told(&database, &held, aside.as_deref(), end_aside.as_deref());
    context.print(&told, render);
    if !context.json {
        say(HINTS);
    }
    Ok(())
}

/// Keeps what is in the place of the database under another name; says under which. Refuses if anybody uses it.
async fn set_aside(database: &Path, now_ms: i64) -> Result<Option<PathBuf>, Failure> {
    if !database.exists() {
        return Ok(None);
    }
    let failed = |error| Failure::because(format!("{} cannot be set aside", database.display()), error);
    let digits: String = rfc3339(now_ms).chars().filter(char::is_ascii_digit).collect();
    let aside = with_suffix(database, &format!(".before-{digits}"));
    let companions = ["-wal", "-shm", "-journal"]
        .map(|suffix| (with_suffix(database, suffix), with_suffix(&aside, suffix)));
    // SQLite deletes the log of a database that it cannot open; under a second name it stays.
    for (companion, kept) in &companions {
        unless_missing(fs::hard_link(companion, kept)).map_err(failed)?;
    }
    let alone = sqlite_is_alone(database).await;
    for (companion, kept) in &companions {
        // A log that could not be folded back must never be taken for that of another database.
        let done_with = if alone.is_ok() { kept } else { companion };
        unless_missing(fs::remove_file(done_with)).map_err(failed)?;
    }
    match alone {
        Ok(true) => {}
        Ok(false) => {
            let what = format!("another process uses {}; stop whatever has it open", database.display());
            return Err(Failure::Failed(what));
        }
        // That is why somebody restores a backup.
        Err(error) => say(&format!("the database that is there cannot be opened: {error}")),
    }
    // A second name, so that there is a database at every moment.
    fs::hard_link(database, &aside).map_err(failed)?;
    sync_folder(database).map_err(failed)?;
    Ok(Some(aside))
}

fn unless_missing(result: io::Result<()>) -> io::Result<()> {
    result.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

/// A newer version's tables are not for this one.
async fn is_not_newer(copy: &Path) -> Result<(), String> {
    let known = migrations().iter().map(|file| file.version).max().unwrap_or(0);
    let asked = async {
        let mut copy = SqliteCopy::open(copy).await?;
        let version = copy.version().await?;
        copy.close().await.map(|()| version)
    };
    match asked.await {
        Ok(found) if found <= known => Ok(()),
        Ok(found) => Err(format!(
            "was made by a newer version (step {found} of its tables; this one knows {known}); restore it with that one"
        )),
        Err(error) => Err(format!("does not say which version made it: {error}")),
    }
}

fn told(database: &Path, held: &Held, aside: Option<&Path>, end_aside: Option<&Path>) -> Value {
    json!({
        "database": database, "owed": held.ledger.owed, "newest_job_at": held.ledger.newest_ms.map(rfc3339),
        "audit_end": held.trail, "set_aside": aside, "audit_end_set_aside": end_aside,
    })
}

fn render(told: &Value) -> String {
    let newest = told["newest_job_at"].as_str();
    let newest =
        newest.map_or("it holds no job".to_owned(), |at| format!("the last job in it was recorded at {at}"));
    let mut text = format!(
        "{} is restored: {newest}, {} jobs are owed, the audit trail ends with block {}\n",
        told["database"].as_str().unwrap_or_default(),
        told["owed"],
        told["audit_end"]["block"],
    );
    let aside =
        [("the database that was there", "set_aside"), ("where its trail ended", "audit_end_set_aside")];
    for (what, name) in aside {
        if let Some(path) = told[name].as_str() {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{what} is kept in {path}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_there_is_said_to_be_kept() {
        let told = json!({
            "database": "/s/keepwell.db", "owed": 3, "newest_job_at": "2027-01-31T12:00:00.000Z",
            "audit_end": { "block": 9, "hash": "ab" }, "set_aside": "/s/keepwell.db.before-1", "audit_end_set_aside": null,
        });
        assert_eq!(
            render(&told),
            "/s/keepwell.db is restored: the last job in it was recorded at 2027-01-31T12:00:00.000Z, 3 jobs are owed, \
             the audit trail ends with block 9\n\
             the database that was there is kept in /s/keepwell.db.before-1\n"
        );
    }
}
