//! What schedules ask of the engine: jobs that are recorded together with how far a schedule has come.

use super::Engine;
use crate::{
    database::Note,
    job::{NewJob, Recorded},
    ledger::{FireError, ScheduleMoved, ScheduleRow, ScheduleStep},
};

impl Engine {
    /// Moves the schedule `name` on as `decide` says, which is told how it stands; its jobs are recorded in the same
    /// transaction. `None` if there is nothing to do, if it is paused, or if another node has done it in this very
    /// moment.
    pub async fn move_schedule(
        &self,
        name: &str,
        decide: impl FnOnce(&ScheduleRow) -> Option<ScheduleStep> + Send,
    ) -> Result<Option<ScheduleMoved>, FireError> {
        self.0.ledger.move_schedule(name, decide, &self.0.general_placements).await
    }

    /// Records all of `jobs` (at most 256) or none; with them, if one of them is new, `note`.
    pub async fn enqueue_noting(
        &self,
        jobs: Vec<NewJob>,
        note: &dyn Note,
    ) -> Result<Vec<Recorded>, FireError> {
        self.0.ledger.record_noting(jobs, note, &self.0.general_placements).await
    }
}
