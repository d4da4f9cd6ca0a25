//! Tells receivers without waiting for a job to run, where none would: without Redis only crises run, and without the
//! database nothing can be recorded. Whoever is on call must hear of just that.
//!
//! Without Redis the jobs are recorded; each is told from here, then cancelled. That begins only when Redis has
//! been away for a while: whoever had one of them in hand when it went is done with it then (unless
//! `alerts.timeout_ms` is longer than that while), and a Redis that was only slow is back. Should it come back between
//! the two, a channel may hear it twice; PagerDuty and signed webhooks know it by its key. A process that begins while
//! Redis is away tells what is critical of what those before it have left owed.
//!
//! Without the database an alert has its identity from here, and is opened under it, as told, when the database is
//! back. That is noted in the state directory before anybody is told, so that whoever begins anew meanwhile goes on
//! under the same identity. Each node tells for itself then, of what it did not find open or silenced when it last
//! could look. Of several that tell the same the first to come back has its alert opened; what the others began with
//! receivers that go by the id is ended there.
//!
//! What nobody acknowledges is escalated and told again from here too, be it recorded or not: an outage that lasts an
//! hour at night is when that matters. With the database back that is recorded as done (`outage.rs`). Several nodes
//! do that with what they all know to be open under one identity, as whoever has the database does, so that only a
//! channel hears each of them.

use std::{
    collections::{BTreeSet, VecDeque},
    time::Duration,
};

use futures_util::future::join_all;
use keepwell_jobs::{
    alerts::{
        plan::{Habits, Move, OpenAlert, View, opened},
        rule::Severity,
        telling::{Receiver, Telling},
    },
    kinds,
    outbound::alerts::AlertDelivery,
};
use keepwell_workers::{
    clock::UnixMs,
    engine::Engine,
    id::JobId,
    job::{NewJob, Recorded},
    lane::Lane,
    ledger::JobFilter,
    outcome::Outcome,
    state::State,
};
use tokio::time::{Instant, sleep};

use super::{
    note::{Note, Unrecorded},
    outage,
};

/// Jobs that are remembered in case that Redis is away, at most; of more, the oldest wait for Redis.
const RECENT_MAX: usize = 64;

/// Alerts that are remembered until the database takes them, at most.
const UNRECORDED_MAX: usize = 32;

/// How long a receiver is told one thing after the other in one look: the next one may have something new. Our number.
const TELLING_MAX: Duration = Duration::from_secs(5);

/// What may have to be told from here.
#[derive(Debug)]
pub(super) struct Direct {
    delivery: AlertDelivery,
    engine: Engine,
    recent: VecDeque<(JobId, Telling)>,
    /// Whether it is still to be looked what earlier lives have left: this one has not seen Redis yet.
    takes_over: bool,
    /// Alerts that the database has not taken, and whom they are still to be told.
    unrecorded: Unrecorded,
    /// Where the next life finds them.
    note: Note,
    /// Since when no look has found Redis.
    without_redis_since_ms: Option<UnixMs>,
}

impl Direct {
    /// One that goes on with what an earlier life has left in `note`.
    pub(super) fn new(delivery: AlertDelivery, engine: Engine, mut note: Note) -> Self {
        Self {
            unrecorded: note.read(UNRECORDED_MAX),
            note,
            delivery,
            engine,
            recent: VecDeque::new(),
            takes_over: true,
            without_redis_since_ms: None,
        }
    }

    /// These jobs were recorded.
    pub(super) fn remember(&mut self, jobs: &[NewJob], recorded: &[Recorded]) {
        let fresh = jobs.iter().zip(recorded).filter(|(_, recorded)| !recorded.duplicate);
        for (job, recorded) in fresh {
            self.keep(recorded.id, &job.payload);
        }
    }

