//! The state directory: private, locked by one daemon at a time, and with an identity that outlives each of its
//! daemons.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, chown},
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, flock};
use uuid::Uuid;

/// The state directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateDirError {
    /// It cannot be made, read or written.
    #[error("the state directory {path} cannot be used (`state_dir`)")]
    Unusable {
        /// Which one.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Another daemon holds it.
    #[error("another keepwell daemon uses the state directory {0}; stop it, or choose another `state_dir`")]
    InUse(PathBuf),
}

/// The state directory, locked. The lock goes with this value, and with the process if that is killed.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    instance: String,
    _lock: File,
}

impl StateDir {
    /// Makes the directory if it is missing and takes its lock.
    pub fn lock(path: &Path) -> Result<Self, StateDirError> {
        let unusable = |source| StateDirError::Unusable { path: path.to_owned(), source };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(unusable)?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(path.join("lock"))
            .map_err(unusable)?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(StateDirError::InUse(path.to_owned())),
            Err(error) => return Err(unusable(error.into())),
        }
        let instance = instance(path).map_err(unusable)?;
        Ok(Self { path: path.to_owned(), instance, _lock: lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives `file` to whom the directory belongs, who has to be able to read it also if it was root who made it.
    pub(crate) fn give(&self, file: &Path) -> io::Result<()> {
        let (owner, now) = (fs::metadata(&self.path)?, fs::metadata(file)?);
        if (owner.uid(), owner.gid()) == (now.uid(), now.gid()) {
            return Ok(());
        }
        chown(file, Some(owner.uid()), Some(owner.gid()))
    }

    /// What tells this directory from every other one. Whoever holds the lock is the only living daemon of this
    /// identity.
    pub fn instance(&self) -> &str {
        &self.instance
    }
}

/// The identity in the file `instance`, made on first use.
fn instance(path: &Path) -> io::Result<String> {
    let file = path.join("instance");
    match fs::read_to_string(&file) {
        Ok(text) if Uuid::parse_str(text.trim()).is_ok() => Ok(text.trim().to_owned()),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        // A file that a crash left half-written names nobody yet.
        _ => {
            let fresh = Uuid::new_v4().to_string();
            let mut opened = File::create(&file)?;
            opened.write_all(fresh.as_bytes())?;
            opened.sync_all()?;
            Ok(fresh)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_directory_is_used_by_one_daemon_at_a_time_and_keeps_its_identity() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state");
        let first = StateDir::lock(&path).unwrap();
        let instance = first.instance().to_owned();
        assert!(matches!(StateDir::lock(&path), Err(StateDirError::InUse(_))));
        drop(first);
        assert_eq!(StateDir::lock(&path).unwrap().instance(), instance);
    }

    #[test]
    fn an_unusable_state_directory_is_named() {
        let error = StateDir::lock(Path::new("/dev/null/state")).unwrap_err();
        assert!(error.to_string().contains("/dev/null/state"), "{error}");
    }
}
