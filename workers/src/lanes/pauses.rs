//! Lanes that operators hold up. Claims obey what Redis knows of it; that comes from the ledger, and is told again to
//! a Redis that may have forgotten it.
//!
//! A row is written before Redis hears of it, and is gone before Redis hears that it is. So whatever Redis holds up
//! without a row has been resumed; and whoever tells Redis of a row looks at it once more afterwards, and takes back
//! what was resumed in between.

use std::{collections::HashMap, time::Duration};

use redis::AsyncCommands as _;
use tokio::time::timeout;

use super::{LaneError, Lanes};
use crate::{
    database::turn::Urgency,
    lane::Lane,
    ledger::{LanePause, Ledger},
};

/// How long the ledger may take to say it: a pool that waits to enter the lanes does not stand still for longer.
const LEDGER_TIMEOUT: Duration = Duration::from_secs(1);

impl Lanes {
    /// Has held up what `ledger` says, and nothing else: a Redis that was away may have forgotten what was paused, or
    /// remember what was resumed meanwhile.
    pub(crate) async fn compare_pauses(&self, ledger: &Ledger) -> Result<(), LaneError> {
        // First Redis, then the ledger: the other way round, a pause that comes in between would be taken back.
        let held: HashMap<usize, String> = self.redis.clone().hgetall(self.keys.paused()).await?;
        let held = held.into_iter();
        let mut told: Vec<LanePause> = held
            .filter_map(|(digit, reason)| Some(LanePause { lane: Lane::from_index(digit)?, reason }))
            .collect();
        told.sort_by_key(|pause| pause.lane.name());
        self.follow_pauses(ledger, told).await
    }

    /// Redis has been told of `told`: does after it what `ledger` says by now.
    pub(crate) async fn follow_pauses(
        &self,
        ledger: &Ledger,
        mut told: Vec<LanePause>,
    ) -> Result<(), LaneError> {
        loop {
            let pauses = pauses_of(ledger, Urgency::General).await?;
            if pauses == told {
                return Ok(());
            }
            for over in told.iter().filter(|told| !pauses.iter().any(|pause| pause.lane == told.lane)) {
                self.let_go(over).await?;
            }
            for pause in &pauses {
                self.set_paused(pause).await?;
            }
            told = pauses;
        }
    }
}

/// What `ledger` says is held up.
pub(crate) async fn pauses_of(ledger: &Ledger, urgency: Urgency) -> Result<Vec<LanePause>, LaneError> {
    let pauses = timeout(LEDGER_TIMEOUT, ledger.lane_pauses(urgency)).await;
    Ok(pauses.unwrap_or(Err(sqlx::Error::PoolTimedOut))?)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        clock::SystemClock,
        lanes::LanesOptions,
        managed_redis::{ManagedRedis, ManagedRedisOptions},
    };

    #[tokio::test]
    async fn a_lane_that_is_held_up_anew_is_not_let_go_by_whoever_resumes_what_held_it_up_before() {
        let folder = tempfile::tempdir().unwrap();
        let options = ManagedRedisOptions {
            binary: "redis-server".into(),
            folder: folder.path().join("redis"),
            memory_bytes_max: 64 << 20,
        };
        let redis = ManagedRedis::start(options).await.unwrap();
        let lanes = Lanes::connect(redis.url(), LanesOptions::default(), Arc::new(SystemClock)).unwrap();
        let pause = |reason: &str| LanePause { lane: Lane::Standard, reason: reason.to_owned() };
        let resumed = async |reason| -> Result<HashMap<String, String>, LaneError> {
            lanes.let_go(&pause(reason)).await?;
            Ok(lanes.redis.clone().hgetall(lanes.keys.paused()).await?)
        };
        lanes.set_paused(&pause("a bad release")).await.unwrap();
        lanes.set_paused(&pause("another one")).await.unwrap();
        let seen = [resumed("a bad release").await, resumed("another one").await];
        redis.stop().await;
        let reasons = seen.map(|held| held.unwrap().into_values().collect::<Vec<_>>());
        assert_eq!(reasons, [vec!["another one".to_owned()], vec![]]);
    }
}
