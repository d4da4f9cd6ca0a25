//! How schedules were last seen to stand, for whoever measures. Shared; cheap to clone.

use std::sync::{Arc, PoisonError, RwLock};

use keepwell_workers::{clock::UnixMs, ledger::ScheduleRow};

use crate::{policy::Overlap, schedule::Schedule};

/// How the schedules of this process were last seen to stand.
#[derive(Debug, Clone, Default)]
pub struct Board(Arc<RwLock<Vec<Seen>>>);

#[derive(Debug, Clone)]
struct Seen {
    row: ScheduleRow,
    held_back_since_ms: Option<UnixMs>,
}

/// How late a schedule is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// How it was last seen.
    pub row: ScheduleRow,
    /// For how long its next tick has been waiting to be decided on, in milliseconds; 0 if it is yet to come, or if the
    /// schedule is paused. It grows if nobody ticks, whatever the reason.
    pub overdue_ms: i64,
    /// For how long it has left out ticks because the job of an earlier one is still owed, in milliseconds.
    pub held_back_ms: i64,
}

impl Standing {
    /// Whether it has stopped firing, whatever the reason: nobody decides on its ticks, or every one is left out.
    pub fn is_late(&self) -> bool {
        self.overdue_ms > LATE_MS || self.held_back_ms > HELD_BACK_MS
    }
}

impl Board {
    /// Of `schedules`, they stand like this.
    pub(crate) fn write(&self, schedules: &[Schedule], rows: Vec<ScheduleRow>) {
        let seen = rows.into_iter().map(|row| {
            let schedule = schedules.iter().find(|schedule| schedule.name == row.name);
            let held_back_since_ms = schedule.and_then(|schedule| held_back_since_ms(schedule, &row));
            Seen { row, held_back_since_ms }
        });
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = seen.collect();
    }

    /// Those that have stopped firing at `now_ms`.
    pub fn late(&self, now_ms: UnixMs) -> Vec<Standing> {
        let mut late = self.read(now_ms);
        late.retain(Standing::is_late);
        late
    }

    /// How they stand at `now_ms`.
    pub fn read(&self, now_ms: UnixMs) -> Vec<Standing> {
        let seen = self.0.read().unwrap_or_else(PoisonError::into_inner).clone();
        let standing = |Seen { row, held_back_since_ms }: Seen| {
            let held_back_ms =
                held_back_since_ms.map_or(0, |since_ms| now_ms.saturating_sub(since_ms).max(0));
            Standing { overdue_ms: overdue_ms(&row, now_ms), held_back_ms, row }
        };
        seen.into_iter().map(standing).collect()
    }
}

/// A tick that nobody has decided on for so long is worth an alert, in milliseconds. Longer than a restart takes, or
/// the failover of a database.
pub const LATE_MS: i64 = 60_000;

/// A schedule that has left out ticks for so long because its own job is owed is worth an alert, in milliseconds: an
/// hour. A job that takes longer than the time between two ticks is what leaving out is for.
pub const HELD_BACK_MS: i64 = 3_600_000;

/// For how long the next tick of `row` has been waiting at `now_ms`, in milliseconds.
pub fn overdue_ms(row: &ScheduleRow, now_ms: UnixMs) -> i64 {
    match (&row.paused, row.next_tick_ms) {
        (None, Some(next_tick_ms)) => now_ms.saturating_sub(next_tick_ms).max(0),
        _ => 0,
    }
}

/// Since when `schedule`, which stands like `row`, leaves out ticks because the job of an earlier one is still owed.
pub fn held_back_since_ms(schedule: &Schedule, row: &ScheduleRow) -> Option<UnixMs> {
    let may_leave_out = schedule.rules.overlap == Overlap::Skip && row.paused.is_none();
    let last_tick_ms = row.last_tick_ms.filter(|_| may_leave_out && row.last_job_owed)?;
    let first_ms = schedule.rules.timing.next_after(last_tick_ms)?;
    // What is yet to be decided on is overdue, if anything.
    (first_ms <= row.through_ms).then_some(first_ms)
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
