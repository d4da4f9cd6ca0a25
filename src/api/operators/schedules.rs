//! `/api/v1/schedules`: what appears by itself, and when; running, pausing and resuming it.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, Query, State, rejection::QueryRejection},
};
use bytes::Bytes;
use http::StatusCode;
use keepwell_schedules::{
    board::{held_back_since_ms, overdue_ms},
    schedule::Schedule,
};
use keepwell_workers::{clock::UnixMs, lane::Lane, ledger::ScheduleRow};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    super::{instant::rfc3339, operator_name::OperatorName, state::ApiState},
    bad_request,
    filter::read_instant,
    ledger_away,
    noted::entry,
    operator_log::audit,
    plain_reason, read_body,
    view::Page,
};
use crate::{
    receiver::problem::Problem,
    trail::{EntryNote, PlainNote},
};

/// Ticks that are shown when nobody says how many.
const UPCOMING: usize = 5;

/// Ticks that are shown at most.
const UPCOMING_MAX: usize = 100;

/// Ticks of a range that are run by one request, at most: the engine records so many in one transaction.
const BACKFILL_STEP: usize = 200;

/// Ticks that a range may have; more than that is rather a mistake than a wish.
const BACKFILL_MAX: u64 = 10_000;

/// A schedule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct ScheduleBody {
    name: String,
    kind: String,
    lane: Lane,
    when: String,
    next_at: Option<String>,
    last_tick_at: Option<String>,
    last_fired_at: Option<String>,
    last_job: Option<String>,
    fired: u64,
    skipped: u64,
    overdue_ms: i64,
    /// Since when ticks are left out because `last_job` is still owed.
    held_back_since: Option<String>,
    paused: bool,
    paused_since: Option<String>,
    paused_because: Option<String>,
}

/// A schedule and its next ticks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct ScheduleWithTicks {
    #[serde(flatten)]
    schedule: ScheduleBody,
    time_zone: &'static str,
    upcoming: Vec<TickBody>,
}

/// An instant, and what the clock on the wall shows then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct TickBody {
    at: String,
    local: String,
}

/// What is to be run.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RunBody {
    since: Option<String>,
    until: Option<String>,
    dry_run: bool,
}

/// Why a schedule is held up.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct PauseBody {
    reason: String,
}

impl ScheduleBody {
    fn of(schedule: &Schedule, row: Option<ScheduleRow>, now_ms: UnixMs) -> Self {
        let timing = &schedule.rules.timing;
        let mut body = Self {
            name: schedule.name.clone(),
            kind: schedule.kind.to_string(),
            lane: schedule.lane,
            when: timing.words(),
            next_at: timing.next_after(now_ms).map(rfc3339),
            last_tick_at: None,
            last_fired_at: None,
            last_job: None,
            fired: 0,
            skipped: 0,
            overdue_ms: 0,
            held_back_since: None,
            paused: false,
            paused_since: None,
            paused_because: None,
        };
        if let Some(mut row) = row {
            row.next_tick_ms = timing.next_after(row.through_ms);
            body.overdue_ms = overdue_ms(&row, now_ms);
            body.held_back_since = held_back_since_ms(schedule, &row).map(rfc3339);
            body.last_tick_at = row.last_tick_ms.map(rfc3339);
            body.last_fired_at = row.fired_at_ms.map(rfc3339);
            body.last_job = row.last_job.map(|id| id.to_string());
            (body.fired, body.skipped) = (row.fired, row.skipped);
            if let Some(pause) = row.paused {
                body.next_at = None;
                body.paused = true;
                body.paused_since = Some(rfc3339(pause.since_ms));
                body.paused_because = Some(pause.reason).filter(|reason| !reason.is_empty());
            }
        }
        body
    }
}

pub(super) async fn list(State(state): State<Arc<ApiState>>) -> Result<Json<Page<ScheduleBody>>, Problem> {
    let (rows, now_ms) = (rows(&state).await?, state.clock.now_ms());
    let items = state.schedules.iter().map(|schedule| {
        let row = rows.iter().find(|row| row.name == schedule.name);
        ScheduleBody::of(schedule, row.cloned(), now_ms)
    });
    let items: Vec<ScheduleBody> = items.collect();
    let total = items.len() as u64;
    Ok(Json(Page { items, next: None, total }))
}

