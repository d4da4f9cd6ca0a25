//! From verified bytes to the job that records them. Pure: what is marked comes in as a set, and nothing is asked.
//!
//! Only what routing needs is read here; the body is recorded as it came, save for what [`privacy`] drops of it and for
//! a word in front of what was fetched, and the handler reads the rest.

mod app;
pub mod event_types;
pub mod privacy;
mod stripe;

use bytes::Bytes;
use keepwell_workers::{job::NewJob, lane::Lane};

pub use crate::intake_error::IntakeError;
pub use app::read_app;
pub use stripe::{Fetched, read_fetched, read_stripe};

use crate::{kinds, stripe::envelope::FETCHED_FIELD};

/// A verified event, read far enough to be recorded.
#[derive(Debug, Clone)]
pub struct Intake {
    /// What records it.
    pub job: NewJob,
    /// What happened, as in `invoice.payment_failed`.
    pub event_type: String,
    /// The event's own id.
    pub event_id: String,
    /// Whether it can change anything.
    pub handled: bool,
    /// Whether real money moved, if it says so.
    pub livemode: Option<bool>,
    /// The connected account it happened on.
    pub account: Option<String>,
}

impl Intake {
    /// The same event, recorded without what `paths` drop. What routes it and tells it from others stays that of the
    /// whole body.
    #[must_use]
    pub fn without(mut self, paths: &privacy::DropPaths) -> Self {
        self.job.payload = paths.apply(&self.job.payload);
        self
    }

    /// The same event, recorded as one that was fetched: what it tells of a crisis counts when it was made.
    #[must_use]
    fn fetched(mut self) -> Self {
        // It was read as an object with an id, so a brace is the first thing in it and something is behind that.
        let body = &self.job.payload;
        let begin = body.iter().position(|byte| *byte == b'{').map_or(0, |brace| brace + 1);
        self.job.payload = [&body[..begin], FETCHED_FIELD.as_bytes(), &body[begin..]].concat().into();
        self
    }

    /// The same of a signal of the app's, with paths of [`DropPaths::of_signals`](privacy::DropPaths::of_signals).
    /// Contacts, safety plans and consent are kept as they are: they are what the app wants kept.
    #[must_use]
    pub fn signal_without(self, paths: &privacy::DropPaths) -> Self {
        if &*self.job.kind == kinds::PERSON_DATA_UPDATED { self } else { self.without(paths) }
    }
}

/// How an event is recorded.
struct Route {
    kind: &'static str,
    lane: Lane,
}

/// The job of a route. Events of one person take turns, so that they do not wait for each other inside the database;
/// those of the crisis lane take none, because they would have to wait behind what came before them in lower lanes.
fn job(route: &Route, body: &Bytes, dedupe_key: String, customer: Option<&str>) -> NewJob {
    let job = NewJob::new(route.kind, route.lane, body.clone()).dedupe_key(dedupe_key);
    match customer {
        Some(customer) if route.lane == Lane::Crisis => job.subject(customer),
        Some(customer) => job.subject(customer).turn(customer),
        None => job,
    }
}

/// The same event, recorded so that it changes nothing: for events of another mode or account than expected.
pub fn set_aside(job: NewJob) -> NewJob {
    NewJob { kind: kinds::EVENT_RECORDED.into(), lane: Lane::Background, turn: None, ..job }
}
