//! Looks whether the time has come. Every node may have a ticker; what one does, the others find done.

use std::{sync::Arc, time::Duration};

use keepwell_workers::{
    clock::{SharedClock, UnixMs},
    engine::Engine,
    ledger::{FireError, ScheduleRow, ScheduleStep},
};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::{
    board::{Board, as_known},
    policy::Plan,
    schedule::Schedule,
};

/// The longest time between two looks, in milliseconds: a clock may be set at any time.
const LOOK_MS_MAX: i64 = 1_000;

/// The shortest, in milliseconds.
const LOOK_MS_MIN: i64 = 10;

/// How long what was read of the rows counts, in milliseconds, as long as nothing is due: others pause and resume.
const READ_MS_MAX: i64 = 5_000;

/// A schedule that has come further than this into the future was ticked by a clock that was wrong, in milliseconds. It
/// begins anew, instead of keeping still until then.
const AHEAD_MS_MAX: i64 = 3_600_000;

/// Ticks the schedules of one node.
#[derive(Debug)]
pub struct Ticker {
    engine: Engine,
    schedules: Arc<[Schedule]>,
    board: Board,
    clock: SharedClock,
    rows: Vec<ScheduleRow>,
    read_at_ms: Option<UnixMs>,
    /// Where the next look begins, so that one schedule that fails keeps none from its turn.
    first: usize,
}

/// What a look did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Looked {
    /// Ticks that fired.
    pub fired: u64,
    /// Ticks that were left out.
    pub skipped: u64,
}

impl Ticker {
    /// A ticker of `schedules`, which tells `board` how they stand.
    pub fn new(engine: Engine, schedules: Arc<[Schedule]>, board: Board, clock: SharedClock) -> Self {
        Self { engine, schedules, board, clock, rows: Vec::new(), read_at_ms: None, first: 0 }
    }

    /// Looks again and again until `stop`. Without a database it goes on looking; what was missed meanwhile is seen to
    /// as each schedule says.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut works = true;
        loop {
            // Whoever is interrupted here looks again in the next life: a look is decided on in transactions.
            let looked = tokio::select! {
                () = stop.cancelled() => return,
                looked = self.look() => looked,
            };
            match looked {
                Ok(looked) => {
                    if !works {
                        tracing::info!("schedules are ticked again");
                    }
                    works = true;
                    if looked.skipped > 0 {
                        tracing::info!(
                            fired = looked.fired,
                            skipped = looked.skipped,
                            "ticks of schedules were left out"
                        );
                    }
                }
                Err(error) if works => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "schedules cannot be ticked; trying again every second"
                    );
                    works = false;
                }
                Err(_) => {}
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(self.rest()) => {}
            }
        }
    }

    /// Decides on the ticks that are due, of each schedule at most
    /// [`TICKS_PER_LOOK_MAX`](crate::policy::TICKS_PER_LOOK_MAX).
    pub async fn look(&mut self) -> Result<Looked, FireError> {
        let now_ms = self.clock.now_ms();
        // A row that is gone was taken away with an earlier state of the database.
        if self.rows.len() < self.schedules.len() {
            self.begin(now_ms).await?;
            self.read_at_ms = None;
        }
        let due = self.rows.iter().any(|row| is_due(row, now_ms));
        let stale = |read_at_ms: i64| !(0..READ_MS_MAX).contains(&now_ms.saturating_sub(read_at_ms));
        if due || self.read_at_ms.is_none_or(stale) {
            self.read(now_ms).await?;
        }
        let (mut all, mut asked) = (Looked::default(), false);
        let count = self.schedules.len();
        for place in (0..count).map(|step| (self.first + step) % count) {
            let Some(schedule) = self.schedules.get(place) else { break };
            let row = self.rows.iter().find(|row| row.name == schedule.name);
            if !row.is_some_and(|row| is_due(row, now_ms)) {
                continue;
            }
            asked = true;
            let moved = self.engine.move_schedule(&schedule.name, |row| decide(schedule, row, now_ms));
            match moved.await {
                Ok(Some(moved)) => {
                    all.fired += moved.recorded.iter().filter(|recorded| !recorded.duplicate).count() as u64;
                    all.skipped += moved.skipped;
                }
                Ok(None) => {}
                Err(error) => {
                    self.first = (place + 1) % count;
                    return Err(error);
                }
            }
        }
        // What was done is done. If it cannot be read now, what is known is due still, and the next look reads.
        if asked && self.read(now_ms).await.is_err() {
            tracing::debug!("how schedules stand cannot be read; the next look reads it");
        }
        Ok(all)
    }

    /// Has every schedule begin now that has not begun yet, or that is due at other times than before. A node that
    /// knows another timing meanwhile, as during an upgrade, ticks as it knows it.
    async fn begin(&self, now_ms: UnixMs) -> Result<(), FireError> {
        for schedule in self.schedules.iter() {
            let timing = &schedule.rules.timing;
            let place = (now_ms, timing.next_after(now_ms));
            self.engine.ledger().begin_schedule(&schedule.name, &timing.to_string(), place, true).await?;
        }
        Ok(())
    }

    async fn read(&mut self, now_ms: UnixMs) -> Result<(), FireError> {
        let rows = as_known(&self.schedules, self.engine.ledger().schedules().await?);
        self.board.write(&self.schedules, rows.clone());
        (self.rows, self.read_at_ms) = (rows, Some(now_ms));
        Ok(())
    }

    /// How long nothing will be due, as far as is known.
    fn rest(&self) -> Duration {
        let now_ms = self.clock.now_ms();
        let going = self.rows.iter().filter(|row| row.paused.is_none());
        let next_ms = going.filter_map(|row| row.next_tick_ms).min().unwrap_or(UnixMs::MAX);
        // What is due already had its look; more of it follows with the next one.
        let rest_ms = match next_ms.saturating_sub(now_ms) {
            ..=0 => LOOK_MS_MAX,
            rest_ms => rest_ms.clamp(LOOK_MS_MIN, LOOK_MS_MAX),
        };
        Duration::from_millis(u64::try_from(rest_ms).unwrap_or(0))
    }
}

/// Whether there is something to decide on, as far as is known.
fn is_due(row: &ScheduleRow, now_ms: UnixMs) -> bool {
    let reached = row.next_tick_ms.is_some_and(|next_ms| next_ms <= now_ms);
    row.paused.is_none() && (reached || is_ahead(row, now_ms))
}

fn is_ahead(row: &ScheduleRow, now_ms: UnixMs) -> bool {
    row.through_ms.saturating_sub(now_ms) > AHEAD_MS_MAX
}

/// How far the schedule goes on that stands like `row`.
fn decide(schedule: &Schedule, row: &ScheduleRow, now_ms: UnixMs) -> Option<ScheduleStep> {
    let timing = &schedule.rules.timing;
    if is_ahead(row, now_ms) {
        tracing::warn!(
            schedule = schedule.name,
            through_ms = row.through_ms,
            now_ms,
            "a schedule was ticked by a clock that was ahead; it goes on from now"
        );
        let next_tick_ms = timing.next_after(now_ms);
        return Some(ScheduleStep { through_ms: now_ms, next_tick_ms, ..ScheduleStep::default() });
    }
    let Plan { fire, skipped, through_ms } =
        schedule.rules.plan(row.through_ms, now_ms, row.last_job_owed)?;
    Some(ScheduleStep {
        through_ms,
        next_tick_ms: timing.next_after(through_ms),
        last_tick_ms: fire.last().copied(),
        jobs: fire.iter().map(|tick_ms| schedule.job(*tick_ms)).collect(),
        skipped,
    })
}
