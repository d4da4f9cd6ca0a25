//! Keeps the watch over crises (see [`CrisisWatch`](keepwell_jobs::watch::CrisisWatch)): what is not answered in time
//! is escalated along the path of the crisis safety protocols. Granting waits for nothing; telling and recording, which
//! ask the ledger, go on beside it.

use std::{collections::BTreeSet, time::Duration};

use keepwell_jobs::{
    care::severity::is_late,
    violation,
    watch::{Missed, WATCHED_MAX},
};
use keepwell_workers::{clock::UnixMs, engine::Engine, id::JobId, job::NewJob, state::State};
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    desk::CareDesk, responses::Noter, unanswered::Unanswered, unrecorded::Unrecorded, watchers::Watchers,
};
use crate::trail::Trail;

/// How often what could not be recorded is tried again.
const ROUND: Duration = Duration::from_secs(1);

/// How long the ledger may take to say whether a crisis was answered, or to take a violation.
const LEDGER_TIMEOUT: Duration = Duration::from_millis(200);

/// How often marks are read that other processes have made.
const MARKS_ROUND: Duration = Duration::from_secs(5);

/// In every so many of these rounds it is read who is in a high-risk period, of whom there are more: once a minute.
const ROUNDS_PER_LOOK_AT_RISK: u64 = 12;

/// How long either may take.
const MARKS_TIMEOUT: Duration = Duration::from_secs(2);

/// What lies between a crisis being put on the watch and its job having its instant, at most, in milliseconds. What is
/// further apart was recorded before, or by another clock.
const RECORDED_WITHIN_MS: i64 = 5;

/// How much of a round may go into what could not be recorded before: the rest is for crises that are late now.
const RECORDING_MAX: Duration = Duration::from_millis(500);

/// How much of a round may go into asking the ledger about what was answered late.
const TELLING_MAX: Duration = Duration::from_millis(500);

/// How long telling of what is still left and recording it may take when the daemon ends.
const LEFT_OVER_MAX: Duration = Duration::from_secs(2);

/// After how long a database that took nothing then is asked again.
const AGAIN_AFTER: Duration = Duration::from_millis(50);

/// Who keeps the watch.
pub(super) struct Keeper {
    pub(super) watchers: Watchers,
    pub(super) engine: Engine,
    pub(super) desk: CareDesk,
    /// Who notes how crises were answered.
    noter: Noter,
    trail: Trail,
    /// What the ledger did not take.
    unrecorded: Unrecorded,
    /// The newest jobs whose crises were told of as late here, [`WATCHED_MAX`] at most: each is told of once.
    told: BTreeSet<JobId>,
    /// The ledger has not answered in this round, and is not waited for again before the next.
    ledger_is_silent: bool,
}

/// What the ledger says about the answer to a crisis.
enum Answer {
    /// It was given so many milliseconds after the crisis came.
    Given(i64),
    /// Its job is dead.
    Failed,
    /// There is none yet, or nobody can say.
    Missing,
}

impl Keeper {
    pub(super) fn new(
        watchers: Watchers,
        engine: Engine,
        desk: CareDesk,
        noter: Noter,
        trail: Trail,
    ) -> Self {
        let (unrecorded, told) = (Unrecorded::default(), BTreeSet::new());
        Self { watchers, engine, desk, noter, trail, unrecorded, told, ledger_is_silent: false }
    }

    /// Keeps the watch until `stop`.
    pub(super) async fn run(self, stop: CancellationToken) {
        // Everything on the watch may be late at once.
        let (told, missed) = mpsc::channel(WATCHED_MAX);
        let (watchers, desk) = (self.watchers.clone(), self.desk.clone());
        let database = self.noter.database.clone();
        let unanswered =
            Unanswered::new(watchers.clone(), self.engine.clone(), database, &self.noter.state_dir);
        tokio::join!(
            unanswered.run(stop.clone()),
            watchers.grant_in_time(told, stop.clone()),
            refresh_marks(desk, stop.clone()),
            self.noter.clone().run(stop.clone()),
            self.escalate_all(missed, stop)
        );
    }

