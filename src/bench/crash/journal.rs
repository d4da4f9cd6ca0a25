//! What a worker that may be killed at any moment wrote down about its runs: one line as a handler begins, one as its
//! job is settled.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
};

use super::super::Failure;

/// A worker's journal.
pub(super) struct Journal(PathBuf);

impl Journal {
    /// In `folder`, of the worker called `name`.
    pub(super) fn new(folder: &Path, name: &str, same_host: bool) -> Self {
        Self(folder.join(format!("{name}-{}", if same_host { "same-host" } else { "other-host" })))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Jobs that began, and when, in microseconds since the Unix epoch.
    pub(super) fn begun(&self) -> Result<Vec<(String, f64)>, Failure> {
        Ok(read(&fs::read_to_string(&self.0)?, "begun"))
    }

    /// Jobs that began and were not settled.
    pub(super) fn begun_and_not_ended(&self) -> Result<HashSet<String>, Failure> {
        let text = fs::read_to_string(&self.0)?;
        let ended: HashSet<String> = read(&text, "ended").into_iter().map(|(id, _)| id).collect();
        Ok(read(&text, "begun").into_iter().map(|(id, _)| id).filter(|id| !ended.contains(id)).collect())
    }
}

fn read(text: &str, what: &str) -> Vec<(String, f64)> {
    // The last line may have been cut off by the kill.
    text.lines()
        .filter_map(|line| {
            let mut words = line.split(' ');
            (words.next() == Some(what)).then_some(())?;
            Some((words.next()?.to_owned(), words.next()?.parse().ok()?))
        })
        .collect()
}
