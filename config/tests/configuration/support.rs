//! A directory of its own for every test, and sources that see nothing else.

use std::path::{Path, PathBuf};

use keepwell_config::{Config, ConfigErrors, Loaded, Purpose, Sources};

/// A place to keep files and state in, gone when dropped.
pub(crate) struct Place {
    directory: tempfile::TempDir,
    variables: Vec<(String, String)>,
    purpose: Purpose,
}

impl Place {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let state_dir = directory.path().join("state").to_string_lossy().into_owned();
        let variables = vec![("STATE_DIRECTORY".to_owned(), state_dir)];
        Self { directory, variables, purpose: Purpose::Serve }
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn state_dir(&self) -> PathBuf {
        self.path().join("state")
    }

    pub(crate) fn variable(mut self, name: &str, text: &str) -> Self {
        self.variables.push((name.to_owned(), text.to_owned()));
        self
    }

    pub(crate) fn purpose(mut self, purpose: Purpose) -> Self {
        self.purpose = purpose;
        self
    }

    /// Writes the file that is read in place of the one of an installed package.
    pub(crate) fn file(self, text: &str) -> Self {
        std::fs::write(self.file_path(), text).unwrap();
        self
    }

    pub(crate) fn file_path(&self) -> PathBuf {
        self.path().join("keepwell.toml")
    }

    pub(crate) fn credential(self, key: &str, text: &str) -> Self {
        let directory = self.path().join("credentials");
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join(key), text).unwrap();
        let directory = directory.to_string_lossy().into_owned();
        self.variable("CREDENTIALS_DIRECTORY", &directory)
    }

    pub(crate) fn sources(&self) -> Sources {
        Sources::new(self.variables.clone(), self.purpose).with_system_file(self.file_path())
    }

    pub(crate) fn load(&self) -> Result<Loaded, ConfigErrors> {
        Config::load(&self.sources())
    }

    /// The problems as they are told, one string each.
    pub(crate) fn problems(&self) -> Vec<String> {
        match self.load() {
            Ok(_) => Vec::new(),
            Err(errors) => errors.problems.iter().map(ToString::to_string).collect(),
        }
    }
}
