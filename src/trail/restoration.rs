//! That an earlier state of the database was put in the place of a later one: noted in the state directory by whoever
//! did it, and written to the trail by the daemon that starts on it, because only the daemon has the keys.

use std::{
    fs, io,
    io::Write as _,
    path::{Path, PathBuf},
};

use keepwell_jobs::store::audit::{Actor, AuditEntry, ChainEnd};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Trail, TrailError, witness::Witness};
use crate::{
    api::instant::{parse, rfc3339},
    new_file::NewFile,
    serve::state_dir::StateDir,
};

/// One restoration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Restoration {
    /// When.
    pub(crate) at: String,
    /// By whom.
    pub(crate) operator: String,
    /// The end of the chain as it had been noted until then.
    pub(crate) before: Option<ChainEnd>,
    /// Where the chain ends in what was restored.
    pub(crate) after: ChainEnd,
}

impl Restoration {
    /// Takes the end of the chain that the daemon noted in `state_dir` out of its way, or it would rightly miss the
    /// rest; says where to. What is noted first, so that the daemon tells of it.
    pub(crate) fn prepare(
        state_dir: &StateDir,
        operator: String,
        after: ChainEnd,
        at_ms: i64,
    ) -> io::Result<Option<PathBuf>> {
        let witness = Witness::in_directory(state_dir.path());
        let note = Self { at: rfc3339(at_ms), operator, before: witness.read().ok().flatten(), after };
        let path = path(state_dir.path());
        let mut file = NewFile::to_become(&path)?;
        file.file().write_all(&serde_json::to_vec(&note)?)?;
        state_dir.give(file.path())?;
        file.replace()?;
        witness.set_aside(at_ms)
    }

    fn entry(&self, now_ms: i64) -> AuditEntry {
        AuditEntry {
            at_ms: parse(&self.at).unwrap_or(now_ms),
            actor: Actor::Operator { name: self.operator.clone() },
            action: "database.restored",
            subject: None,
            reason: "an operator put a backup in the place of the database".to_owned(),
            before: self.before.as_ref().map(|end| json!({ "block": end.block, "hash": end.hash })),
            after: Some(json!({ "block": self.after.block, "hash": self.after.hash })),
        }
    }
}

fn path(state_dir: &Path) -> PathBuf {
    state_dir.join("restored.json")
}

impl Trail {
    /// Writes down a restoration of which nobody has told the trail yet.
    pub(super) async fn tell_of_restoration(&self) -> Result<(), TrailError> {
        let path = path(&self.state_dir);
        let Ok(text) = fs::read(&path) else { return Ok(()) };
        // Somebody who gave up before the end left a note of what did not happen, and a daemon that was killed here has
        // gone on with the chain since.
        if let Ok(note) = serde_json::from_slice::<Restoration>(&text)
            && ChainEnd::of(&self.database).await? == note.after
        {
            self.record(&note.entry(self.clock.now_ms())).await?;
            let (before, after) = (note.before.map(|end| end.block), note.after.block);
            tracing::warn!(target: "keepwell::audit", action = "database.restored", operator = note.operator,
                block_before = before, block = after, "a backup was put in the place of the database");
        }
        fs::remove_file(&path)?;
        Ok(())
    }
}
