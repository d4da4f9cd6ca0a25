//! What happened, as it was seen from outside: the checker judges nothing else.

use std::collections::BTreeSet;

/// Milliseconds since the Unix epoch.
pub type Ms = i64;

/// What an event leaves behind once it took effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Nothing but its own row in the ledger.
    Nothing,
    /// This row, for ever.
    Row(String),
    /// This row, if no event about the same thing has a higher rank.
    Newest { about: String, rank: i64, row: String },
}

/// An event that was sent until it was taken, and perhaps once more.
#[derive(Debug, Clone)]
pub struct Event {
    /// The key under which the ledger records it once.
    pub key: String,
    pub effect: Effect,
    /// When it was sent for the first time.
    pub sent_ms: Ms,
    /// The first 2xx.
    pub taken_ms: Option<Ms>,
    /// Whether anything but a 2xx was the answer to the first attempt, or nothing.
    pub came_again: bool,
    /// How many 2xx said that it had not been there before.
    pub recorded: u32,
    /// An answer that promises nothing and does not ask to come again either.
    pub refused: Option<String>,
}

/// A job as the ledger has it in the end.
#[derive(Debug, Clone)]
pub struct Row {
    pub id: String,
    pub key: String,
    pub state: String,
    pub lane: String,
    /// Whom it is about.
    pub subject: Option<String>,
    /// How often it was counted as run.
    pub attempts: i64,
    /// How many of these runs are noted as failed.
    pub failed: i64,
    pub finished_ms: Option<Ms>,
}

/// What came back when the app asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answered {
    /// No answer.
    Nothing,
    /// What is known about the person.
    Person { version: i64 },
    /// What is true for everybody: the floor in place of an answer, or where to find help.
    Floor,
    /// Anything else: what a person in need must never get.
    Wrong(String),
}

/// One question of the app's.
#[derive(Debug, Clone)]
pub struct Probe {
    pub daemon: usize,
    /// Nobody: where to find help was asked for.
    pub customer: Option<String>,
    pub asked_ms: Ms,
    pub answered_ms: Ms,
    pub answered: Answered,
}

/// A time that something took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    pub from_ms: Ms,
    pub until_ms: Ms,
}

impl Span {
    /// Whether the two have an instant in common.
    pub fn touches(&self, other: &Span) -> bool {
        self.from_ms <= other.until_ms && other.from_ms <= self.until_ms
    }
}

/// The end of a daemon, or as good as that.
#[derive(Debug, Clone)]
pub struct Death {
    pub span: Span,
    /// The ids of the jobs that it had in its hands.
    pub claimed: Vec<String>,
}

/// A crisis signal about somebody new, and how long it took until the access document spoke of a crisis.
#[derive(Debug, Clone, Copy)]
pub struct Canary {
    pub sent_ms: Ms,
    pub seen_after_ms: f64,
}

/// What was done to the house.
#[derive(Debug, Clone, Default)]
pub struct Troubles {
    /// When which daemon could not answer.
    pub down: Vec<(usize, Span)>,
    /// From a death to the moment at which the same daemon was ready again.
    pub restarts: Vec<Death>,
    /// Daemons that were away for longer than a lease while another one was there.
    pub absences: Vec<Death>,
    /// When Redis was away, or had just lost what it knew.
    pub redis_away: Vec<Span>,
    /// Since when the database may have forgotten commits that nobody had been promised.
    pub forgotten: Vec<Span>,
}

/// Everything.
#[derive(Debug, Clone, Default)]
pub struct History {
    pub events: Vec<Event>,
    pub rows: Vec<Row>,
    /// A job's id for each time that it became done, in order.
    pub finishes: Vec<String>,
    /// Customer and version, for each time that somebody's facts were written, in order.
    pub changes: Vec<(String, i64)>,
    /// The rows that effects left.
    pub effects: BTreeSet<String>,
    pub probes: Vec<Probe>,
    pub canaries: Vec<Canary>,
    pub troubles: Troubles,
    /// Lines of the daemons' logs that no daemon should write.
    pub cries: Vec<String>,
}
