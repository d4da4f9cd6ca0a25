//! A job's states and the only ways between them.

use std::{fmt, fmt::Write as _, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{clock::UnixMs, outcome::Outcome, policy::Policy};

/// Where a job stands in the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Still to be done: waiting, running, or to be retried later.
    Owed,
    /// Its effects are in.
    Done,
    /// Given up on; an operator may retry it.
    Dead,
    /// It no longer needed doing, as its handler said; an operator may retry it.
    Cancelled,
}

impl State {
    /// All states.
    pub const ALL: [State; 4] = [State::Owed, State::Done, State::Dead, State::Cancelled];

    /// The name used in SQL, metrics, the command line and the documentation.
    pub const fn name(self) -> &'static str {
        match self {
            State::Owed => "owed",
            State::Done => "done",
            State::Dead => "dead",
            State::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// No state has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no job state `{0}`; the states are owed, done, dead and cancelled")]
pub struct UnknownState(pub String);

impl FromStr for State {
    type Err = UnknownState;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|state| state.name() == name).ok_or_else(|| UnknownState(name.to_owned()))
    }
}

/// One way from a state to a state, and what leads there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransitionRule {
    /// From here.
    pub from: State,
    /// Because of this.
    pub because: &'static str,
    /// To there.
    pub to: State,
}

const fn rule(from: State, because: &'static str, to: State) -> TransitionRule {
    TransitionRule { from, because, to }
}

/// Every way there is. What is not listed cannot happen.
pub const TRANSITIONS: &[TransitionRule] = &[
    rule(State::Owed, "effects committed", State::Done),
    rule(State::Owed, "run failed, attempts left", State::Owed),
    rule(State::Owed, "snoozed", State::Owed),
    rule(State::Owed, "worker died or drained", State::Owed),
    rule(State::Owed, "run failed for good or attempts exhausted", State::Dead),
    rule(State::Owed, "workers kept dying", State::Dead),
    rule(State::Owed, "cancelled", State::Cancelled),
    rule(State::Dead, "operator retries", State::Owed),
    rule(State::Cancelled, "operator retries", State::Owed),
];

/// The transitions as a Mermaid state diagram, as it stands in `ARCHITECTURE.md`.
pub fn diagram() -> String {
    let mut text = String::from("stateDiagram-v2\n    [*] --> owed: recorded\n");
    for TransitionRule { from, because, to } in TRANSITIONS {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "    {from} --> {to}: {because}");
    }
    text
}

/// What the end of a run does to the job's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transition {
    /// To [`State::Done`].
    Finish,
    /// Stays [`State::Owed`], one attempt more, not before `run_at_ms`.
    RetryAt {
        /// The earliest next run.
        run_at_ms: UnixMs,
        /// What went wrong.
        error: String,
    },
    /// Stays [`State::Owed`], no attempt counted, not before `run_at_ms`.
    SnoozeUntil {
        /// The earliest next run.
        run_at_ms: UnixMs,
    },
    /// To [`State::Cancelled`].
    Cancel {
        /// Why.
        reason: String,
    },
    /// To [`State::Dead`], one attempt more.
    Bury {
        /// What went wrong.
        error: String,
    },
}

/// The one place where an outcome becomes a change of state.
///
/// `attempts` is how many runs failed before this one; `random` in `0.0..=1.0` is the jitter.
pub fn settle(outcome: Outcome, attempts: u32, policy: &Policy, now_ms: UnixMs, random: f64) -> Transition {
    let at = |after: std::time::Duration| {
        now_ms.saturating_add(i64::try_from(after.as_millis()).unwrap_or(i64::MAX))
    };
    match outcome {
        Outcome::Done => Transition::Finish,
        Outcome::Retry { error, .. } if attempts.saturating_add(1) >= policy.attempts_max => {
            Transition::Bury { error }
        }
        Outcome::Retry { error, after } => {
            let backoff = policy.backoff(attempts + 1, random);
            Transition::RetryAt { run_at_ms: at(after.map_or(backoff, |least| least.max(backoff))), error }
        }
        Outcome::Snooze { after } => Transition::SnoozeUntil { run_at_ms: at(after) },
        Outcome::Cancel { reason } => Transition::Cancel { reason },
        Outcome::Dead { error } => Transition::Bury { error },
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const POLICY: Policy =
        Policy { attempts_max: 3, backoff_base_ms: 1_000, backoff_cap_ms: 60_000, timeout_ms: 1 };

    #[test]
    fn every_outcome_settles_as_the_table_says() {
        let error = || String::from("e");
        let table = [
            (Outcome::Done, 0, Transition::Finish),
            (Outcome::retry("e"), 0, Transition::RetryAt { run_at_ms: 11_000, error: error() }),
            (Outcome::retry("e"), 1, Transition::RetryAt { run_at_ms: 12_000, error: error() }),
            (Outcome::retry("e"), 2, Transition::Bury { error: error() }),
            (
                Outcome::Retry { error: error(), after: Some(Duration::from_secs(7)) },
                0,
                Transition::RetryAt { run_at_ms: 17_000, error: error() },
            ),
            (
                Outcome::Snooze { after: Duration::from_secs(5) },
                2,
                Transition::SnoozeUntil { run_at_ms: 15_000 },
            ),
            (Outcome::Cancel { reason: error() }, 2, Transition::Cancel { reason: error() }),
            (Outcome::dead("e"), 0, Transition::Bury { error: error() }),
        ];
        for (outcome, attempts, expected) in table {
            assert_eq!(settle(outcome.clone(), attempts, &POLICY, 10_000, 1.0), expected, "{outcome:?}");
        }
    }

    #[test]
    fn no_state_but_owed_is_left_by_itself() {
        for rule in TRANSITIONS {
            assert!(rule.from == State::Owed || rule.because.starts_with("operator"), "{rule:?}");
        }
    }
}
