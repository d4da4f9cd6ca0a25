//! What was told without the database, noted in the state directory: a process that begins anew tells it under the same
//! identity, and has it ended under that one. Else an incident would be doubled by whoever is restarted while the
//! database is away, and stay open for ever if the database is back by then.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use keepwell_jobs::alerts::{plan::OpenAlert, telling::Telling};
use tokio::{task::spawn_blocking, time::timeout};

use crate::new_file;

/// How long noting may take.
const NOTE_TIMEOUT: Duration = Duration::from_secs(1);

/// An alert of which the database has not taken all, and whom it is still to be told.
pub(super) type Untold = (OpenAlert, Vec<Telling>);

/// All of them.
pub(super) type Unrecorded = Vec<Untold>;

/// The file with them. There is none while there are none.
#[derive(Debug)]
pub(super) struct Note {
    path: PathBuf,
    /// What is in it, as far as is known.
    written: Vec<u8>,
}

impl Note {
    pub(super) fn in_directory(directory: &Path) -> Self {
        Self { path: directory.join("alerts.unrecorded"), written: Vec::new() }
    }

    /// What an earlier life has left, at most `max` of it. What cannot be read is left out: it is told again, under
    /// another identity.
    pub(super) fn read(&mut self, max: usize) -> Unrecorded {
        let read = fs::read(&self.path).and_then(|text| {
            let found: Unrecorded = serde_json::from_slice(&text)?;
            self.written = text;
            Ok(found)
        });
        match read {
            Ok(mut found) => {
                found.truncate(max);
                found
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => {
                let path = self.path.display();
                tracing::warn!(%error, %path, "what was told without the database cannot be read");
                // Something is in it, which goes with the next look.
                self.written = b"?".to_vec();
                Vec::new()
            }
        }
    }

    /// Has the file hold `unrecorded` and nothing else.
    pub(super) async fn write(&mut self, unrecorded: &Unrecorded) {
        // Texts, numbers and flags always become JSON.
        let text = if unrecorded.is_empty() {
            Vec::new()
        } else {
            serde_json::to_vec(unrecorded).unwrap_or_default()
        };
        if text == self.written {
            return;
        }
        let (path, content) = (self.path.clone(), text.clone());
        let written = spawn_blocking(move || {
            if !content.is_empty() {
                return new_file::replace(&path, &content);
            }
            fs::remove_file(&path).or_else(|error| match error.kind() {
                io::ErrorKind::NotFound => Ok(()),
                _ => Err(error),
            })
        });
        // Telling waits for this, and a disk that hangs may be why something is told.
        let Ok(written) = timeout(NOTE_TIMEOUT, written).await else {
            return tracing::warn!("what was told without the database is not noted in time");
        };
        match written {
            Ok(Ok(())) => self.written = text,
            Ok(Err(error)) => {
                tracing::warn!(%error, "what was told without the database cannot be noted");
            }
            // It panicked, or the process ends.
            Err(error) => tracing::warn!(%error, "what was told without the database was not noted"),
        }
    }
}

#[cfg(test)]
mod tests {
    use keepwell_jobs::alerts::{
        plan::{Habits, opened},
        rules,
        telling::{Action, Receiver},
        watch::Seen,
    };

    use super::*;

    #[tokio::test]
    async fn what_is_noted_is_read_by_the_next_life_and_nothing_stays_of_what_is_recorded() {
        let directory = tempfile::tempdir().unwrap();
        let note = || Note::in_directory(directory.path());
        assert!(note().read(10).is_empty());
        let habits = Habits {
            receivers: vec![Receiver::Pagerduty],
            repeat_ms: 1,
            escalate_ms: 1,
            quiet_ms: 1,
            source: "a node".to_owned(),
        };
        let seen =
            Seen { rule: &rules::DATABASE_AWAY, cause: String::new(), value: Some(0.0), is_ripe: true };
        let alert = opened(&seen, &habits, 1_000);
        let alerts = vec![alert.told.clone()];
        let (receiver, action) = (Receiver::Pagerduty, Action::Triggered);
        let known_as = Some(alert.told.id.clone());
        let telling = Telling { receiver, action, alerts, at_ms: 1_000, known_as };
        let unrecorded = vec![(alert.clone(), vec![telling]), (alert, Vec::new())];
        let mut first = note();
        first.write(&unrecorded).await;
        let mut next = note();
        assert_eq!((next.read(10), note().read(1).len()), (unrecorded, 1));
        next.write(&Vec::new()).await;
        assert!(note().read(10).is_empty());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
        fs::write(directory.path().join("alerts.unrecorded"), "[").unwrap();
        assert!(note().read(10).is_empty(), "it is told again");
    }
}
