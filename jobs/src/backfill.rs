//! `stripe.backfill`: Stripe is asked for the events of a span, and each that no webhook has brought is taken in as if
//! one had. Whoever asks says which in the payload:
//! `{"look_back_s":10800,"undelivered":true}` (until the tick, or now), or `{"since_s":…,"until_s":…,"types":[…]}`.
//! What is undelivered Stripe says, of any endpoint of the account; without that word every event of the span is held
//! against the ledger, also one that somebody else has answered for us. A page is compared in one question, so that
//! thirty days of what is known cost nothing but reading.
//!
//! A run takes one page, newest events first: what is learned does not depend on the order. Its events are on disk,
//! each under the dedupe key that a webhook's would have, before the job of the next page is recorded, with the end of
//! this one. Whatever ends a run in between, the page is taken again, and what was taken already is known.
//!
//! What the metadata of such an event say of a crisis counts when the event was made. A crisis that Stripe could not
//! deliver for two hours opens, with the time that it has left; one of three weeks ago that is over by now opens
//! nothing, and is counted, audited and told of.
//!
//! An event is believed because Stripe's API showed it, to our key and over TLS; then it goes the way of every event:
//! mode and account are checked, personal data dropped, the lane chosen, and a crisis watched.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use keepwell_workers::{
    clock::UnixMs,
    database::Transaction,
    handler::{ApplyError, Handler, Prepared},
    job::{Job, NewJob},
    lane::Lane,
    outcome::Outcome,
    policy::Policy,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    Care,
    intake::event_types::{EventTypes, is_type},
    kinds,
    outbound::stripe::list::{EventsAsked, PAGE_TIMEOUT_MS, TYPES_MAX},
    scheduled::scheduled_ms,
    store::audit::{self, Actor, AuditEntry},
};

/// How long Stripe keeps events, in seconds: thirty days.
pub const KEPT_S: i64 = 30 * 24 * 60 * 60;

/// How far back a back-fill looks if nobody says, in seconds: three hours.
pub const LOOK_BACK_S: i64 = 3 * 60 * 60;

/// Pages of one back-fill, at most: a million events. More of them are asked for in shorter spans.
const PAGES_MAX: u32 = 10_000;

/// About four days of a Stripe that does not answer. A page of a hundred events, each of which is recorded, takes a
/// second or two.
pub(crate) const POLICY: Policy = Policy {
    attempts_max: 200,
    backoff_base_ms: 1_000,
    backoff_cap_ms: 60 * 60 * 1_000,
    timeout_ms: 3 * PAGE_TIMEOUT_MS,
};

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// Nobody had brought it; it is recorded now.
    Recorded,
    /// The same, and its metadata tell of a crisis that is over by now: that opens nothing.
    CrisisOver,
    /// It had been recorded before.
    Known,
    /// It is of another mode or account than the webhooks; it is recorded and changes nothing.
    SetAside,
    /// It is no event.
    Unreadable,
}

impl Taken {
    /// All of them, in the order of their numbers.
    pub const ALL: [Taken; 5] =
        [Taken::Recorded, Taken::CrisisOver, Taken::Known, Taken::SetAside, Taken::Unreadable];

    /// The word for metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Taken::Recorded => "recorded",
            Taken::CrisisOver => "crisis_over",
            Taken::Known => "known",
            Taken::SetAside => "set_aside",
            Taken::Unreadable => "unreadable",
        }
    }
}

/// Where events are taken in that no webhook has brought.
#[async_trait]
pub trait EventDoor: fmt::Debug + Send + Sync + 'static {
    /// Which of `events` are recorded, in their order. An `Err` is how the run ends.
    async fn known(&self, events: &[Bytes]) -> Result<Vec<bool>, Outcome>;

    /// Takes `event` in as if a webhook had brought it; it is on disk when this returns. An `Err` is how the run ends.
    async fn take(&self, event: &Bytes) -> Result<Taken, Outcome>;
}

/// What is asked for, and how far it has come.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Asked {
    scheduled_for: Option<String>,
    look_back_s: Option<i64>,
    since_s: Option<i64>,
    until_s: Option<i64>,
    types: Vec<String>,
    undelivered: bool,
    so_far: Option<SoFar>,
}

/// How far a back-fill has come.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct SoFar {
    /// The id of its first job.
    first_job: String,
    /// The last event of the last page.
    after: Option<String>,
    pages: u32,
    events: u64,
    recorded: u64,
    /// Of those, how many tell of a crisis that is over.
    #[serde(default)]
    crises_over: u64,
}

impl Asked {
    /// The events of `types` (of all that change something, if it names none) that were made from `since_s` until
    /// `until_s`, in seconds since the Unix epoch; if `undelivered`, only those that some endpoint has not taken.
    pub fn span(since_s: i64, until_s: i64, types: Vec<String>, undelivered: bool) -> Self {
        let (since_s, until_s) = (Some(since_s), Some(until_s));
        Self { since_s, until_s, types, undelivered, ..Self::default() }
    }

