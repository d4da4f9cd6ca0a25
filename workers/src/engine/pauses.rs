//! Holding lanes up, and letting them go on.

use std::{sync::Arc, time::Duration};

use tokio::time::timeout;

use super::Engine;
use crate::{database::Note, lane::Lane, lanes::LaneError};

/// How long a pause waits for Redis before it is left to whoever compares the lanes with the ledger.
const REDIS_TIMEOUT: Duration = Duration::from_secs(2);

/// From when on a lane is held up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paused {
    /// From now on.
    Now,
    /// From the moment in which Redis can be told. While it is away, nothing but crises is begun anyway.
    WhenRedisAnswers,
}

impl Engine {
    /// Holds a lane up until it is resumed, whatever becomes of Redis and of this process: what runs goes on, nothing
    /// more of it is claimed. The crisis lane only with `override_crisis`. A `reason` has 200 characters at most.
    ///
    /// Once begun it is brought to its end, whether or not the caller waits for it.
    pub async fn pause(&self, lane: Lane, reason: &str, override_crisis: bool) -> Result<Paused, LaneError> {
        self.pause_noting(lane, reason, override_crisis, None).await
    }

    /// The same, with `note` written in the transaction that makes it so.
    pub async fn pause_noting(
        &self,
        lane: Lane,
        reason: &str,
        override_crisis: bool,
        note: Option<Arc<dyn Note>>,
    ) -> Result<Paused, LaneError> {
        if lane == Lane::Crisis && !override_crisis {
            return Err(LaneError::CrisisNeedsOverride);
        }
        let (ledger, lanes, behind) =
            (self.0.ledger.clone(), self.0.lanes.clone(), Arc::clone(&self.0.behind));
        let reason = reason.to_owned();
        let paused = self.0.errands.spawn(async move {
            ledger.pause_lane(lane, &reason, note.as_deref()).await?;
            let told = timeout(REDIS_TIMEOUT, lanes.hold_up(&ledger)).await;
            if matches!(told, Ok(Ok(()))) {
                return Ok(Paused::Now);
            }
            if let Ok(Err(error)) = told {
                tracing::warn!(error = %error, hint = error.hint(), %lane, "a pause waits for redis");
            }
            behind.mark();
            Ok(Paused::WhenRedisAnswers)
        });
        paused.await.unwrap_or(Err(LaneError::Ledger(sqlx::Error::WorkerCrashed)))
    }

    /// Lets a lane go on. After an error it may still be held up.
    ///
    /// Once begun it is brought to its end, whether or not the caller waits for it.
    pub async fn resume(&self, lane: Lane) -> Result<(), LaneError> {
        self.resume_noting(lane, None).await
    }

    /// The same, with `note` written in the transaction from which on the ledger does not hold it up any more: it
    /// stands also if Redis could not be told.
    pub async fn resume_noting(&self, lane: Lane, note: Option<Arc<dyn Note>>) -> Result<(), LaneError> {
        let (ledger, lanes) = (self.0.ledger.clone(), self.0.lanes.clone());
        let resumed = self.0.errands.spawn(async move {
            ledger.resume_lane(lane, note.as_deref()).await?;
            lanes.let_go(lane).await?;
            // Somebody may have held it up in between.
            lanes.hold_up(&ledger).await
        });
        resumed.await.unwrap_or(Err(LaneError::Ledger(sqlx::Error::WorkerCrashed)))
    }
}
