//! A file that is under another name until it is whole, and on disk when it has its own. Only its owner reads it,
//! unless somebody says otherwise before it has its name.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{CWD, FlockOperation, RenameFlags, flock, renameat_with},
    io::Errno,
};

/// A file on its way. Dropped before it has its name, it is gone.
#[derive(Debug)]
pub(crate) struct NewFile {
    file: File,
    target: PathBuf,
    beside: PathBuf,
    /// It has its name, and what is beside it now is somebody else's.
    placed: bool,
}

/// What may be beside it: the file, and what SQLite leaves after a crash in the middle.
const COMPANIONS: [&str; 4] = ["", "-wal", "-shm", "-journal"];

impl NewFile {
    /// An empty file that is to become `target`. What an earlier attempt left behind is overwritten.
    pub(crate) fn to_become(target: &Path) -> io::Result<Self> {
        let beside = with_suffix(target, ".partial");
        Self::take(open(&beside)?, target, beside)
    }

    /// `file`, which was found `beside`, unless it is somebody else's.
    fn take(file: File, target: &Path, beside: PathBuf) -> io::Result<Self> {
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        // Whoever was writing it may have given it its name meanwhile: then it is whole, and nobody's to overwrite.
        let own = file.metadata()?;
        if !fs::metadata(&beside).is_ok_and(|found| (found.dev(), found.ino()) == (own.dev(), own.ino())) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        file.set_len(0)?;
        // A killed process may have left them. SQLite would take them for those of the new file.
        for companion in COMPANIONS.into_iter().filter(|companion| !companion.is_empty()) {
            let _ = fs::remove_file(with_suffix(&beside, companion));
        }
        file.set_permissions(Permissions::from_mode(0o600))?;
        Ok(Self { file, target: target.to_owned(), beside, placed: false })
    }

    /// Where it is for now.
    pub(crate) fn path(&self) -> &Path {
        &self.beside
    }

    /// The file itself.
    pub(crate) fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Gives it its name once all of it is on disk; an error of the kind `AlreadyExists` if somebody else has that
    /// name.
    pub(crate) fn place(mut self) -> io::Result<()> {
        self.give_name()?;
        sync_folder(&self.target)
    }

    fn give_name(&mut self) -> io::Result<()> {
        self.file.sync_all()?;
        match renameat_with(CWD, &self.beside, CWD, &self.target, RenameFlags::NOREPLACE) {
            // A file system that knows no such renaming; who writes backups there at the same time is one person.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) if !self.target.exists() => {
                fs::rename(&self.beside, &self.target)?;
            }
            renamed => renamed?,
        }
        self.placed = true;
        Ok(())
    }

    /// The same, in the place of whatever has the name.
    pub(crate) fn replace(mut self) -> io::Result<()> {
        self.file.sync_all()?;
        fs::rename(&self.beside, &self.target)?;
        self.placed = true;
        sync_folder(&self.target)
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if self.placed {
            return;
        }
        for companion in COMPANIONS {
            let _ = fs::remove_file(with_suffix(&self.beside, companion));
        }
    }
}

fn open(beside: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(beside)
}

/// Puts `content` in the place of whatever has the name `path`.
pub(crate) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = NewFile::to_become(path)?;
    file.file().write_all(content)?;
    file.replace()
}

/// `path` with `suffix` behind its name.
pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name: OsString = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Has the names in the folder of `path` on disk.
pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<OsString> {
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect()
    }

    #[test]
    fn a_file_has_its_name_when_it_is_whole_and_takes_nobody_elses() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("copy");
        fs::write(with_suffix(&target, ".partial"), "left by somebody who was killed").unwrap();
        let mut first = NewFile::to_become(&target).unwrap();
        assert_eq!(
            NewFile::to_become(&target).unwrap_err().kind(),
            io::ErrorKind::WouldBlock,
            "somebody is writing it"
        );
        first.file().write_all(b"whole").unwrap();
        assert!(!target.exists());
        first.place().unwrap();
        assert_eq!(fs::read_to_string(&target).unwrap(), "whole");
        assert_eq!(fs::metadata(&target).unwrap().permissions().mode() & 0o777, 0o600);

        let second = NewFile::to_become(&target).unwrap();
        assert_eq!(second.place().unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&target).unwrap(), "whole");
        drop(NewFile::to_become(&target).unwrap());
        assert_eq!(names(folder.path()), ["copy"]);
        replace(&target, b"another").unwrap();
        assert_eq!(fs::read_to_string(&target).unwrap(), "another");
        assert_eq!(names(folder.path()), ["copy"]);
    }

    #[test]
    fn what_has_its_name_takes_nothing_away_that_somebody_else_began_since() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("copy");
        let mut first = NewFile::to_become(&target).unwrap();
        first.give_name().unwrap();
        let second = NewFile::to_become(&target).unwrap();
        drop(first);
        assert!(second.path().exists());
        second.replace().unwrap();
        assert_eq!(names(folder.path()), ["copy"]);
    }

    #[test]
    fn what_got_its_name_while_somebody_else_opened_it_stays_whole() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("copy");
        let mut first = NewFile::to_become(&target).unwrap();
        first.file().write_all(b"whole").unwrap();
        let opened = open(first.path()).unwrap();
        let beside = first.path().to_owned();
        first.place().unwrap();
        let taken = NewFile::take(opened, &target, beside);
        assert_eq!(taken.unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert_eq!(fs::read_to_string(&target).unwrap(), "whole");
    }

    #[test]
    fn what_a_killed_process_left_beside_it_is_gone_before_it_begins() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("copy");
        for companion in COMPANIONS {
            fs::write(with_suffix(&target, &format!(".partial{companion}")), "left").unwrap();
        }
        NewFile::to_become(&target).unwrap().place().unwrap();
        assert_eq!(names(folder.path()), ["copy"]);
        assert_eq!(fs::read_to_string(&target).unwrap(), "");
    }
}
