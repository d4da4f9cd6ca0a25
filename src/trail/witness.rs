//! The end of the chain, noted outside the database: whoever cuts the tail off there and puts an older head in its
//! place does not reach this.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use keepwell_jobs::store::audit::ChainEnd;

use crate::new_file;

/// A file with the last end of the chain that this daemon has seen.
#[derive(Debug)]
pub(super) struct Witness {
    path: PathBuf,
}

impl Witness {
    pub(super) fn in_directory(directory: &Path) -> Self {
        Self { path: directory.join("audit.end") }
    }

    /// `None` if there is none: before the first block, or because somebody who knows why took the file away. An error
    /// if it cannot be read: then nobody can say whether the chain was cut off since.
    pub(super) fn read(&self) -> io::Result<Option<ChainEnd>> {
        match fs::read(&self.path) {
            Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Notes `end` in the place of the one before.
    pub(super) fn note(&self, end: &ChainEnd) -> io::Result<()> {
        // As a whole, or a power cut could leave a file that cannot be read.
        new_file::replace(&self.path, &serde_json::to_vec(end)?)
    }

    /// Takes the note out of the way, for a chain that was rightly taken back; says where to.
    pub(super) fn set_aside(&self, now_ms: i64) -> io::Result<Option<PathBuf>> {
        let aside = self.path.with_extension(format!("end.before-{now_ms}"));
        match fs::rename(&self.path, &aside) {
            Ok(()) => Ok(Some(aside)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_that_was_noted_last_is_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let witness = Witness::in_directory(directory.path());
        assert_eq!(witness.read().unwrap(), None);
        for block in [1, 2] {
            let end = ChainEnd { block, hash: "00".repeat(32) };
            witness.note(&end).unwrap();
            assert_eq!(witness.read().unwrap(), Some(end));
        }
        fs::write(directory.path().join("audit.end"), b"").unwrap();
        assert!(witness.read().is_err(), "what cannot be read is not the same as nothing");
    }
}
