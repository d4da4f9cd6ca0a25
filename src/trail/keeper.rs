//! What is done for the trail beside the work: sealing, letting go, writing down what was refused, and rotating keys.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use keepwell_jobs::store::{
    audit::{Actor, AuditEntry, Sealer, prune},
    forget,
    rotation::Step,
};
use serde_json::{Map, Value, json};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use super::Trail;
use crate::{
    api::instant::rfc3339,
    receiver::{incidents::Incident, stats::ReceiverStats},
    telemetry::Metrics,
};

/// Between two rounds of sealing.
const SEAL_EVERY: Duration = Duration::from_secs(1);

/// Between two entries about what was refused.
const INCIDENTS_EVERY: Duration = Duration::from_secs(60);

/// Between two rounds of letting go.
const PRUNE_EVERY: Duration = Duration::from_secs(3_600);

/// Blocks that are let go in one round, and batches of what is noted beside the trail.
const PRUNE_BATCHES_MAX: usize = 200;

/// Between two looks whether a rotation of keys was asked for, perhaps of another process.
const ROTATION_EVERY: Duration = Duration::from_secs(1);

/// Keeps the trail until `stop`.
#[derive(Debug)]
pub struct Keeper {
    /// The trail.
    pub trail: Trail,
    /// What the receiver refuses.
    pub refused: Arc<ReceiverStats>,
    /// Who is told how it goes.
    pub metrics: Arc<Metrics>,
    /// For how long entries are kept, in milliseconds.
    pub keep_ms: i64,
    /// Whether this process seals, lets go and rotates.
    pub works: bool,
}

impl Keeper {
    /// Runs until `stop`; then writes and seals what is left.
    pub async fn run(self, stop: CancellationToken) {
        let Self { trail, .. } = &self;
        let mut sealer = Sealer::new(trail.database.clone(), trail.keys.clone(), trail.clock.clone());
        let mut rounds = interval(SEAL_EVERY);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut noted, mut pruned) = (Instant::now(), None::<Instant>);
        let (mut stopping, mut told) = (false, false);
        while !stopping {
            tokio::select! {
                _ = rounds.tick() => {}
                () = stop.cancelled() => stopping = true,
            }
            if stopping || noted.elapsed() >= INCIDENTS_EVERY {
                noted = Instant::now();
                self.note_incidents().await;
            }
            if !self.works {
                continue;
            }
            if !told {
                // Before the chain goes on, or nobody could say whether it still ends as it was restored.
                match trail.tell_of_restoration().await {
                    Ok(()) => told = true,
                    Err(error) => {
                        tracing::warn!(%error, "that a backup was restored cannot be written to the trail yet");
                        continue;
                    }
                }
            }
            self.seal(&mut sealer).await;
            if pruned.is_none_or(|at| at.elapsed() >= PRUNE_EVERY) {
                pruned = Some(Instant::now());
                self.prune().await;
                self.forget().await;
            }
        }
    }

    /// Rotates keys whenever that was asked for, until `stop`. Between two batches it rests as long as the last one
    /// took, so that half of the time belongs to everybody else.
    pub async fn rotate(trail: Trail, stop: CancellationToken) {
        let rotation = trail.rotation();
        loop {
            let started = Instant::now();
            let rest = match rotation.step().await {
                Ok(Step::More) => started.elapsed(),
                Ok(Step::Idle | Step::Finished) => ROTATION_EVERY,
                Err(error) => {
                    tracing::warn!(%error, "the rotation of keys cannot go on now");
                    ROTATION_EVERY
                }
            };
            tokio::select! {
                () = sleep(rest) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    async fn seal(&self, sealer: &mut Sealer) {
        let round = match self.trail.witness.read() {
            Some(noted) => sealer.round_behind(&noted).await,
            None => sealer.round().await,
        };
        match round {
            Ok(Some(round)) => {
                self.metrics.audit_sealed(round.entries as u64);
                if let Err(error) = self.trail.witness.note(&round.end) {
                    tracing::warn!(%error, "the end of the audit trail cannot be noted in the state directory");
                }
            }
            Ok(None) => {}
            Err(error) => {
                // Said once, not every second.
                if self.metrics.audit_failed() {
                    let error: &(dyn std::error::Error + 'static) = &error;
                    tracing::error!(error, "the audit trail cannot be sealed");
                }
                return;
            }
        }
        self.metrics.audit_works();
    }

    async fn prune(&self) {
        for _ in 0..PRUNE_BATCHES_MAX {
            let Trail { database, keys, clock, .. } = &self.trail;
            match prune(database, keys, self.keep_ms, clock.now_ms()).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    return tracing::warn!(%error, "the audit trail could not let go what is old enough");
                }
            }
        }
    }

    async fn forget(&self) {
        for _ in 0..PRUNE_BATCHES_MAX {
            let now_ms = self.trail.clock.now_ms();
            match forget(&self.trail.database, now_ms - self.keep_ms, now_ms).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    return tracing::warn!(%error, "what is noted of crises long past could not be forgotten");
                }
            }
        }
    }

    async fn note_incidents(&self) {
        let taken = self.refused.incidents.take();
        if taken.is_empty() {
            return;
        }
        let now_ms = self.trail.clock.now_ms();
        let entries: Vec<AuditEntry> =
            taken.iter().map(|(source, incident)| entry(source, incident, now_ms)).collect();
        if let Err(error) = self.trail.record_all(&entries).await {
            tracing::warn!(error, "what was refused cannot be written to the audit trail yet");
            self.refused.incidents.put_back(taken);
        }
    }
}

fn entry(source: &str, incident: &Incident, now_ms: i64) -> AuditEntry {
    let addresses: BTreeMap<String, u64> =
        incident.addresses.iter().map(|(address, count)| (address.to_string(), *count)).collect();
    let refused: Map<String, Value> =
        incident.refused.iter().map(|(code, count)| ((*code).to_owned(), (*count).into())).collect();
    AuditEntry {
        at_ms: now_ms,
        actor: Actor::Source { name: source.to_owned() },
        action: "security.blocked",
        subject: None,
        reason: "requests that could not prove where they came from were refused".to_owned(),
        before: None,
        after: Some(json!({
            "since": rfc3339(incident.since_ms), "until": rfc3339(incident.until_ms), "refused": refused,
            "addresses": addresses, "from_other_addresses": incident.others,
        })),
    }
}
