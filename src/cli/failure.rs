//! How a command can fail, and what its exit code says: 1, the thing asked for failed; 2, it was asked for
//! wrongly.

use std::{error::Error, fmt::Write as _};

use keepwell_config::ConfigErrors;

use super::client::ClientError;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// The arguments do not fit together, or do not fit the configuration.
    #[error("{0}")]
    Usage(String),
    /// The thing asked for failed.
    #[error("{0}")]
    Failed(String),
    /// The thing asked for failed for a reason that explains itself further.
    #[error("{what}")]
    Because {
        /// What failed.
        what: String,
        /// Why.
        source: Box<dyn Error + Send + Sync>,
        /// The exit code.
        code: u8,
    },
    /// The daemon could not be asked.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The thing asked for failed, and everything about it has been said.
    #[error("")]
    Said,
}

impl Failure {
    /// `what` failed because of `source`.
    pub(super) fn because(what: impl Into<String>, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Failure::Because { what: what.into(), source: source.into(), code: 1 }
    }

    /// `what` cannot be done as it is configured, because of `source`.
    pub(super) fn misconfigured(
        what: impl Into<String>,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Failure::Because { what: what.into(), source: source.into(), code: 2 }
    }

    /// The exit code.
    pub(super) fn code(&self) -> u8 {
        match self {
            Failure::Config(_) | Failure::Usage(_) => 2,
            Failure::Because { code, .. } => *code,
            Failure::Failed(_) | Failure::Client(_) | Failure::Said => 1,
        }
    }

    /// What to tell the person: the failure and everything that led to it. Empty if it has been said.
    pub(super) fn text(&self) -> String {
        if let Failure::Said = self {
            return String::new();
        }
        let mut text = format!("error: {self}\n");
        let mut source = self.source();
        while let Some(error) = source {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "  because: {error}");
            source = error.source();
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_told_with_everything_that_led_to_it() {
        let failure = Failure::because("the cake is not ready", std::io::Error::other("the oven is cold"));
        assert_eq!(failure.text(), "error: the cake is not ready\n  because: the oven is cold\n");
        assert_eq!(failure.code(), 1);
        assert_eq!((Failure::Said.text().as_str(), Failure::Said.code()), ("", 1));
        assert_eq!(Failure::Usage("no".to_owned()).code(), 2);
    }
}
