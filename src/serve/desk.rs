//! What stands behind [`EmergencyDesk`]: switches in the database, and in memory while that is away.

use std::{error::Error, sync::Arc, time::Duration};

use async_trait::async_trait;
use keepwell_jobs::{
    Care,
    access_query::access_without_database,
    care::{
        document::AccessDocument,
        emergency::{Switch, SwitchName, Switches, Switching},
    },
    rehearsal, store,
};
use keepwell_workers::{
    clock::{SharedClock, UnixMs},
    database::{Database, turn::Urgency},
    engine::Engine,
    state::State,
};
use tokio::{
    sync::Mutex,
    time::{Instant, sleep, timeout},
};

use super::alert::alerted;
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
    /// Held by whoever switches.
    switching: Mutex<()>,
    rehearsed: Mutex<Option<(UnixMs, Rehearsed)>>,
    /// The switches that have ended by themselves, and when: that is in the audit trail.
    ended: Mutex<Vec<(SwitchName, UnixMs)>>,
}

impl CareDesk {
    pub(super) fn new(database: Database, care: Care, engine: Engine, clock: SharedClock) -> Self {
        let (switching, rehearsed, ended) = (Mutex::default(), Mutex::default(), Mutex::default());
        Self(Arc::new(Parts { database, care, engine, clock, switching, rehearsed, ended }))
    }

    /// Records what was switched while the database took nothing.
    pub(super) async fn catch_up(&self) {
        // Whoever is switching catches up.
        if let Ok(_turn) = self.0.switching.try_lock() {
            self.catch_up_in_turn().await;
        }
    }

    /// Learns whom other processes have marked, and what they have switched.
    pub(super) async fn refresh_marks(&self) -> Result<(), Box<dyn Error + Send + Sync>> {
        let Parts { database, care, .. } = &*self.0;
        care.marks.refresh(database).await?;
        let switches = store::switches(&mut database.reader(Urgency::General).await?, &care.switches).await?;
        self.audit_ended(&switches).await?;
        Ok(())
    }

    /// Has those of `switches` audited that have ended by themselves.
    async fn audit_ended(&self, switches: &Switches) -> Result<(), Box<dyn Error + Send + Sync>> {
        let now_ms = self.0.clock.now_ms();
        let ended = store::ended_by_itself(switches, now_ms);
        let mut audited = self.0.ended.lock().await;
        if ended != *audited {
            *audited = store::audit_ended(&self.0.database, now_ms).await?;
        }
        Ok(())
    }

    /// Learns who is in a high-risk period by what other processes know.
    pub(super) async fn refresh_at_risk(&self) -> Result<(), Box<dyn Error + Send + Sync>> {
        let Parts { database, care, .. } = &*self.0;
        Ok(care.marks.refresh_at_risk(database, &care.definitions).await?)
    }

    async fn catch_up_in_turn(&self) {
        let memory = &self.0.care.switches;
        while let Some((name, switching, at_ms)) = memory.first_unrecorded() {
            // What has come to its end meanwhile is recorded too: it was so.
            let Parts { database, care, .. } = &*self.0;
            let recording = store::switch_late(database, &care.switches, name, switching, at_ms);
            if !matches!(timeout(DATABASE_TIMEOUT, recording).await, Ok(Ok(()))) {
                return;
            }
            memory.recorded();
            tracing::warn!(switch = name.name(), "what was switched without the database is recorded now");
        }
    }

    async fn record(
        &self,
        name: SwitchName,
        switching: Switching,
        at_ms: UnixMs,
    ) -> Result<Option<Switch>, Box<dyn Error + Send + Sync>> {
        let Parts { database, care, .. } = &*self.0;
        let switching = store::switch(database, &care.switches, name, switching, at_ms);
        Ok(timeout(DATABASE_TIMEOUT, switching).await??)
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
        // One after the other, so that what is recorded later is not what was said earlier.
        let _turn = self.0.switching.lock().await;
        self.catch_up_in_turn().await;
        let now_ms = self.0.clock.now_ms();
        let is_on = matches!(switching, Switching::On(..));
        let memory = &self.0.care.switches;
        let recorded = match memory.first_unrecorded() {
            None => self.record(name, switching.clone(), now_ms).await,
            Some(_) => Err("what was switched before is not recorded yet".into()),
        };
        let (switch, recorded) = match recorded {
            Ok(switch) => (switch, true),
            Err(error) => {
                tracing::error!(
                    error = &*error as &(dyn Error + 'static),
                    switch = name.name(),
                    "the database does not take a switch; it is switched in this process alone until it does"
                );
                (memory.switch_unrecorded(name, switching, now_ms), false)
            }
        };
        if is_on {
            // It is told of at once, however seldom figures are looked at.
            self.0.care.alert_sink.ask_for_a_look();
        }
        let reason = switch.as_ref().map_or("", |switch| switch.reason.as_str());
        alerted(if is_on { "switched_on" } else { "switched_off" }, name.name(), reason, switch.as_ref());
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
