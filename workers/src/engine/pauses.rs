//! Holding lanes up, and letting them go on.
//!
//! What is decided of a lane is written into the ledger first, and holds from then on: Redis, which claims go by, is
//! told at once if it can be, and otherwise by the caretaker, which compares the two once a second.

use std::{sync::Arc, time::Duration};

use tokio::time::timeout;

use super::Engine;
use crate::{
    database::{Note, turn::Urgency},
    lane::Lane,
    lanes::LaneError,
};

/// How long Redis is waited for before it is left to the caretaker to tell it.
const REDIS_TIMEOUT: Duration = Duration::from_secs(2);

/// From when on claims go by what was decided of a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effective {
    /// From now on.
    Now,
    /// From the moment in which Redis can be told. While it is away, nothing but crises is begun anyway.
    WhenRedisAnswers,
}

impl Engine {
    /// Holds a lane up until it is resumed, whatever becomes of Redis and of this process: what runs goes on, nothing
    /// more of it is claimed. The crisis lane only with `override_crisis`. A `reason` has 200 characters at most.
    ///
    /// Once begun it is brought to its end, whether or not the caller waits for it. After an error nothing has changed,
    /// as far as is known.
    pub async fn pause(
        &self,
        lane: Lane,
        reason: &str,
        override_crisis: bool,
    ) -> Result<Effective, LaneError> {
        self.pause_noting(lane, reason, override_crisis, None).await
    }

    /// The same, with `note` written in the transaction that makes it so.
    pub async fn pause_noting(
        &self,
        lane: Lane,
        reason: &str,
        override_crisis: bool,
        note: Option<Arc<dyn Note>>,
    ) -> Result<Effective, LaneError> {
        if lane == Lane::Crisis && !override_crisis {
            return Err(LaneError::CrisisNeedsOverride);
        }
        let (engine, reason) = (self.clone(), reason.to_owned());
        let paused = self.0.errands.spawn(async move {
            engine.0.ledger.pause_lane(lane, &reason, note.as_deref()).await?;
            Ok(engine.tell_redis(lane).await)
        });
        paused.await.unwrap_or(Err(LaneError::Ledger(sqlx::Error::WorkerCrashed)))
    }

    /// Lets a lane go on, also if it is held up by a Redis that cannot be asked now.
    ///
    /// Once begun it is brought to its end, whether or not the caller waits for it. After an error nothing has changed,
    /// as far as is known.
    pub async fn resume(&self, lane: Lane) -> Result<Effective, LaneError> {
        self.resume_noting(lane, None).await
    }

    /// The same, with `note` written in the transaction from which on the ledger does not hold it up any more.
    pub async fn resume_noting(
        &self,
        lane: Lane,
        note: Option<Arc<dyn Note>>,
    ) -> Result<Effective, LaneError> {
        let engine = self.clone();
        let resumed = self.0.errands.spawn(async move {
            engine.0.ledger.resume_lane(lane, note.as_deref()).await?;
            Ok(engine.tell_redis(lane).await)
        });
        resumed.await.unwrap_or(Err(LaneError::Ledger(sqlx::Error::WorkerCrashed)))
    }

    /// The lanes that are held up, and why, as the ledger says: also while Redis is away, or has not been told yet.
    pub async fn paused(&self) -> Result<Vec<(Lane, String)>, sqlx::Error> {
        let pauses = self.0.ledger.lane_pauses(Urgency::General).await?;
        Ok(pauses.into_iter().map(|pause| (pause.lane, pause.reason)).collect())
    }

    /// Brings Redis in line with the ledger, which says something new of `lane`.
    async fn tell_redis(&self, lane: Lane) -> Effective {
        let told = timeout(REDIS_TIMEOUT, self.0.lanes.compare_pauses(&self.0.ledger)).await;
        if matches!(told, Ok(Ok(()))) {
            return Effective::Now;
        }
        if let Ok(Err(error)) = told {
            tracing::warn!(error = %error, hint = error.hint(), %lane, "what was decided of a lane waits for redis");
        }
        Effective::WhenRedisAnswers
    }
}
