//! How one run of a job ended. An outcome is not a state: [`crate::state::settle`] turns the one into the other.

use std::time::Duration;

/// How one run of a job ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The effects are in; the job is finished.
    Done,
    /// It failed in a way that may pass. Counts as an attempt.
    Retry {
        /// What went wrong, for the operator; no secrets, no personal data.
        error: String,
        /// Wait at least this long (a `Retry-After`); otherwise the kind's back-off decides.
        after: Option<Duration>,
    },
    /// It is too early. Does not count as an attempt.
    Snooze {
        /// Run again after this long.
        after: Duration,
    },
    /// It no longer needs doing.
    Cancel {
        /// Why, for the operator.
        reason: String,
    },
    /// It failed in a way that will not pass.
    Dead {
        /// What went wrong, for the operator; no secrets, no personal data.
        error: String,
    },
}

impl Outcome {
    /// A failure that may pass.
    pub fn retry(error: impl Into<String>) -> Self {
        Outcome::Retry { error: error.into(), after: None }
    }

    /// A failure that will not pass.
    pub fn dead(error: impl Into<String>) -> Self {
        Outcome::Dead { error: error.into() }
    }

    /// The same with `change` applied to what it says.
    #[must_use]
    pub(crate) fn map_text(self, change: impl Fn(String) -> String) -> Self {
        match self {
            Outcome::Retry { error, after } => Outcome::Retry { error: change(error), after },
            Outcome::Cancel { reason } => Outcome::Cancel { reason: change(reason) },
            Outcome::Dead { error } => Outcome::Dead { error: change(error) },
            other @ (Outcome::Done | Outcome::Snooze { .. }) => other,
        }
    }

    /// The word for metrics and logs.
    pub const fn name(&self) -> &'static str {
        match self {
            Outcome::Done => "done",
            Outcome::Retry { .. } => "retry",
            Outcome::Snooze { .. } => "snooze",
            Outcome::Cancel { .. } => "cancel",
            Outcome::Dead { .. } => "dead",
        }
    }
}
