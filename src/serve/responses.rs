//! Notes how every crisis was answered (see [`keepwell_jobs::store::reports`]), and whose contacts nobody will tell: a
//! moment later, beside the work, so that no crisis waits for it.

use std::{
    collections::VecDeque,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use keepwell_config::Config;
use keepwell_jobs::{
    Care,
    care::report::period::Period,
    store::reports::{CrisisResponse, catch_up, forget_responses, is_crisis_event, note_responses},
    watch::recorded_urgency,
};
use keepwell_workers::{clock::SharedClock, database::Database, lane::Lane, observer::RunEnded};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::{build::DAY_MS, untold::Untold, watchers::Watchers};

/// How often what was answered is noted.
const NOTE_EVERY: Duration = Duration::from_secs(1);

/// How often it is compared with the ledger, and what is old enough is forgotten.
const COMPARE_EVERY: Duration = Duration::from_secs(3_600);

/// How far back it is compared, in milliseconds: a process that died missed a second at most, and was started again
/// since then.
const COMPARED_MS: i64 = 2 * DAY_MS;

/// Answers that wait to be noted, at most; more are read from the ledger later, to the millisecond.
const WAITING_MAX: usize = 16_384;

/// Answers that are noted in one transaction: about 2 ms at the database.
const NOTED_AT_ONCE: usize = 128;

/// Batches forgotten in one round.
const FORGET_BATCHES_MAX: usize = 200;

/// What was answered and is not noted yet. Cheap to clone; clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Responses(Arc<Mutex<VecDeque<CrisisResponse>>>);

impl Responses {
    /// Takes in the end of a run, if it answered a crisis or nothing will.
    pub(super) fn run_ended(&self, ended: &RunEnded<'_>, care: &Care) {
        let job = ended.job;
        let answered = ended.outcome == "done";
        if job.lane != Lane::Crisis || !(answered || ended.outcome == "dead") || !is_crisis_event(&job.kind) {
            return;
        }
        let Some((_, severity)) = recorded_urgency(job) else { return };
        let took = if answered { ended.took() } else { None };
        if answered && took.is_none() {
            // Nobody measured it on one clock; what the ledger makes of it is not called measured either.
            return;
        }
        let took_us = took.map(|took| u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        let mut waiting = self.lock();
        if waiting.len() >= WAITING_MAX {
            waiting.pop_front();
        }
        waiting.push_back(CrisisResponse {
            job: job.id,
            kind: job.kind.to_string(),
            severity,
            came_ms: job.created_ms,
            limit_ms: care.watch.limit_ms(severity),
            took_us,
            measured: answered,
        });
    }

    fn take(&self) -> Vec<CrisisResponse> {
        let mut waiting = self.lock();
        let count = waiting.len().min(NOTED_AT_ONCE);
        waiting.drain(..count).collect()
    }

    fn put_back(&self, responses: Vec<CrisisResponse>) {
        let mut waiting = self.lock();
        let room = WAITING_MAX.saturating_sub(waiting.len());
        for response in responses.into_iter().rev().take(room) {
            waiting.push_front(response);
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<CrisisResponse>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who notes them.
#[derive(Clone)]
pub(super) struct Noter {
    responses: Responses,
    untold: Untold,
    care: Care,
    pub(super) database: Database,
    pub(super) state_dir: PathBuf,
    clock: SharedClock,
    /// For how long they are kept, in milliseconds.
    keep_ms: i64,
}

impl Noter {
    /// One that notes in `database` what `watchers` see; as long as the audit trail, which `config` says.
    pub(super) fn new(watchers: &Watchers, database: &Database, config: &Config) -> Self {
        Self {
            responses: watchers.responses.clone(),
            untold: watchers.untold.clone(),
            care: watchers.care.clone(),
            database: database.clone(),
            state_dir: config.state_dir.clone(),
            clock: SharedClock::clone(&watchers.clock),
            keep_ms: i64::from(config.retention.audit_days) * DAY_MS,
        }
    }

    /// Notes them until `stop`, and then what is left.
    pub(super) async fn run(self, stop: CancellationToken) {
        let mut rounds = interval(NOTE_EVERY);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut compared: Option<Instant> = None;
        let mut stopping = false;
        while !stopping {
            tokio::select! {
                _ = rounds.tick() => {}
                () = stop.cancelled() => stopping = true,
            }
            self.untold.record(&self.database, &self.care.keys, self.clock.now_ms()).await;
            self.note().await;
            if !stopping && compared.is_none_or(|at| at.elapsed() >= COMPARE_EVERY) {
                compared = Some(Instant::now());
                if let Err(error) = self.compare().await {
                    tracing::warn!(%error, "how crises were answered cannot be compared with the ledger now");
                }
            }
        }
    }

    async fn note(&self) {
        loop {
            let taken = self.responses.take();
            if taken.is_empty() {
                return;
            }
            if let Err(error) = note_responses(&self.database, &taken, self.clock.now_ms()).await {
                self.responses.put_back(taken);
                return tracing::debug!(%error, "how crises were answered cannot be noted now");
            }
        }
    }

    async fn compare(&self) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let now_ms = self.clock.now_ms();
        let period = Period { from_ms: now_ms.saturating_sub(COMPARED_MS), to_ms: now_ms };
        catch_up(&self.database, &self.care.keys, &self.care.watch, period, now_ms).await?;
        for _ in 0..FORGET_BATCHES_MAX {
            if !forget_responses(&self.database, now_ms.saturating_sub(self.keep_ms), now_ms).await? {
                break;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use keepwell_config::TIERS_TOML;
    use keepwell_jobs::{care::tiers::Tiers, kinds, marks::Marks};
    use keepwell_workers::{
        id::JobId,
        job::Job,
        seal::{KeyRing, SealingKey},
    };
    use zeroize::Zeroizing;

    use super::*;

    #[test]
    fn what_answers_a_crisis_or_never_will_is_noted_and_nothing_else() {
        let keys = KeyRing::new(SealingKey::new("test", &Zeroizing::new([7; 32])), []);
        let care = Care::new(Tiers::from_toml(TIERS_TOML).unwrap(), Marks::default(), keys);
        let responses = Responses::default();
        let waited = Some(Duration::from_millis(2));
        for (kind, lane, outcome, waited) in [
            (kinds::CRISIS_SIGNALLED, Lane::Crisis, "done", waited),
            (kinds::CRISIS_SIGNALLED, Lane::Crisis, "done", None),
            (kinds::INVOICE_PAYMENT_FAILED, Lane::Crisis, "dead", None),
            (kinds::CRISIS_SIGNALLED, Lane::Crisis, "retry", waited),
            (kinds::CRISIS_SIGNALLED, Lane::Crisis, "nothing_owed", waited),
            (kinds::INVOICE_PAYMENT_FAILED, Lane::Standard, "done", waited),
            (kinds::CRISIS_RESOLVED, Lane::Crisis, "done", waited),
            (kinds::CONTACT_TOLD, Lane::Crisis, "done", waited),
            (kinds::CRISIS_ANSWERED_LATE, Lane::Crisis, "done", waited),
        ] {
            let job = Job {
                id: JobId::new(1),
                kind: kind.into(),
                lane,
                dedupe_key: None,
                subject: Some("cus_1".to_owned()),
                payload: "{".into(),
                attempts: 0,
                created_ms: 1,
                trace: None,
            };
            let ran = Duration::from_micros(34);
            responses.run_ended(&RunEnded { job: &job, outcome, waited, ran }, &care);
        }
        let noted: Vec<_> =
            responses.take().into_iter().map(|it| (it.kind, it.limit_ms, it.took_us)).collect();
        let expected = [
            (kinds::CRISIS_SIGNALLED.to_owned(), 100, Some(2_034)),
            (kinds::INVOICE_PAYMENT_FAILED.to_owned(), 200, None),
        ];
        assert_eq!(noted, expected);
        assert!(responses.take().is_empty());
    }
}
