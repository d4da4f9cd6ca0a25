//! What is wrong with a configuration: everything at once, each with its place and the way out.

use std::fmt;

use crate::origin::Origin;

/// One thing that is wrong. It never shows a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The setting that it is about, if it is about one.
    pub key: Option<String>,
    /// Where the mistake is, if it is in one place.
    pub origin: Option<Origin>,
    /// What is wrong, and why that is wrong.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

impl Problem {
    /// Something wrong with the setting `key`.
    pub(crate) fn of(key: impl Into<String>, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { key: Some(key.into()), origin: None, what: what.into(), remedy: remedy.into() }
    }

    /// Something wrong beyond a single setting.
    pub(crate) fn general(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { key: None, origin: None, what: what.into(), remedy: remedy.into() }
    }

    /// Adds the place.
    pub(crate) fn at(mut self, origin: Origin) -> Self {
        self.origin = Some(origin);
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.key, &self.origin) {
            (Some(key), Some(Origin::Unset) | None) => write!(f, "`{key}`: ")?,
            (Some(key), Some(origin)) => write!(f, "`{key}` ({origin}): ")?,
            (None, Some(origin)) => write!(f, "{origin}: ")?,
            (None, None) => {}
        }
        write!(f, "{}; {}", self.what, self.remedy)
    }
}

/// Everything that is wrong with a configuration; never empty.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigErrors {
    /// The problems, in the order in which they were found.
    pub problems: Vec<Problem>,
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problems.as_slice() {
            [problem] => write!(f, "the configuration has a problem: {problem}"),
            problems => {
                write!(f, "the configuration has {} problems:", problems.len())?;
                problems.iter().try_for_each(|problem| write!(f, "\n  - {problem}"))
            }
        }
    }
}

impl From<Problem> for ConfigErrors {
    fn from(problem: Problem) -> Self {
        Self { problems: vec![problem] }
    }
}
