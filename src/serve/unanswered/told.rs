//! Until when deaths were told of. Where alerts are kept, these say so; without a receiver of alerts it is noted in the
//! state directory, so that no beginning tells of them again, and counts them again for whoever reads the metrics.

use std::{
    fs,
    path::{Path, PathBuf},
};

use keepwell_jobs::{alerts::rules, store::alerts::last_seen_ms};
use keepwell_workers::{clock::UnixMs, database::Database};
use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;

use super::Unread;
use crate::new_file;

/// Until when deaths were told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ToldUntil {
    pub(super) crises_ms: UnixMs,
    pub(super) contacts_ms: UnixMs,
}

impl ToldUntil {
    /// Nobody was ever told of any.
    pub(super) const NEVER: Self = Self { crises_ms: UnixMs::MIN, contacts_ms: UnixMs::MIN };

    /// As the alerts in `database` say, which were last seen then.
    pub(super) async fn of_alerts(database: &Database) -> Result<Self, Unread> {
        let crises_ms = last_seen_ms(database, &rules::CRISIS_GRANTED_FROM_MEMORY).await?;
        let contacts_ms = last_seen_ms(database, &rules::CONTACT_NOT_TOLD).await?;
        let [crises_ms, contacts_ms] = [crises_ms, contacts_ms].map(|seen_ms| seen_ms.unwrap_or(UnixMs::MIN));
        Ok(Self { crises_ms, contacts_ms })
    }
}

/// The file that says so.
#[derive(Debug)]
pub(super) struct Note {
    path: PathBuf,
    /// What it says, as far as is known.
    said: ToldUntil,
}

impl Note {
    pub(super) fn in_directory(directory: &Path) -> Self {
        Self { path: directory.join("deaths.told"), said: ToldUntil::NEVER }
    }

    /// What it says; [`ToldUntil::NEVER`] if there is none, or if it cannot be read: then all are told of again.
    pub(super) fn read(&mut self) -> ToldUntil {
        let said = fs::read(&self.path).ok().and_then(|text| serde_json::from_slice(&text).ok());
        self.said = said.unwrap_or(ToldUntil::NEVER);
        self.said
    }

    /// Has it say `until`.
    pub(super) async fn write(&mut self, until: ToldUntil) {
        if until == self.said {
            return;
        }
        // Two numbers always become JSON.
        let text = serde_json::to_vec(&until).unwrap_or_default();
        let path = self.path.clone();
        match spawn_blocking(move || new_file::replace(&path, &text)).await {
            Ok(Ok(())) => self.said = until,
            Ok(Err(error)) => tracing::warn!(%error, "until when deaths were told of cannot be noted"),
            Err(error) => tracing::warn!(%error, "until when deaths were told of was not noted"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_noted_is_read_and_nothing_else_is_believed() {
        let directory = tempfile::tempdir().unwrap();
        let note = || Note::in_directory(directory.path());
        assert_eq!(note().read(), ToldUntil::NEVER);
        for crises_ms in [UnixMs::MIN, 5] {
            let until = ToldUntil { crises_ms, contacts_ms: 7 };
            note().write(until).await;
            assert_eq!(note().read(), until);
        }
        fs::write(directory.path().join("deaths.told"), "{").unwrap();
        assert_eq!(note().read(), ToldUntil::NEVER);
    }
}
