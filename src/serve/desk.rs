//! What stands behind [`EmergencyDesk`]: switches in the database, and in memory while that is away.

use std::{
    error::Error,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use keepwell_jobs::{
    Care,
    access_query::access_without_database,
    care::{
        document::AccessDocument,
        emergency::{Switch, SwitchName, Switches},
    },
    rehearsal,
    store::{self, Switching},
};
use keepwell_workers::{
    clock::{SharedClock, UnixMs},
    database::{Database, turn::Urgency},
    engine::Engine,
    state::State,
};
use tokio::time::{Instant, sleep, timeout};

use super::audit::audited;
use crate::api::{EmergencyDesk, Rehearsed, Switched};

/// How long the database may take to say how the switches stand, or to take a new one.
const DATABASE_TIMEOUT: Duration = Duration::from_secs(1);

/// How long monitoring may be kept waiting for how the switches stand.
const READ_TIMEOUT: Duration = Duration::from_millis(100);

/// How long a rehearsed crisis is waited for.
const REHEARSAL_TIMEOUT: Duration = Duration::from_secs(2);

/// How often it is looked whether a rehearsed crisis is answered.
const REHEARSAL_POLL: Duration = Duration::from_millis(2);

/// A rehearsal is an answer for so long, in milliseconds: nobody learns more by rehearsing more often.
const REHEARSAL_LASTS_MS: i64 = 1_000;

/// The desk. Cheap to clone.
#[derive(Clone)]
pub(super) struct CareDesk(Arc<Parts>);

struct Parts {
    database: Database,
    care: Care,
    engine: Engine,
    clock: SharedClock,
    /// Switched in memory only, because the database was away.
    unrecorded: Mutex<Vec<(SwitchName, Switching, UnixMs)>>,
    rehearsed: tokio::sync::Mutex<Option<(UnixMs, Rehearsed)>>,
}

impl CareDesk {
    pub(super) fn new(database: Database, care: Care, engine: Engine, clock: SharedClock) -> Self {
        let (unrecorded, rehearsed) = (Mutex::default(), tokio::sync::Mutex::default());
        Self(Arc::new(Parts { database, care, engine, clock, unrecorded, rehearsed }))
    }

    /// Records what was switched while the database was away.
    pub(super) async fn catch_up(&self) {
        let unrecorded = self.unrecorded().clone();
        for (name, switching, at_ms) in unrecorded {
            // What has come to its end meanwhile is recorded too: it was so.
            if self.record(name, switching, at_ms).await.is_err() {
                return;
            }
            tracing::warn!(switch = name.name(), "what was switched without the database is recorded now");
        }
    }

    fn unrecorded(&self) -> std::sync::MutexGuard<'_, Vec<(SwitchName, Switching, UnixMs)>> {
        self.0.unrecorded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn record(
        &self,
        name: SwitchName,
        switching: Switching,
        at_ms: UnixMs,
    ) -> Result<Option<Switch>, Box<dyn Error + Send + Sync>> {
        let Parts { database, care, .. } = &*self.0;
        let switching = store::switch(database, &care.switches, name, switching, at_ms);
        let switch = timeout(DATABASE_TIMEOUT, switching).await??;
        // What was said before, and could not be recorded, no longer counts.
        self.unrecorded().retain(|(other, _, other_ms)| *other != name || *other_ms > at_ms);
        Ok(switch)
    }

    /// Switches in memory, to be recorded when the database is back.
    fn switch_in_memory(&self, name: SwitchName, switching: Switching, now_ms: UnixMs) -> Option<Switch> {
        let last = self.0.care.switches.last();
        let changed = match switching.clone() {
            Switching::On(reason, seconds) => last.switched_on(name, reason, seconds, now_ms),
            Switching::Off => last.switched_off(name, now_ms)?,
        };
        let mut known = last.known;
        known.retain(|(other, _)| *other != name);
        known.push((name, changed.clone()));
        self.0.care.switches.remember(&Switches { known });
        // Of what is not recorded the last word for each switch counts.
        let mut unrecorded = self.unrecorded();
        unrecorded.retain(|(other, ..)| *other != name);
        unrecorded.push((name, switching, now_ms));
        Some(changed)
    }

    async fn rehearse_now(&self) -> Result<Rehearsed, Box<dyn Error + Send + Sync>> {
        let started = Instant::now();
        let job = self.0.engine.enqueue(rehearsal()).await?.id;
        loop {
            let state = self.0.engine.ledger().show(job).await?.map(|(view, _)| view.state);
            match state {
                Some(State::Owed) => sleep(REHEARSAL_POLL).await,
                Some(State::Done) => return Ok(Rehearsed { job: job.to_string(), took: started.elapsed() }),
                _ => return Err("the rehearsed crisis was not answered as it should be".into()),
            }
        }
    }
}

#[async_trait]
impl EmergencyDesk for CareDesk {
    async fn switch(&self, name: SwitchName, switching: Switching) -> Switched {
        let now_ms = self.0.clock.now_ms();
        let is_on = matches!(switching, Switching::On(..));
        let (switch, recorded) = match self.record(name, switching.clone(), now_ms).await {
            Ok(switch) => (switch, true),
            Err(error) => {
                tracing::error!(
                    error = &*error as &(dyn Error + 'static),
                    switch = name.name(),
                    "the database does not take a switch; it is switched in this process alone until it does"
                );
                (self.switch_in_memory(name, switching, now_ms), false)
            }
        };
        let reason = switch.as_ref().map_or("", |switch| switch.reason.as_str());
        audited(if is_on { "switched_on" } else { "switched_off" }, name.name(), reason, switch.as_ref());
        Switched { switch, recorded }
    }

    async fn switches(&self) -> Switches {
        let Parts { database, care, .. } = &*self.0;
        let asked = timeout(READ_TIMEOUT, async {
            let mut reader = database.reader(Urgency::General).await?;
            store::switches(&mut reader, &care.switches).await
        });
        match asked.await {
            Ok(Ok(switches)) => switches,
            _ => care.switches.last(),
        }
    }

    fn is_emergency_open(&self) -> bool {
        let Parts { care, clock, .. } = &*self.0;
        care.marks.is_anybody() || care.watch.grants_anything(clock.now_ms())
    }

    fn access_without_database(&self, customer: &str) -> AccessDocument {
        access_without_database(&self.0.care, customer, self.0.clock.now_ms())
    }

    async fn rehearse(&self) -> Result<Rehearsed, Box<dyn Error + Send + Sync>> {
        let mut last = self.0.rehearsed.lock().await;
        let now_ms = self.0.clock.now_ms();
        if let Some((at_ms, rehearsed)) = &*last
            && (0..REHEARSAL_LASTS_MS).contains(&now_ms.saturating_sub(*at_ms))
        {
            return Ok(rehearsed.clone());
        }
        let rehearsed = timeout(REHEARSAL_TIMEOUT, self.rehearse_now()).await??;
        *last = Some((now_ms, rehearsed.clone()));
        Ok(rehearsed)
    }
}
