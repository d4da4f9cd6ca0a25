//! How schedules were last seen to stand, for whoever measures. Shared; cheap to clone.

use std::sync::{Arc, PoisonError, RwLock};

use keepwell_workers::{clock::UnixMs, ledger::ScheduleRow};

use crate::schedule::Schedule;

/// How the schedules of this process were last seen to stand.
#[derive(Debug, Clone, Default)]
pub struct Board(Arc<RwLock<Vec<ScheduleRow>>>);

/// How late a schedule is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// How it was last seen.
    pub row: ScheduleRow,
    /// For how long its next tick has been waiting to be decided on, in milliseconds; 0 if it is yet to come, or if the
    /// schedule is paused. It grows if nobody ticks, whatever the reason.
    pub overdue_ms: i64,
}

impl Board {
    /// They stand like this.
    pub(crate) fn write(&self, rows: Vec<ScheduleRow>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = rows;
    }

    /// Those of which nobody has decided on a tick for longer than [`LATE_MS`] at `now_ms`.
    pub fn late(&self, now_ms: UnixMs) -> Vec<Standing> {
        let mut late = self.read(now_ms);
        late.retain(|standing| standing.overdue_ms > LATE_MS);
        late
    }

    /// How they stand at `now_ms`.
    pub fn read(&self, now_ms: UnixMs) -> Vec<Standing> {
        let rows = self.0.read().unwrap_or_else(PoisonError::into_inner).clone();
        rows.into_iter().map(|row| Standing { overdue_ms: overdue_ms(&row, now_ms), row }).collect()
    }
}

/// A tick that nobody has decided on for so long is worth an alert, in milliseconds. Longer than a restart takes, or
/// the failover of a database.
pub const LATE_MS: i64 = 60_000;

/// For how long the next tick of `row` has been waiting at `now_ms`, in milliseconds.
pub fn overdue_ms(row: &ScheduleRow, now_ms: UnixMs) -> i64 {
    match (&row.paused, row.next_tick_ms) {
        (None, Some(next_tick_ms)) => now_ms.saturating_sub(next_tick_ms).max(0),
        _ => 0,
    }
}

/// Those of `rows` that are of `schedules`. What is next, this process knows for itself.
pub(crate) fn as_known(schedules: &[Schedule], rows: Vec<ScheduleRow>) -> Vec<ScheduleRow> {
    let known = rows.into_iter().filter_map(|mut row| {
        let schedule = schedules.iter().find(|schedule| schedule.name == row.name)?;
        row.next_tick_ms = schedule.rules.timing.next_after(row.through_ms);
        Some(row)
    });
    known.collect()
}