pub(super) async fn show(
    State(state): State<Arc<ApiState>>,
    Path(name): Path<String>,
    pairs: Result<Query<Vec<(String, String)>>, QueryRejection>,
) -> Result<Json<ScheduleWithTicks>, Problem> {
    let schedule = named(&state, &name)?;
    let Query(pairs) = pairs.map_err(|_| bad_request("bad_filter", "the query cannot be read"))?;
    let count = match pairs.iter().find(|(name, _)| name == "count") {
        Some((_, count)) => count.parse().ok().filter(|count| (1..=UPCOMING_MAX).contains(count)),
        None => Some(UPCOMING),
    };
    let wrong = || bad_request("bad_filter", format!("`count` is a number from 1 to {UPCOMING_MAX}"));
    let (count, now_ms) = (count.ok_or_else(wrong)?, state.clock.now_ms());
    let row = rows(&state).await?.into_iter().find(|row| row.name == schedule.name);
    let timing = &schedule.rules.timing;
    let upcoming = timing.between(now_ms, UnixMs::MAX).take(count);
    let upcoming = upcoming.map(|tick_ms| TickBody { at: rfc3339(tick_ms), local: timing.wall(tick_ms) });
    Ok(Json(ScheduleWithTicks {
        schedule: ScheduleBody::of(schedule, row, now_ms),
        time_zone: timing.zone().name(),
        upcoming: upcoming.collect(),
    }))
}