    async fn escalate_all(mut self, mut told: mpsc::Receiver<Missed>, stop: CancellationToken) {
        let mut rounds = interval(ROUND);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                missed = told.recv() => match missed {
                    Some(missed) => self.escalate(missed).await,
                    None => break,
                },
                _ = rounds.tick() => self.look_after().await,
            }
        }
        told.close();
        self.finish(told).await;
    }

    /// Tells of what is left, and has it recorded: what is in memory only ends with the process.
    async fn finish(&mut self, mut told: mpsc::Receiver<Missed>) {
        self.ledger_is_silent = false;
        let started = Instant::now();
        while started.elapsed() < LEFT_OVER_MAX
            && let Ok(missed) = told.try_recv()
        {
            self.escalate(missed).await;
        }
        for _ in 0..2 {
            self.tell_of_late(LEFT_OVER_MAX.saturating_sub(started.elapsed())).await;
        }
        // About those that are left there is no time to ask.
        self.ledger_is_silent = true;
        self.look_at_recorded_late(Duration::MAX).await;
        // First what nobody else knows: who has the basic set from memory.
        self.watchers.granted.record(&self.trail, self.engine.ledger()).await;
        loop {
            self.ledger_is_silent = false;
            self.record_waiting(LEFT_OVER_MAX.saturating_sub(started.elapsed())).await;
            if self.unrecorded.0.is_empty() || started.elapsed() >= LEFT_OVER_MAX {
                break;
            }
            // A database that is slow for a moment is asked again.
            sleep(AGAIN_AFTER).await;
        }
        if !self.unrecorded.0.is_empty() {
            tracing::error!(
                count = self.unrecorded.0.len(),
                "violations of crises' times are not recorded: the database has not taken them before the end; reports \
                 count these crises as late, and say that nobody has noticed"
            );
        }
    }

    /// What 003 has done about a crisis that was not answered in time. The first steps, the bypass and with it the
    /// access, were taken by the watch itself: the person has the basic set already.
    async fn escalate(&mut self, missed: Missed) {
        if let Some(took_ms) = self.violates(&missed).await {
            if self.is_first(&missed) {
                self.watchers.tell_of(&missed, took_ms);
            }
            self.audit(&missed, took_ms).await;
        }
    }

    /// Tells of those that were answered here and late by what was measured, and of which nobody has told. The ledger
    /// is asked for `at_most`: then what was measured is told all the same and recorded later, and the others wait.
    async fn tell_of_late(&mut self, at_most: Duration) {
        let started = Instant::now();
        self.look_at_recorded_late(at_most).await;
        for (missed, took_ms) in self.watchers.late.take() {
            self.ledger_is_silent |= started.elapsed() >= at_most;
            let is_first = self.is_first(&missed);
            // Another process may have told of it, which had it on its watch.
            if self.audit(&missed, took_ms).await && is_first {
                self.watchers.tell_of_late(&missed, took_ms);
            }
        }
    }

    /// Whether nobody was told here of a crisis that is late, if it was recorded; from now on somebody was.
    fn is_first(&mut self, missed: &Missed) -> bool {
        let Some(job) = missed.job else { return true };
        let is_first = self.told.insert(job);
        if self.told.len() > WATCHED_MAX {
            self.told.pop_first();
        }
        is_first
    }

    /// How long the crisis took, so far at least, if it was not answered within its time. Another process may have done
    /// so, and then it is off the watch.
    async fn violates(&mut self, missed: &Missed) -> Option<i64> {
        let came_ms = self.came_ms(missed);
        // What is granted when the time is over is late only when it takes longer. Clocks that show whole milliseconds
        // say that one later.
        let left_ms = came_ms.saturating_add(missed.limit_ms()).saturating_sub(self.watchers.clock.now_ms());
        if (0..=RECORDED_WITHIN_MS).contains(&left_ms) {
            sleep(milliseconds(left_ms + 1)).await;
        }
        match self.answer(missed, came_ms).await {
            Answer::Given(took_ms) => {
                if let Some(job) = missed.job {
                    self.watchers.care.watch.ended(job);
                }
                is_late(milliseconds(took_ms), milliseconds(missed.limit_ms())).then_some(took_ms)
            }
            Answer::Failed | Answer::Missing => {
                let so_far_ms = self.watchers.clock.now_ms().saturating_sub(came_ms);
                // The clock may have been set back since it came, and its time was over all the same.
                Some(so_far_ms.max(missed.limit_ms() + 1))
            }
        }
    }

    /// When the crisis came by our clock, as reports count it: when its job was recorded.
    fn came_ms(&self, missed: &Missed) -> UnixMs {
        let Some(job) = missed.job else { return missed.since_ms };
        let recorded_ms = self.engine.ledger().here_ms(job, job.created_ms());
        let is_of_ours = recorded_ms <= missed.since_ms.saturating_add(RECORDED_WITHIN_MS);
        if is_of_ours { recorded_ms } else { missed.since_ms }
    }

    /// Has the violation recorded, which audits it (003: `audit_incident`). One whose crisis is not recorded yet waits
    /// for that. Answers `false` if it is known to have been recorded before.
    async fn audit(&mut self, missed: &Missed, took_ms: i64) -> bool {
        let Some(violation) = violation(missed, took_ms) else { return true };
        self.record(violation).await
    }

    /// Records what could not be recorded before.
    async fn look_after(&mut self) {
        self.ledger_is_silent = false;
        self.tell_of_late(TELLING_MAX).await;
        self.record_waiting(RECORDING_MAX).await;
        self.watchers.granted.record(&self.trail, self.engine.ledger()).await;
        self.desk.catch_up().await;
    }

    /// Records what waits for that, for `at_most`, and as long as the ledger takes it.
    async fn record_waiting(&mut self, at_most: Duration) {
        let started = Instant::now();
        while !self.ledger_is_silent
            && started.elapsed() < at_most
            && let Some(job) = self.unrecorded.0.pop_front()
        {
            self.record(job).await;
        }
    }

    /// Has those recorded that were told of before their crisis was. Those that there is no time for are left.
    async fn look_at_recorded_late(&mut self, at_most: Duration) {
        let started = Instant::now();
        while started.elapsed() < at_most
            && let Some(missed) = self.watchers.care.watch.next_recorded_late()
        {
            self.is_first(&missed);
            // What was slow to record may have been told before, and answered in time then.
            if let Some(took_ms) = self.violates(&missed).await {
                self.audit(&missed, took_ms).await;
            }
        }
    }

    /// Answers `false` if it is known to have been recorded before.
    async fn record(&mut self, job: NewJob) -> bool {
        if !self.ledger_is_silent {
            match timeout(LEDGER_TIMEOUT, self.engine.enqueue(job.clone())).await {
                Ok(Ok(recorded)) => return !recorded.duplicate,
                _ => self.ledger_is_silent = true,
            }
        }
        self.unrecorded.put(job);
        true
    }

    async fn answer(&mut self, missed: &Missed, came_ms: UnixMs) -> Answer {
        let Some(job) = missed.job.filter(|_| !self.ledger_is_silent) else { return Answer::Missing };
        let Ok(Ok(shown)) = timeout(LEDGER_TIMEOUT, self.engine.ledger().show(job)).await else {
            self.ledger_is_silent = true;
            return Answer::Missing;
        };
        match shown.map(|(view, _)| (view.state, view.finished_at_ms)) {
            Some((State::Dead, _)) => Answer::Failed,
            Some((state @ (State::Done | State::Cancelled), Some(finished_ms))) => {
                // What is done was so by the clock of whoever recorded it; what was cancelled, by that of who did it.
                let here = |at_ms| self.engine.ledger().here_ms(job, at_ms);
                let finished_ms = if state == State::Done { here(finished_ms) } else { finished_ms };
                Answer::Given(finished_ms.saturating_sub(came_ms))
            }
            _ => Answer::Missing,
        }
    }
}

fn milliseconds(ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}

/// Learns of the people whom other processes have marked, and of what they have switched: the one that takes events
/// need not be the one that runs jobs.
async fn refresh_marks(desk: CareDesk, stop: CancellationToken) {
    let mut rounds = interval(MARKS_ROUND);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for round in 0_u64.. {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = rounds.tick() => {}
        }
        if round.is_multiple_of(ROUNDS_PER_LOOK_AT_RISK)
            && !matches!(timeout(MARKS_TIMEOUT, desk.refresh_at_risk()).await, Ok(Ok(())))
        {
            tracing::debug!("who is in a high-risk period cannot be read now");
        }
        // Whoever is marked stays so meanwhile, and the next round is not far.
        if !matches!(timeout(MARKS_TIMEOUT, desk.refresh_marks()).await, Ok(Ok(()))) {
            tracing::debug!("the marks of other processes cannot be read now");
        }
    }
}

#[cfg(test)]
mod cases;
