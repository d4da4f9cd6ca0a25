//! Where a value comes from.

use std::{fmt, path::PathBuf};

use serde::{Serialize, Serializer};

/// Where the value of a setting comes from, or the place of a mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it, and it has no value.
    Unset,
    /// It is built in.
    Default,
    /// It follows from something else; says from what.
    Derived(&'static str),
    /// It was made up on first start and is kept in this file.
    DevelopmentSecrets(PathBuf),
    /// It stands in a file.
    File {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
    },
    /// It is a systemd credential in this file.
    Credential(PathBuf),
    /// It is an environment variable with this name.
    Variable(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Unset => f.write_str("not set"),
            Origin::Default => f.write_str("default"),
            Origin::Derived(from) => f.write_str(from),
            Origin::DevelopmentSecrets(path) => write!(f, "development secrets in {}", path.display()),
            Origin::File { path, line } => write!(f, "{}, line {line}", path.display()),
            Origin::Credential(path) => write!(f, "credential {}", path.display()),
            Origin::Variable(name) => write!(f, "environment variable {name}"),
        }
    }
}

impl Serialize for Origin {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