    /// What is wrong with it, if anything is, for a job of `created_ms`.
    pub fn check(&self, created_ms: UnixMs) -> Result<(), String> {
        self.bounds(created_ms).map(|_| ())
    }

    /// The job that begins it; `subject` is what it is known by.
    pub fn job(&self, subject: &str) -> NewJob {
        // Numbers, texts and flags are always written.
        NewJob::new(kinds::STRIPE_BACKFILL, Lane::Background, serde_json::to_vec(self).unwrap_or_default())
            .subject(subject)
            .turn(TURN)
    }

    fn read(payload: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(payload)
            .map_err(|_| "the payload says neither `look_back_s` nor `since_s` as it should".to_owned())
    }

    /// From which second until which one; no longer back than Stripe keeps events.
    fn bounds(&self, created_ms: UnixMs) -> Result<(i64, i64), String> {
        let at_ms = scheduled_ms(self.scheduled_for.as_deref())?.unwrap_or(created_ms);
        let until_s = self.until_s.unwrap_or(at_ms.div_euclid(1_000));
        let look_back_s = self.look_back_s.unwrap_or(LOOK_BACK_S);
        let since_s = self.since_s.unwrap_or(until_s.saturating_sub(look_back_s));
        let since_s = since_s.max(created_ms.div_euclid(1_000).saturating_sub(KEPT_S));
        if since_s > until_s {
            return Err("the span ends before it begins, or before the 30 days that Stripe keeps".to_owned());
        }
        if self.types.len() > TYPES_MAX {
            return Err(format!("Stripe takes at most {TYPES_MAX} types at once"));
        }
        if let Some(wrong) = self.types.iter().find(|name| !is_type(name)) {
            return Err(format!("`{}` is no type of an event", wrong.chars().take(60).collect::<String>()));
        }
        Ok((since_s, until_s))
    }

    /// The types that Stripe is asked for: those of `known` that change something, unless it was said which.
    fn types(&self, known: &EventTypes) -> Vec<String> {
        if self.types.is_empty() { known.all().map(str::to_owned).collect() } else { self.types.clone() }
    }
}

/// The turn of pages: one at a time, whoever asks.
const TURN: &str = "stripe backfill";

/// See the module.
pub(crate) struct Backfill(pub(crate) Care);

/// What the page was asked for with, and how far it brought the back-fill; the next page, if there is one, is behind
/// [`SoFar::after`].
struct PageTaken {
    asked: Asked,
    types: Vec<String>,
    bounds: (i64, i64),
    so_far: SoFar,
}

#[async_trait]
impl Handler for Backfill {
    fn kind(&self) -> &'static str {
        kinds::STRIPE_BACKFILL
    }

    fn policy(&self) -> Policy {
        POLICY
    }

    async fn prepare(&self, job: &Job) -> Result<Prepared, Outcome> {
        let asked = Asked::read(&job.payload).map_err(Outcome::dead)?;
        let bounds @ (since_s, until_s) = asked.bounds(job.created_ms).map_err(Outcome::dead)?;
        let (Some(stripe), Some(door)) = (&self.0.stripe, &self.0.event_door) else {
            return Err(Outcome::Cancel {
                reason: "without `stripe.api_key` nobody can be asked".to_owned(),
            });
        };
        let first = || SoFar { first_job: job.id.to_string(), ..SoFar::default() };
        let mut so_far = asked.so_far.clone().unwrap_or_else(first);
        if so_far.pages >= PAGES_MAX {
            return Err(Outcome::dead(
                "the span has more than a million events: ask for shorter ones, or give the schedule a shorter \
                 `look_back_s`",
            ));
        }
        let types = asked.types(&self.0.event_types);
        let events = EventsAsked { since_s, until_s, types: &types, undelivered: asked.undelivered };
        let page = stripe.events(&events, so_far.after.as_deref(), job.id).await?;
        let known = door.known(&page.items).await?;
        for (event, known) in page.items.iter().zip(known) {
            let taken = if known { Taken::Known } else { door.take(event).await? };
            self.0.tallies.backfilled(taken);
            so_far.events += 1;
            so_far.recorded += u64::from(matches!(taken, Taken::Recorded | Taken::CrisisOver));
            so_far.crises_over += u64::from(taken == Taken::CrisisOver);
        }
        so_far.pages += 1;
        so_far.after = page.next;
        Ok(Box::new(PageTaken { asked, types, bounds, so_far }))
    }

    async fn apply(
        &self,
        job: &Job,
        prepared: &Prepared,
        transaction: &mut Transaction,
    ) -> Result<Outcome, ApplyError> {
        let Some(PageTaken { asked, types, bounds, so_far }) = prepared.downcast_ref::<PageTaken>() else {
            return Ok(Outcome::retry("the page is gone"));
        };
        if so_far.after.is_some() {
            transaction.enqueue(next_page(asked, *bounds, so_far, job.subject.as_deref()));
            return Ok(Outcome::Done);
        }
        // Those on schedule find nothing as a rule; whoever asked wants to know that too.
        if so_far.recorded > 0 || asked.scheduled_for.is_none() {
            let entry = entry((asked, types), *bounds, so_far, transaction.now_ms());
            audit::append(transaction, &entry).await?;
        }
        let SoFar { pages, events, recorded, crises_over, .. } = *so_far;
        transaction.after_commit(move || {
            tracing::info!(pages, events, recorded, crises_over, "events were back-filled");
        });
        Ok(Outcome::Done)
    }
}

