//! A crisis of nobody is sent through the real road, again and again, and measured: recorded in the ledger, placed in
//! the crisis lane, claimed by a crisis pool, applied and committed. So that the road is known to be open before
//! somebody needs it.

use std::{pin::pin, sync::Arc, time::Duration};

use keepwell_jobs::{canary, care::severity::is_late, kinds};
use keepwell_workers::{
    clock::SharedClock,
    engine::{Engine, EngineHealth},
    id::JobId,
    ledger::EnqueueError,
    observer::RunEnded,
    state::State,
};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    super::rounds::Rounds,
    alarm::{Alarm, News},
};
use crate::telemetry::{CanaryResult, Looked, Metrics, Monitor, milliseconds};

/// A canary that was not answered within so many seconds has failed. It is ten times what a high crisis may take.
const ANSWER_WITHIN_S: u64 = 2;

/// How often the ledger is asked whether another process has answered.
const ASK_EVERY: Duration = Duration::from_millis(10);

/// Why a canary was not answered.
#[derive(Debug, thiserror::Error)]
enum CanaryError {
    #[error("it could not be recorded: {0}")]
    Refused(EnqueueError),
    #[error("its job did not end as that of a crisis has to")]
    Spoilt,
    #[error("it was not answered within {ANSWER_WITHIN_S} s: {0}")]
    Silent(&'static str),
}

/// Hears which canaries this process has run, the moment that it has. Cheap to clone; clones are the same ear.
#[derive(Debug, Clone)]
pub(in crate::serve) struct CanaryEar(Arc<watch::Sender<Option<Heard>>>);

/// A canary that was run, and whether it ended well.
type Heard = (JobId, bool);

impl Default for CanaryEar {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }
}

impl CanaryEar {
    /// Takes in the end of a run, if it was that of a canary.
    pub(in crate::serve) fn run_ended(&self, ended: &RunEnded<'_>) {
        let well = ended.outcome == "done";
        if &*ended.job.kind == kinds::CRISIS_CANARY && (well || ended.outcome == "dead") {
            self.0.send_replace(Some((ended.job.id, well)));
        }
    }
}

/// Sends canaries, one after the other: there is never more than one of this process under way.
pub(super) struct Canary {
    engine: Engine,
    ear: CanaryEar,
    every_ms: i64,
    limit: Duration,
    clock: SharedClock,
    metrics: Arc<Metrics>,
    alarm: Alarm,
}

impl Canary {
    /// One every `every_ms`, which is late if its answer takes more than `limit_ms`.
    pub(super) fn new(
        engine: Engine,
        ear: CanaryEar,
        every_ms: i64,
        limit_ms: i64,
        clock: SharedClock,
        metrics: Arc<Metrics>,
    ) -> Self {
        let limit = Duration::from_millis(u64::try_from(limit_ms).unwrap_or(0));
        Self { engine, ear, every_ms, limit, clock, metrics, alarm: Alarm::default() }
    }

    /// Sends them until `stop`.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        self.metrics.canary().starts();
        self.metrics.monitors().starts(Monitor::Canary, self.every_ms);
        let mut rounds = Rounds::after(self.every_ms, self.every_ms, Arc::clone(&self.clock));
        while rounds.next(&stop).await {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.send(&stop) => {}
            }
        }
    }

    /// Sends one and waits for its answer, however long that takes; whoever waits too long counts another failure in
    /// every round.
    async fn send(&mut self, stop: &CancellationToken) {
        let (engine, ear) = (self.engine.clone(), self.ear.clone());
        let mut flight = pin!(fly(&engine, &ear));
        let mut flown = timeout(Duration::from_secs(ANSWER_WITHIN_S), &mut flight).await.ok();
        let in_time = flown.is_some();
        let mut rounds = Rounds::after(self.every_ms, self.every_ms, Arc::clone(&self.clock));
        while flown.is_none() {
            self.ended(CanaryResult::Failed, Some(&CanaryError::Silent(trouble(engine.health()))));
            tokio::select! {
                ended = &mut flight => flown = Some(ended),
                goes_on = rounds.next(stop) => if !goes_on { return },
            }
        }
        match flown {
            Some(Ok(took)) => {
                self.metrics.canary().took(took);
                if in_time {
                    let late = is_late(took, self.limit);
                    self.ended(if late { CanaryResult::Late } else { CanaryResult::Ok }, None);
                }
            }
            Some(Err(error)) if in_time => self.ended(CanaryResult::Failed, Some(&error)),
            Some(Err(_)) | None => {}
        }
    }

    fn ended(&mut self, result: CanaryResult, error: Option<&CanaryError>) {
        let because = error.map(ToString::to_string);
        let looked = match result {
            CanaryResult::Ok => Looked::Well,
            CanaryResult::Late => Looked::Wrong,
            CanaryResult::Failed => Looked::Failed,
        };
        self.metrics.monitors().ran(Monitor::Canary, looked);
        let standing = self.metrics.canary().ended(result, because);
        match self.alarm.turn(standing.is_failing()) {
            News::Begins => tracing::error!(
                alert = "crisis_canary",
                result = result.name(),
                because = standing.because,
                last_took_ms = standing.last_took.map(milliseconds),
                limit_ms = milliseconds(self.limit),
                bad_in_a_row = standing.bad_in_a_row,
                "crises of nobody are not answered as they should be: whoever is in one now may wait too"
            ),
            News::Ends => tracing::info!("crises of nobody are answered in time again"),
            News::None => {}
        }
    }
}

/// Sends a canary; answers with how long its answer took, counted from before it was recorded.
async fn fly(engine: &Engine, ear: &CanaryEar) -> Result<Duration, CanaryError> {
    let started = Instant::now();
    let mut heard = ear.0.subscribe();
    let job = engine.enqueue(canary()).await.map_err(CanaryError::Refused)?.id;
    loop {
        let told = heard.borrow_and_update().filter(|(of, _)| *of == job);
        if let Some((_, well)) = told {
            return if well { Ok(started.elapsed()) } else { Err(CanaryError::Spoilt) };
        }
        tokio::select! {
            // Its other end is held by the ear.
            _ = heard.changed() => continue,
            () = sleep(ASK_EVERY) => {}
        }
        match engine.ledger().show(job).await.map(|shown| shown.map(|(view, _)| view.state)) {
            Ok(Some(State::Done)) => return Ok(started.elapsed()),
            // A database that is away does not say that it was not answered.
            Ok(Some(State::Owed)) | Err(_) => {}
            Ok(Some(State::Dead | State::Cancelled) | None) => return Err(CanaryError::Spoilt),
        }
    }
}

/// What stands in the way, as far as is known.
fn trouble(health: EngineHealth) -> &'static str {
    if !health.takes_jobs() {
        "the database is away, or takes nothing"
    } else if !health.lanes_ok {
        "redis is away, and nobody runs it from the ledger"
    } else {
        "nobody has run it; is the crisis lane held up, or is there no process with the role `workers`?"
    }
}