    /// Remembers what earlier lives have left to be told at once.
    async fn take_over(&mut self) {
        let (kind, lane) = (Some(kinds::ALERT_TOLD.to_owned()), Some(Lane::Therapeutic));
        let critical = JobFilter { kind, lane, ..JobFilter::default() };
        // A database that does not answer is asked again with the next look.
        let Ok(owed) = self.engine.ledger().owed_matching(&critical).await else { return };
        self.takes_over = false;
        for job in owed {
            if self.recent.iter().all(|(id, _)| *id != job.id) {
                self.keep(job.id, &job.payload);
            }
        }
    }

    fn keep(&mut self, id: JobId, payload: &[u8]) {
        let Ok(telling) = serde_json::from_slice(payload) else { return };
        self.recent.push_back((id, telling));
        let surplus = self.recent.len().saturating_sub(RECENT_MAX);
        self.recent.drain(..surplus);
    }

    /// Without Redis for `patience_ms`, tells what those jobs would tell.
    pub(super) async fn tell_without_redis(&mut self, patience_ms: i64, now_ms: UnixMs) {
        if self.engine.health().lanes_ok {
            self.without_redis_since_ms = None;
            self.takes_over = false;
            return;
        }
        if now_ms - *self.without_redis_since_ms.get_or_insert(now_ms) < patience_ms {
            return;
        }
        if self.takes_over {
            self.take_over().await;
        }
        let mut waiting = VecDeque::new();
        for (id, telling) in std::mem::take(&mut self.recent) {
            match self.engine.ledger().show(id).await {
                Ok(Some((view, _))) if view.state == State::Owed => waiting.push_back((id, telling)),
                Ok(_) => {}
                Err(_) => self.recent.push_back((id, telling)),
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

    /// Without the database, tells what is critical of what is seen, unless it was open or silenced when the database
    /// was last read: then somebody knows.
    pub(super) async fn tell_without_database(&mut self, view: &View<'_>, habits: &Habits) {
        let now_ms = view.now_ms;
        for seen in view.seen.iter().filter(|seen| seen.is_ripe && seen.rule.severity == Severity::Critical) {
            let mut known = self.unrecorded.iter().map(|(alert, _)| alert).chain(view.open);
            if self.unrecorded.len() >= UNRECORDED_MAX
                || known.any(|known| seen.is_of(&known.told))
                || view.is_silent(seen.rule.name)
            {
                continue;
            }
            let alert = OpenAlert {
                times_told: 1,
                tell_at_ms: Some(now_ms + habits.repeat_ms),
                ..opened(seen, habits, now_ms)
            };
            self.unrecorded.push(outage::begin(alert, habits, now_ms));
        }
        self.go_on(view, habits);
        self.write_down().await;
        let receivers = self.delivery.receivers();
        let told = join_all(receivers.iter().map(|receiver| self.tell(*receiver, now_ms))).await;
        let told: BTreeSet<(usize, usize)> = told.into_iter().flatten().collect();
        for (place, (alert, tellings)) in self.unrecorded.iter_mut().enumerate() {
            let before = tellings.len();
            let mut number = 0..;
            tellings.retain(|_| number.next().is_some_and(|number| !told.contains(&(place, number))));
            if tellings.is_empty() && before > 0 {
                tracing::warn!(rule = alert.told.rule, "an alert was told without the database");
            }
        }
        self.write_down().await;
    }

    /// Tells `receiver` what it has not heard yet, one thing after the other; answers which of it that was. Whoever
    /// does not answer, or is to be left in peace, is asked again with the next look.
    async fn tell(&self, receiver: Receiver, now_ms: UnixMs) -> Vec<(usize, usize)> {
        let (started, mut told) = (Instant::now(), Vec::new());
        for (place, (alert, tellings)) in self.unrecorded.iter().enumerate() {
            let id = alert.told.id.parse().unwrap_or_else(|_| JobId::new(now_ms));
            let its_own = tellings.iter().enumerate().filter(|(_, telling)| telling.receiver == receiver);
            for (number, telling) in its_own {
                let mut ended = self.delivery.deliver_unrecorded(id, telling).await;
                while let Err(Outcome::Snooze { after }) = ended
                    && started.elapsed() + after < TELLING_MAX
                {
                    sleep(after).await;
                    ended = self.delivery.deliver_unrecorded(id, telling).await;
                }
                match ended {
                    Ok(()) => told.push((place, number)),
                    // It speaks of this one alone.
                    Err(Outcome::Dead { .. }) => {}
                    Err(_) => return told,
                }
                if started.elapsed() >= TELLING_MAX {
                    return told;
                }
            }
        }
        told
    }

    /// What nobody has acknowledged is escalated, and told again, whether it is recorded or not.
    fn go_on(&mut self, view: &View<'_>, habits: &Habits) {
        for untold in &mut self.unrecorded {
            outage::goes_on(untold, view, habits);
        }
        for known in view.open {
            let is_here = self.unrecorded.iter().any(|(alert, _)| is_same(alert, known));
            if is_here || self.unrecorded.len() >= UNRECORDED_MAX {
                continue;
            }
            let mut untold = (known.clone(), Vec::new());
            if outage::goes_on(&mut untold, view, habits) {
                self.unrecorded.push(untold);
            }
        }
    }

    /// Notes what the database has not taken, if that is news.
    pub(super) async fn write_down(&mut self) {
        self.note.write(&self.unrecorded).await;
    }

    /// What ends, where it was told, what is `open` under another identity. Whoever did not answer may have heard of
    /// it, and is told too.
    pub(super) fn ends(
        &self,
        open: &[OpenAlert],
        habits: &Habits,
        now_ms: UnixMs,
    ) -> (Vec<Move>, Vec<NewJob>) {
        let (mut moves, mut jobs) = (Vec::new(), Vec::new());
        for (alert, _) in &self.unrecorded {
            let Some(known) = open.iter().find(|known| is_double(alert, known)) else { continue };
            let (of_this, told_by) = outage::ends(alert, known, habits, now_ms);
            moves.extend(of_this);
            jobs.extend(told_by);
        }
        (moves, jobs)
    }

    /// What the database has to take of the alert that it knows as `row`, and the jobs for whoever has not been told.
    pub(super) fn caught_up(
        &self,
        row: &OpenAlert,
        habits: &Habits,
        now_ms: UnixMs,
    ) -> (Vec<Move>, Vec<NewJob>) {
        let untold = self.unrecorded.iter().find(|(alert, _)| alert.told.id == row.told.id);
        untold.map(|untold| outage::caught_up(untold, row, habits, now_ms)).unwrap_or_default()
    }

    /// What is `open` under another identity has no need to be recorded.
    pub(super) fn forget(&mut self, open: &[OpenAlert]) {
        self.unrecorded.retain(|(alert, _)| !open.iter().any(|known| is_double(alert, known)));
    }

    /// Which alerts the database has not taken, as far as is known.
    pub(super) fn unrecorded_ids(&self) -> Vec<String> {
        self.unrecorded.iter().map(|(alert, _)| alert.told.id.clone()).collect()
    }

    /// The database has taken all of the alert `id`, and with it the jobs for whoever has not been told.
    pub(super) fn is_recorded(&mut self, id: &str) {
        self.unrecorded.retain(|(alert, _)| alert.told.id != id);
    }

    /// Alerts that the database has to take, and the jobs for whoever has not been told.
    pub(super) fn unrecorded(&self) -> (Vec<OpenAlert>, Vec<NewJob>) {
        let jobs = self.unrecorded.iter().flat_map(|(_, tellings)| tellings).map(|telling| telling.job(1));
        (self.unrecorded.iter().map(|(alert, _)| alert.clone()).collect(), jobs.collect())
    }

    /// The database has taken them.
    pub(super) fn recorded(&mut self) {
        self.unrecorded.clear();
    }
}

/// Whether both are of the same rule and cause, of which one is open at a time.
fn is_same(one: &OpenAlert, other: &OpenAlert) -> bool {
    (&one.told.rule, &one.told.cause) == (&other.told.rule, &other.told.cause)
}

/// Whether `known` is what `alert` is under another identity.
fn is_double(alert: &OpenAlert, known: &OpenAlert) -> bool {
    is_same(known, alert) && known.told.id != alert.told.id
}