/// The job of the page behind `so_far`, for whom `subject` stands. The span stays what it was, so that its pages do not
/// move meanwhile.
fn next_page(asked: &Asked, bounds: (i64, i64), so_far: &SoFar, subject: Option<&str>) -> NewJob {
    let (since_s, until_s) = (Some(bounds.0), Some(bounds.1));
    let job = Asked { since_s, until_s, so_far: Some(so_far.clone()), ..asked.clone() };
    job.job(subject.unwrap_or(TURN))
        .dedupe_key(format!("stripe backfill:{}:{}", so_far.first_job, so_far.pages))
}

/// What a back-fill did, for the trail.
fn entry(
    (asked, types): (&Asked, &[String]),
    (since_s, until_s): (i64, i64),
    so_far: &SoFar,
    at_ms: UnixMs,
) -> AuditEntry {
    let SoFar { first_job, pages, events, recorded, crises_over, .. } = so_far;
    let after = json!({
        "since_s": since_s, "until_s": until_s, "types": types, "undelivered": asked.undelivered,
        "pages": pages, "events": events, "recorded": recorded, "crises_over": crises_over,
    });
    AuditEntry {
        at_ms,
        actor: Actor::System { job: format!("{} {first_job}", kinds::STRIPE_BACKFILL) },
        action: "stripe.backfilled",
        subject: Some(first_job.clone()),
        reason: "events that no webhook had brought were asked for".to_owned(),
        before: None,
        after: Some(after),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_S: i64 = 1_700_000_000;

    fn bounds(payload: &str) -> Result<(i64, i64), String> {
        Asked::read(payload.as_bytes())?.bounds(NOW_S * 1_000)
    }

    #[test]
    fn a_span_ends_with_the_tick_or_now_and_begins_no_earlier_than_stripe_remembers() {
        assert_eq!(bounds("{}"), Ok((NOW_S - LOOK_BACK_S, NOW_S)));
        let late = r#"{"scheduled_for":"2023-11-14T21:00:00.000Z","look_back_s":60}"#;
        assert_eq!(bounds(late), Ok((1_699_995_540, 1_699_995_600)), "the tick counts, not when it ran");
        assert_eq!(bounds(r#"{"since_s":0,"until_s":1699999999}"#), Ok((NOW_S - KEPT_S, NOW_S - 1)));
    }

    #[test]
    fn a_payload_that_makes_no_sense_is_named() {
        for (payload, words) in [
            ("1", "`look_back_s`"),
            (r#"{"lookback_s":5}"#, "`look_back_s`"),
            (r#"{"scheduled_for":"noon"}"#, "`scheduled_for`"),
            (r#"{"since_s":9,"until_s":8}"#, "before it begins"),
            (r#"{"since_s":1,"until_s":2}"#, "30 days"),
            (r#"{"types":["a&b"]}"#, "`a&b` is no type"),
            (r#"{"types":["a."]}"#, "`a.` is no type"),
        ] {
            assert!(bounds(payload).unwrap_err().contains(words), "{payload}");
        }
        let many = Asked { types: vec!["a".to_owned(); TYPES_MAX + 1], ..Asked::default() };
        assert!(many.check(NOW_S * 1_000).unwrap_err().contains("20 types"));
    }

    #[test]
    fn the_next_page_is_of_the_same_span_and_has_a_key_of_its_own() {
        let asked = Asked::read(br#"{"look_back_s":60,"undelivered":true}"#).unwrap();
        let so_far =
            SoFar { first_job: "j".into(), after: Some("evt_1".into()), pages: 2, ..SoFar::default() };
        let job = next_page(&asked, (NOW_S - 60, NOW_S), &so_far, Some("schedule:hourly"));
        assert_eq!(job.dedupe_key.as_deref(), Some("stripe backfill:j:2"));
        assert_eq!((job.subject.as_deref(), job.turn.as_deref()), (Some("schedule:hourly"), Some(TURN)));
        let next = Asked::read(&job.payload).unwrap();
        assert_eq!(next.bounds((NOW_S + 5_000) * 1_000), Ok((NOW_S - 60, NOW_S)));
        assert_eq!((next.so_far, next.undelivered), (Some(so_far), true));
    }
}
