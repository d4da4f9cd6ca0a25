//! Tells receivers without waiting for a job to run, where none would: without Redis only crises run, and without the
//! database nothing can be recorded. Whoever is on call must hear of just that.
//!
//! Without Redis the jobs are recorded; each is told from here, then cancelled. That begins only when Redis has
//! been away for a while: whoever had one of them in hand when it went is done with it then (unless
//! `alerts.timeout_ms` is more than a quarter of `alerts.resolve_after_ms`), and a Redis that was only slow is
//! back. Should it come back between the two, a channel may hear it twice; PagerDuty and signed webhooks know it by
//! its key. Without the database an alert has its identity from here, and is opened under it, as told, when the
//! database is back. Each node tells for itself then.

use std::collections::VecDeque;

use futures_util::future::join_all;
use keepwell_jobs::{
    alerts::{
        plan::{Habits, OpenAlert, opened},
        rule::Severity,
        telling::{Action, Telling},
        watch::Seen,
    },
    outbound::alerts::AlertDelivery,
};
use keepwell_workers::{
    clock::UnixMs,
    engine::Engine,
    id::JobId,
    job::{NewJob, Recorded},
    state::State,
};

/// Jobs that are remembered in case that Redis is away, at most; of more, the oldest wait for Redis.
const RECENT_MAX: usize = 64;

/// Alerts that are remembered until the database takes them, at most.
const UNRECORDED_MAX: usize = 32;

/// What may have to be told from here.
#[derive(Debug)]
pub(super) struct Direct {
    delivery: AlertDelivery,
    engine: Engine,
    recent: VecDeque<(JobId, Telling)>,
    /// Alerts that the database has not taken, and whom they are still to be told.
    unrecorded: Vec<(OpenAlert, Vec<Telling>)>,
    /// Since when no look has found Redis.
    without_redis_since_ms: Option<UnixMs>,
}

impl Direct {
    pub(super) fn new(delivery: AlertDelivery, engine: Engine) -> Self {
        Self {
            delivery,
            engine,
            recent: VecDeque::new(),
            unrecorded: Vec::new(),
            without_redis_since_ms: None,
        }
    }

    /// These jobs were recorded.
    pub(super) fn remember(&mut self, jobs: &[NewJob], recorded: &[Recorded]) {
        let fresh = jobs.iter().zip(recorded).filter(|(_, recorded)| !recorded.duplicate);
        for (job, recorded) in fresh {
            let Ok(telling) = serde_json::from_slice(&job.payload) else { continue };
            self.recent.push_back((recorded.id, telling));
        }
        let surplus = self.recent.len().saturating_sub(RECENT_MAX);
        self.recent.drain(..surplus);
    }

    /// Without Redis for `patience_ms`, tells what those jobs would tell.
    pub(super) async fn tell_without_redis(&mut self, patience_ms: i64, now_ms: UnixMs) {
        if self.engine.health().lanes_ok {
            self.without_redis_since_ms = None;
            return;
        }
        if now_ms - *self.without_redis_since_ms.get_or_insert(now_ms) < patience_ms {
            return;
        }
        let mut waiting = VecDeque::new();
        for (id, telling) in std::mem::take(&mut self.recent) {
            let shown = self.engine.ledger().show(id).await.ok().flatten();
            if shown.is_some_and(|(view, _)| view.state == State::Owed) {
                waiting.push_back((id, telling));
            }
        }
        let told = join_all(waiting.iter().map(|(id, telling)| self.delivery.deliver(*id, telling))).await;
        for ((id, telling), told) in waiting.into_iter().zip(told) {
            let is_done = told.is_ok() && self.engine.cancel(id).await.is_ok();
            if !is_done {
                self.recent.push_back((id, telling));
            }
        }
    }

    /// Without the database, tells what is critical of what was `seen`.
    pub(super) async fn tell_without_database(&mut self, seen: &[Seen], habits: &Habits, now_ms: UnixMs) {
        for seen in seen.iter().filter(|seen| seen.is_ripe && seen.rule.severity == Severity::Critical) {
            if self.unrecorded.len() >= UNRECORDED_MAX
                || self.unrecorded.iter().any(|(known, _)| seen.is_of(&known.told))
            {
                continue;
            }
            let alert = OpenAlert {
                times_told: 1,
                tell_at_ms: Some(now_ms + habits.repeat_ms),
                ..opened(seen, habits, now_ms)
            };
            let telling = |receiver| Telling {
                receiver,
                action: Action::Triggered,
                alerts: vec![alert.told.clone()],
                at_ms: now_ms,
            };
            let tellings = habits.told_of(Severity::Critical).into_iter().map(telling).collect();
            self.unrecorded.push((alert, tellings));
        }
        for (alert, tellings) in &mut self.unrecorded {
            let told =
                tellings.iter().map(|telling| self.delivery.deliver_unrecorded(JobId::new(now_ms), telling));
            let told = join_all(told).await;
            let mut told = told.into_iter();
            tellings.retain(|_| told.next().is_some_and(|told| told.is_err()));
            if tellings.is_empty() {
                tracing::warn!(rule = alert.told.rule, "an alert was told without the database");
            }
        }
    }

    /// Alerts that the database has to take beside those that are `open`, and the jobs for whoever has not been told.
    pub(super) fn unrecorded(&self, open: &[OpenAlert]) -> (Vec<OpenAlert>, Vec<NewJob>) {
        let is_new = |(alert, _): &&(OpenAlert, Vec<Telling>)| {
            !open
                .iter()
                .any(|known| (&known.told.rule, &known.told.cause) == (&alert.told.rule, &alert.told.cause))
        };
        let new = self.unrecorded.iter().filter(is_new);
        let jobs = new.clone().flat_map(|(_, tellings)| tellings).map(|telling| telling.job(1)).collect();
        (new.map(|(alert, _)| alert.clone()).collect(), jobs)
    }

    /// The database has taken them.
    pub(super) fn recorded(&mut self) {
        self.unrecorded.clear();
    }
}
