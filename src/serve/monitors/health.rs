//! Looks every five minutes whether a crisis would be answered (003: crisis system health). It would be without Redis,
//! from the ledger, so that Redis is away is no finding: it has an alert of its own.

use std::{sync::Arc, time::Duration};

use keepwell_jobs::{Care, access_query::access_without_database, care::held::lacking};
use keepwell_workers::{
    clock::SharedClock,
    engine::{Engine, EngineHealth},
    lane::Lane,
    lanes::LaneStats,
};
use tokio::time::timeout;

use super::{
    Look, UNHEALTHY_EVERY_MS,
    alarm::{Alarm, News},
};
use crate::telemetry::{Looked, Metrics, Monitor};

/// How long the lanes may take to say how they stand.
const LANES_TIMEOUT: Duration = Duration::from_secs(2);

/// A crisis job that has waited in its lane for so long waits for nobody, in milliseconds.
const WAITING_MS_MAX: i64 = 5_000;

/// Whom it is asked for what somebody unknown may use.
const NOBODY: &str = "keepwell:nobody";

/// Looks at everything that a crisis needs.
pub(super) struct HealthMonitor {
    engine: Engine,
    care: Care,
    clock: SharedClock,
    metrics: Arc<Metrics>,
    /// How often the crisis pool's loop had turned when it was looked last.
    turns: Option<u64>,
    alarm: Alarm,
}

/// What was seen.
struct Seen<'s> {
    engine: EngineHealth,
    /// `None` if it cannot be read.
    crisis_lane: Option<&'s LaneStats>,
    /// The crisis pool's loop has not turned since the last look.
    stands_still: bool,
    canary_fails: bool,
    floor_is_whole: bool,
    hotline: &'s str,
}

impl HealthMonitor {
    pub(super) fn new(engine: Engine, care: Care, clock: SharedClock, metrics: Arc<Metrics>) -> Self {
        Self { engine, care, clock, metrics, turns: None, alarm: Alarm::default() }
    }
}

impl Look for HealthMonitor {
    const MONITOR: Monitor = Monitor::Health;
    const AGAIN_AFTER_MS: i64 = UNHEALTHY_EVERY_MS;

    async fn look(&mut self) -> Looked {
        let stats = timeout(LANES_TIMEOUT, self.engine.standing()).await;
        let lanes = stats.ok().and_then(Result::ok).map(|(lanes, _)| lanes).unwrap_or_default();
        let [turns, _] = self.engine.turns();
        let stands_still = self.turns.replace(turns) == Some(turns);
        let floor = access_without_database(&self.care, NOBODY, self.clock.now_ms());
        let findings = findings(&Seen {
            engine: self.engine.health(),
            crisis_lane: lanes.iter().find(|lane| lane.lane == Lane::Crisis),
            stands_still,
            canary_fails: self.metrics.canary().standing().is_some_and(|standing| standing.is_failing()),
            floor_is_whole: lacking(&floor, &self.care.tiers, None).is_empty(),
            hotline: &self.care.resources.hotline,
        });
        match self.alarm.turn(!findings.is_empty()) {
            News::Begins => {
                tracing::error!(
                    alert = "crisis_system_health",
                    ?findings,
                    "a crisis may not be answered as it should be"
                );
            }
            News::Ends => tracing::info!("a crisis would be answered again as it should be"),
            News::None => {}
        }
        if findings.is_empty() { Looked::Well } else { Looked::Wrong }
    }
}

/// What is wrong, in words for an operator.
fn findings(seen: &Seen<'_>) -> Vec<&'static str> {
    let is_paused = seen.crisis_lane.is_some_and(|lane| lane.paused.is_some());
    let waits =
        seen.crisis_lane.and_then(|lane| lane.oldest_waiting_ms).is_some_and(|ms| ms > WAITING_MS_MAX);
    let found = [
        (!seen.engine.takes_jobs(), "the database is away, or takes nothing"),
        (is_paused, "the crisis lane is held up by an operator"),
        (waits, "crisis jobs wait and nobody takes them"),
        (seen.stands_still, "the crisis pool stands still"),
        (seen.canary_fails, "crises of nobody are not answered as they should be"),
        (!seen.floor_is_whole, "the crisis-safe floor is not whole"),
        (seen.hotline.is_empty(), "there is no hotline to tell people of"),
    ];
    found.into_iter().filter(|(is_wrong, _)| *is_wrong).map(|(_, what)| what).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WELL: EngineHealth =
        EngineHealth { ledger_ok: true, trouble: None, lanes_ok: true, lanes_behind: false, draining: false };

    #[test]
    fn everything_that_a_crisis_needs_is_looked_at() {
        let lane = LaneStats {
            lane: Lane::Crisis,
            paused: None,
            waiting: 1,
            running: 0,
            later: 0,
            oldest: None,
            oldest_waiting_ms: Some(WAITING_MS_MAX),
        };
        let held_up = LaneStats { paused: Some("a drill".to_owned()), ..lane.clone() };
        let waiting = LaneStats { oldest_waiting_ms: Some(WAITING_MS_MAX + 1), ..lane.clone() };
        let well = || Seen {
            engine: WELL,
            crisis_lane: Some(&lane),
            stands_still: false,
            canary_fails: false,
            floor_is_whole: true,
            hotline: "988",
        };
        let without_redis = EngineHealth { lanes_ok: false, ..WELL };
        for seen in [well(), Seen { engine: without_redis, crisis_lane: None, ..well() }] {
            assert_eq!(findings(&seen), [""; 0]);
        }
        for (seen, word) in [
            (Seen { engine: EngineHealth { ledger_ok: false, ..WELL }, ..well() }, "database"),
            (Seen { crisis_lane: Some(&held_up), ..well() }, "held up"),
            (Seen { crisis_lane: Some(&waiting), ..well() }, "wait"),
            (Seen { stands_still: true, ..well() }, "stands still"),
            (Seen { canary_fails: true, ..well() }, "of nobody"),
            (Seen { floor_is_whole: false, ..well() }, "floor"),
            (Seen { hotline: "", ..well() }, "hotline"),
        ] {
            let found = findings(&seen);
            assert!(matches!(found[..], [finding] if finding.contains(word)), "{word}: {found:?}");
        }
    }
}
