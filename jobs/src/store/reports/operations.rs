//! Reading what an operations report is made of, an hour of the ledger at a time.

use std::collections::BTreeMap;

use keepwell_workers::{
    clock::UnixMs,
    database::{Database, Reader, turn::Urgency},
    ledger::{ErrorCount, FinishedJob, Ledger, ScheduleRow},
};

use super::read::{ReportSettings, ReportedSchedule, lane_facts, stretches};
use crate::{
    care::report::{
        operations::{DeadJob, ErrorFigures, LISTED_MAX, SlowJob},
        operations_facts::{KindFact, OperationsFacts, RunFact, ScheduleFact},
        period::Period,
    },
    kinds,
};

/// Different errors of one hour that are counted.
const ERRORS_PER_STRETCH: u32 = 50;

/// Different errors of a period that are counted at a time; beyond, the rarest are let go.
const ERRORS_MAX: usize = 2_000;

/// Reads what there is to know of `period` at `now_ms`.
pub async fn read_operations(
    database: &Database,
    settings: &ReportSettings,
    period: Period,
    now_ms: UnixMs,
) -> Result<OperationsFacts, sqlx::Error> {
    let mut reader = database.reader(Urgency::General).await?;
    let mut facts = OperationsFacts {
        period,
        as_of_ms: now_ms,
        ledger_since_ms: now_ms.saturating_sub(settings.done_ms),
        lanes: Vec::new(),
        kinds: Vec::new(),
        runs: Vec::new(),
        errors: Vec::new(),
        errors_cut: false,
        slowest: Vec::new(),
        dead: dead(&mut reader, period).await?,
        schedules: schedules(&mut reader, settings).await?,
    };
    let Some(oldest_ms) = Ledger::oldest_ms(&mut reader).await? else { return Ok(facts) };
    let mut errors = BTreeMap::new();
    for (part, of) in stretches(period, oldest_ms) {
        stretch(&mut reader, part, of, &mut facts, &mut errors).await?;
    }
    facts.errors =
        errors.into_iter().map(|((kind, error), count)| ErrorFigures { kind, error, count }).collect();
    Ok(facts)
}

async fn stretch(
    reader: &mut Reader,
    part: usize,
    of: Period,
    facts: &mut OperationsFacts,
    errors: &mut BTreeMap<(String, String), u64>,
) -> Result<(), sqlx::Error> {
    let Period { from_ms, to_ms } = of;
    facts.lanes.extend(lane_facts(reader, part, of).await?);
    let is_counted = |kind: &str| kind != kinds::CRISIS_CANARY;
    for of in Ledger::kinds_between(reader, from_ms, to_ms).await? {
        if !is_counted(&of.kind) {
            continue;
        }
        let state = of.state.name();
        match facts.kinds.iter_mut().find(|known| known.kind == of.kind && known.state == state) {
            Some(known) => {
                known.count += of.count;
                known.took_ms += of.took_ms;
            }
            None => facts.kinds.push(KindFact { kind: of.kind, state, count: of.count, took_ms: of.took_ms }),
        }
    }
    for of in Ledger::failures_between(reader, from_ms, to_ms, kinds::CRISIS_CANARY).await? {
        match facts.runs.iter_mut().find(|known| known.kind == of.kind && known.outcome == of.outcome) {
            Some(known) => known.count += of.count,
            None => facts.runs.push(RunFact { kind: of.kind, outcome: of.outcome, count: of.count }),
        }
    }
    let found =
        Ledger::errors_between(reader, from_ms, to_ms, ERRORS_PER_STRETCH, kinds::CRISIS_CANARY).await?;
    facts.errors_cut |= found.len() >= ERRORS_PER_STRETCH as usize;
    for ErrorCount { kind, error, count } in found {
        *errors.entry((kind, error)).or_insert(0) += count;
    }
    while errors.len() > ERRORS_MAX {
        let rarest = errors.iter().min_by_key(|(_, count)| **count).map(|(error, _)| error.clone());
        facts.errors_cut = true;
        rarest.and_then(|error| errors.remove(&error));
    }
    let slow = Ledger::slowest_between(reader, from_ms, to_ms, LISTED_MAX as u32).await?;
    facts.slowest.extend(slow.into_iter().filter(|job| is_counted(&job.kind)).map(slow_job));
    facts.slowest.sort_by_key(|job| std::cmp::Reverse(job.took_ms));
    facts.slowest.truncate(LISTED_MAX);
    Ok(())
}

fn slow_job(job: FinishedJob) -> SlowJob {
    SlowJob {
        job: job.id.to_string(),
        kind: job.kind,
        lane: job.lane.name().to_owned(),
        state: job.state.name().to_owned(),
        took_ms: u64::try_from(job.finished_at_ms.saturating_sub(job.created_at_ms)).unwrap_or(0),
    }
}

async fn dead(reader: &mut Reader, period: Period) -> Result<Vec<DeadJob>, sqlx::Error> {
    let Period { from_ms, to_ms } = period;
    let found = Ledger::dead_between(reader, from_ms, to_ms, LISTED_MAX as u32, kinds::CRISIS_CANARY).await?;
    let dead = |job: keepwell_workers::ledger::DeadJob| DeadJob {
        job: job.id.to_string(),
        kind: job.kind,
        lane: job.lane.name().to_owned(),
        attempts: job.attempts,
        error: job.last_error,
    };
    Ok(found.into_iter().map(dead).collect())
}

/// Those that are configured, whether they were ever ticked or not; what was configured once has no news.
async fn schedules(reader: &mut Reader, settings: &ReportSettings) -> Result<Vec<ScheduleFact>, sqlx::Error> {
    let rows = Ledger::schedule_rows(reader).await?;
    // What was decided on behind the last tick that fired was left out.
    let left_out = |row: &ScheduleRow| row.last_tick_ms.is_some_and(|last_ms| last_ms < row.through_ms);
    let fact = |schedule: &ReportedSchedule| {
        let row = rows.iter().find(|row| row.name == schedule.name);
        ScheduleFact {
            name: schedule.name.clone(),
            last_tick_ms: row.and_then(|row| row.last_tick_ms),
            next_tick_ms: row.and_then(|row| row.next_tick_ms),
            fired: row.map_or(0, |row| row.fired),
            skipped: row.map_or(0, |row| row.skipped),
            paused: row.is_some_and(|row| row.paused.is_some()),
            held_back: schedule.leaves_out && row.is_some_and(|row| row.last_job_owed && left_out(row)),
            known: row.is_some(),
        }
    };
    Ok(settings.schedules.iter().map(fact).collect())
}