/// Runs it once now, or every tick of a range that has not been run before.
pub(super) async fn run(
    State(state): State<Arc<ApiState>>,
    operator: OperatorName,
    Path(name): Path<String>,
    body: Bytes,
) -> Result<Json<Value>, Problem> {
    let schedule = named(&state, &name)?;
    let body: RunBody =
        read_body(&body, r#"{"since":"2027-01-30T00:00:00Z","until":"2027-01-31T00:00:00Z"}"#)?;
    let now_ms = state.clock.now_ms();
    let Some((after_ms, until_ms)) = range(&body, now_ms)? else {
        if body.dry_run {
            return Ok(Json(json!({ "name": name, "ticks": 1, "dry_run": true })));
        }
        let noted = entry(&state, &operator, "schedule.run", Some(name.clone()), "", Value::Null);
        let recorded = state.engine.enqueue_noting(vec![schedule.job_now(now_ms)], &EntryNote(noted)).await;
        let recorded = recorded.map_err(|error| ledger_away(&error))?;
        audit!("schedule.run", "an operator runs a schedule", schedule = name);
        let job = recorded.first().map(|recorded| recorded.id.to_string());
        return Ok(Json(json!({ "name": name, "ticks": 1, "recorded": 1, "job": job, "next": null })));
    };
    if schedule.lane == Lane::Crisis {
        let detail = "a crisis does not wait behind what is made up for; without `since` it is run once";
        return Err(bad_request("bad_range", detail));
    }
    let timing = &schedule.rules.timing;
    let ticks = timing.count_between(after_ms, until_ms, BACKFILL_MAX + 1);
    if ticks > BACKFILL_MAX {
        return Err(bad_request("bad_range", format!("these are more than {BACKFILL_MAX} ticks")));
    }
    if body.dry_run {
        return Ok(Json(
            json!({ "name": name, "ticks": ticks, "until": rfc3339(until_ms), "dry_run": true }),
        ));
    }
    let ticks: Vec<UnixMs> = timing.between(after_ms, until_ms).take(BACKFILL_STEP).collect();
    let jobs = ticks.iter().map(|tick_ms| schedule.job(*tick_ms)).collect();
    let range = json!({ "since": rfc3339(after_ms + 1), "until": rfc3339(until_ms) });
    let note = EntryNote(entry(&state, &operator, "schedule.backfilled", Some(name.clone()), "", range));
    let recorded = state.engine.enqueue_noting(jobs, &note).await.map_err(|error| ledger_away(&error))?;
    let fresh = recorded.iter().filter(|recorded| !recorded.duplicate).count();
    audit!(
        "schedule.backfill",
        "an operator runs the ticks of a range",
        schedule = name,
        after_ms,
        until_ms,
        fresh
    );
    let next = ticks.last().filter(|_| ticks.len() == BACKFILL_STEP).map(|tick_ms| rfc3339(tick_ms + 1));
    Ok(Json(json!({ "name": name, "ticks": ticks.len(), "recorded": fresh, "job": null, "next": next })))
}

/// Behind which instant and until which one ticks are asked for; `None` if none are.
fn range(body: &RunBody, now_ms: UnixMs) -> Result<Option<(UnixMs, UnixMs)>, Problem> {
    let since = match (&body.since, &body.until) {
        (Some(since), _) => since,
        (None, Some(_)) => return Err(bad_request("bad_range", "`until` needs a `since`")),
        (None, None) => return Ok(None),
    };
    let instant = |name: &str, text: &str| {
        read_instant(name, text, now_ms).map_err(|error| bad_request("bad_range", error))
    };
    let since_ms = instant("since", since)?;
    let until_ms = body.until.as_deref().map_or(Ok(now_ms), |until| instant("until", until))?;
    if until_ms > now_ms || since_ms > until_ms {
        return Err(bad_request("bad_range", "`since` lies before `until`, and `until` not after now"));
    }
    // From the first instant on, that included.
    Ok(Some((since_ms.saturating_sub(1), until_ms)))
}

pub(super) async fn pause(
    State(state): State<Arc<ApiState>>,
    operator: OperatorName,
    Path(name): Path<String>,
    body: Bytes,
) -> Result<Json<Value>, Problem> {
    let schedule = named(&state, &name)?;
    let body: PauseBody = read_body(&body, r#"{"reason":"an upgrade"}"#)?;
    let reason = plain_reason(&body.reason);
    let (timing, now_ms) = (&schedule.rules.timing, state.clock.now_ms());
    let ledger = state.engine.ledger();
    // It may never have been ticked.
    let place = (now_ms, timing.next_after(now_ms));
    ledger
        .begin_schedule(&name, &timing.to_string(), place, false)
        .await
        .map_err(|error| ledger_away(&error))?;
    let note =
        PlainNote(entry(&state, &operator, "schedule.paused", Some(name.clone()), &reason, Value::Null));
    let paused = ledger.pause_schedule(&name, &reason, &note).await.map_err(|error| ledger_away(&error))?;
    if paused {
        audit!("schedule.pause", "an operator pauses a schedule", schedule = name, reason);
    }
    Ok(Json(json!({ "name": name, "paused": true, "changed": paused })))
}

pub(super) async fn resume(
    State(state): State<Arc<ApiState>>,
    operator: OperatorName,
    Path(name): Path<String>,
) -> Result<Json<Value>, Problem> {
    let schedule = named(&state, &name)?;
    let now_ms = state.clock.now_ms();
    let next_ms = schedule.rules.timing.next_after(now_ms);
    let note = PlainNote(entry(&state, &operator, "schedule.resumed", Some(name.clone()), "", Value::Null));
    let resumed = state.engine.ledger().resume_schedule(&name, (now_ms, next_ms), &note).await;
    let resumed = resumed.map_err(|error| ledger_away(&error))?;
    if resumed {
        audit!("schedule.resume", "an operator lets a schedule go on", schedule = name);
    }
    Ok(Json(json!({ "name": name, "paused": false, "changed": resumed, "next_at": next_ms.map(rfc3339) })))
}

async fn rows(state: &ApiState) -> Result<Vec<ScheduleRow>, Problem> {
    state.engine.ledger().schedules().await.map_err(|error| ledger_away(&error))
}

fn named<'s>(state: &'s ApiState, name: &str) -> Result<&'s Schedule, Problem> {
    let found = state.schedules.iter().find(|schedule| schedule.name == name);
    let detail = "No schedule of this daemon has this name; `keepwell schedule list` shows all.";
    found.ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, "no_such_schedule", detail))
}
