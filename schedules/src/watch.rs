//! Says by itself that a schedule has stopped firing. Not part of what ticks: whatever keeps that from ticking, a
//! panic, a database that hangs, or that no process has been given the task, must not keep this from saying so.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use keepwell_workers::{
    clock::{SharedClock, UnixMs},
    engine::Engine,
    ledger::ScheduleRow,
};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    board::{Board, Standing, as_known},
    schedule::Schedule,
};

/// How often it is looked.
const LOOK_EVERY: Duration = Duration::from_secs(15);

/// How long the ledger may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Watches the schedules of one process, whether or not that ticks them.
#[derive(Debug)]
pub struct Watch {
    engine: Engine,
    schedules: Arc<[Schedule]>,
    board: Board,
    clock: SharedClock,
    /// Since when it is watched: what nobody has ever ticked is late from the first tick behind this.
    since_ms: UnixMs,
    /// What has been said to be late.
    told: BTreeSet<String>,
}

impl Watch {
    /// A watch over `schedules`, which tells `board` how they stand.
    pub fn new(engine: Engine, schedules: Arc<[Schedule]>, board: Board, clock: SharedClock) -> Self {
        let (since_ms, told) = (clock.now_ms(), BTreeSet::new());
        let watch = Self { engine, schedules, board, clock, since_ms, told };
        // Where the ledger never answers, this is all that is known.
        watch.board.write(&watch.schedules, watch.stand(Vec::new()));
        watch
    }

    /// Looks again and again until `stop`. What was missed before is given time to be seen to.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(LOOK_EVERY) => {}
            }
            tokio::select! {
                () = stop.cancelled() => return,
                _ = self.look() => {}
            }
        }
    }

    /// Reads how schedules stand, or goes by what was last read, and answers which ones are late. The log says once of
    /// each that it is, and that it is not any more.
    pub async fn look(&mut self) -> Vec<Standing> {
        if let Ok(Ok(rows)) = timeout(ANSWER_WITHIN, self.engine.ledger().schedules()).await {
            self.board.write(&self.schedules, self.stand(rows));
        }
        let late = self.board.late(self.clock.now_ms());
        for Standing { row, overdue_ms, held_back_ms } in &late {
            if self.told.insert(row.name.clone()) {
                let fired_at_ms = row.fired_at_ms;
                let name = &row.name;
                let owed = row.last_job.filter(|_| *held_back_ms > 0).map(|job| job.to_string());
                tracing::error!(
                    alert = "schedule",
                    schedule = name,
                    overdue_ms,
                    held_back_ms,
                    job.id = owed,
                    fired_at_ms,
                    "a schedule is late"
                );
            }
        }
        self.told.retain(|name| {
            let still = late.iter().any(|standing| standing.row.name == *name);
            if !still {
                tracing::info!(schedule = name, "a schedule is in time again");
            }
            still
        });
        late
    }

    /// How all of them stand by `rows`; what has none has come as far as when this began to watch.
    fn stand(&self, rows: Vec<ScheduleRow>) -> Vec<ScheduleRow> {
        let mut rows = as_known(&self.schedules, rows);
        for schedule in self.schedules.iter() {
            if rows.iter().all(|row| row.name != schedule.name) {
                rows.push(ScheduleRow {
                    name: schedule.name.clone(),
                    timing: schedule.rules.timing.to_string(),
                    through_ms: self.since_ms,
                    next_tick_ms: schedule.rules.timing.next_after(self.since_ms),
                    last_tick_ms: None,
                    fired_at_ms: None,
                    last_job: None,
                    last_job_owed: false,
                    fired: 0,
                    skipped: 0,
                    paused: None,
                });
            }
        }
        rows
    }
}
