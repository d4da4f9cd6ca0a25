//! What is done for the trail beside the work: sealing, looking through it, letting go, writing down what was refused,
//! and rotating keys.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use keepwell_jobs::store::{
    audit::{Actor, AuditEntry, AuditError, Sealer, prune},
    forget,
    reports::{ReportsKept, forget_reports},
    rotation::Step,
};
use serde_json::{Map, Value, json};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use super::{Trail, inspection::Inspection, waiting::KEY_UNKNOWN_MAX};
use crate::{
    api::instant::rfc3339,
    receiver::{incidents::Incident, stats::ReceiverStats},
    telemetry::Metrics,
};

/// Between two rounds of sealing.
const SEAL_EVERY: Duration = Duration::from_secs(1);

/// Between two entries about what was refused.
const INCIDENTS_EVERY: Duration = Duration::from_secs(60);

/// Between two times of letting go.
const PRUNE_EVERY: Duration = Duration::from_secs(3_600);

/// Transactions in which something is let go between two rounds of sealing. Each takes eight blocks, so that as many
/// can leave as a round of sealing makes at most.
const PRUNE_BATCHES_MAX: usize = 8;

/// Between two looks whether a rotation of keys was asked for, perhaps of another process.
const ROTATION_EVERY: Duration = Duration::from_secs(1);

/// For how long nobody may be able to say whether all of the trail is there before that is worth a warning. Our
/// number.
const UNSEEN_MAX: Duration = Duration::from_secs(60);

/// Removed entries that wait to be acknowledged and are remembered; if there are more, the process says until it ends
/// that the trail is broken. Our number.
const MISSED_MAX: usize = 1_000;

/// What is known of what this process has written.
#[derive(Debug, Default)]
struct Own {
    /// The fingerprints of what tells of those that were removed, until somebody has acknowledged them.
    missed: BTreeSet<String>,
    /// There were more than are remembered.
    missed_more: bool,
    /// Since when nobody can look, and whether that was told.
    unseen: Option<(Instant, bool)>,
}

impl Own {
    /// Remembers what tells of removed entries.
    fn misses(&mut self, fingerprints: Vec<String>) {
        let room = MISSED_MAX.saturating_sub(self.missed.len());
        self.missed_more |= fingerprints.len() > room;
        self.missed.extend(fingerprints.into_iter().take(room));
    }

    /// Whether everything is there, or somebody has looked into why it is not.
    fn is_whole(&self) -> bool {
        self.missed.is_empty() && !self.missed_more
    }

    /// Nobody can look at `now`; says whether that is to be told, which is once.
    fn is_worth_a_warning(&mut self, now: Instant) -> bool {
        let (since, told) = self.unseen.get_or_insert((now, false));
        let is_news = !*told && now.duration_since(*since) >= UNSEEN_MAX;
        *told |= is_news;
        is_news
    }
}

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
    /// For how long reports are kept.
    pub reports: ReportsKept,
    /// Whether this process seals, lets go and rotates.
    pub works: bool,
}

impl Keeper {
    /// Runs until `stop`, which comes when nobody else writes any more; then writes and seals what is left.
    pub async fn run(self, stop: CancellationToken) {
        let Self { trail, .. } = &self;
        let mut sealer = Sealer::new(trail.database.clone(), trail.keys.clone(), trail.clock.clone());
        let mut rounds = interval(SEAL_EVERY);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut noted, mut prune_at) = (Instant::now(), Instant::now());
        let (mut stopping, mut told, mut own) = (false, false, Own::default());
        let (mut inspection, mut key_unknown_since) = (Inspection::new(), None);
        // What is written before the first look may be gone with a life of the server's that nobody has seen.
        self.look_after(&mut own).await;
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
                // Whoever seals says whether the trail is whole; here is only known what of one's own is missing.
                if self.look_after(&mut own).await {
                    self.metrics.audit_works();
                }
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
            let works = self.seal(&mut sealer, &mut key_unknown_since).await;
            let kept = self.look_after(&mut own).await;
            if stopping {
                if !kept {
                    // What tells of it is to be in a block as well.
                    self.seal(&mut sealer, &mut key_unknown_since).await;
                }
                break;
            }
            inspection.step(trail).await;
            self.metrics.audit_acknowledged(inspection.acknowledged());
            if works && kept && inspection.is_whole() {
                self.metrics.audit_works();
            } else {
                self.metrics.audit_failed();
            }
            if Instant::now() >= prune_at {
                let more = self.prune().await | self.forget().await | self.forget_reports().await;
                prune_at = Instant::now() + if more { SEAL_EVERY } else { PRUNE_EVERY };
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

    /// Seals what is there; says whether that is as it should be.
    async fn seal(&self, sealer: &mut Sealer, key_unknown_since: &mut Option<Instant>) -> bool {
        let noted = match self.trail.witness.read() {
            Ok(noted) => noted,
            Err(error) => {
                // Sealing could hide that the tail was cut off. The work goes on, and what it writes is sealed later.
                self.complain(
                    &error,
                    "the noted end of the audit trail cannot be read, so nothing is sealed",
                );
                return false;
            }
        };
        let round = match &noted {
            Some(noted) => sealer.round_behind(noted).await,
            None => sealer.round().await,
        };
        let round = match round {
            Ok(round) => round,
            Err(AuditError::KeyUnknown(key)) => return is_waiting_for(&key, key_unknown_since),
            Err(error) => {
                self.complain(&error, "the audit trail cannot be sealed");
                return false;
            }
        };
        self.metrics.audit_sealed(round.entries as u64);
        // Whoever sealed it: each process notes how far it knows the chain.
        if round.end.block > 0
            && noted.is_none_or(|noted| noted != round.end)
            && let Err(error) = self.trail.witness.note(&round.end)
        {
            tracing::warn!(%error, "the end of the audit trail cannot be noted in the state directory");
        }
        if let Some(entry) = round.forged {
            let forged = std::io::Error::other(format!("entry {entry} is not as keepwell wrote it"));
            self.complain(&forged, "somebody wrote into the audit trail; what is not genuine is not sealed");
            return false;
        }
        let Some(key) = round.key_unknown else {
            *key_unknown_since = None;
            return true;
        };
        is_waiting_for(&key, key_unknown_since)
    }

    /// Looks whether what was written is still there and is in a block in time; says whether it is.
    async fn look_after(&self, own: &mut Own) -> bool {
        let looked = self.trail.look_after(self.works).await;
        if looked.is_ok() {
            own.unseen = None;
        }
        match looked {
            Ok(missed) if missed.is_empty() => {}
            Ok(missed) => {
                let entries = missed.len();
                own.misses(missed);
                self.metrics.audit_failed();
                tracing::error!(
                    entries,
                    "entries of the audit trail are gone before they were in a block; \
                     `keepwell audit list --action audit` says which"
                );
            }
            Err(error) => {
                let error = &*error as &(dyn std::error::Error + 'static);
                if own.is_worth_a_warning(Instant::now()) {
                    tracing::warn!(
                        error,
                        "for a minute nobody could say whether all of the audit trail is there"
                    );
                } else {
                    tracing::debug!(error, "nobody can say now whether all of the audit trail is there");
                }
            }
        }
        if !own.missed.is_empty()
            && let Ok(acknowledged) = self.trail.acknowledged_of(&own.missed).await
        {
            own.missed.retain(|missed| !acknowledged.contains(missed));
        }
        let late = self.trail.waits_too_long();
        if let Some(late) = &late {
            let unsealed = std::io::Error::other(late.detail.to_string());
            self.complain(&unsealed, "the audit trail is not sealed; `keepwell audit verify` says more");
        }
        own.is_whole() && late.is_none()
    }

    /// Said once, not every second.
    fn complain(&self, error: &(dyn std::error::Error + 'static), message: &'static str) {
        if self.metrics.audit_failed() {
            tracing::error!(error, "{message}");
        }
    }

    /// Lets go what is old enough; says whether there is more of it.
    async fn prune(&self) -> bool {
        for _ in 0..PRUNE_BATCHES_MAX {
            let Trail { database, keys, clock, .. } = &self.trail;
            match prune(database, keys, self.keep_ms, clock.now_ms()).await {
                Ok(0) => return false,
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, "the audit trail could not let go what is old enough");
                    return false;
                }
            }
        }
        true
    }

    /// The same of what is noted beside the trail.
    async fn forget(&self) -> bool {
        for _ in 0..PRUNE_BATCHES_MAX {
            let now_ms = self.trail.clock.now_ms();
            match forget(&self.trail.database, now_ms - self.keep_ms, now_ms).await {
                Ok(true) => {}
                Ok(false) => return false,
                Err(error) => {
                    tracing::warn!(%error, "what is noted of crises long past could not be forgotten");
                    return false;
                }
            }
        }
        true
    }

    /// The same of reports.
    async fn forget_reports(&self) -> bool {
        let now_ms = self.trail.clock.now_ms();
        forget_reports(&self.trail.database, self.reports, now_ms).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "reports that are old enough could not be let go");
            false
        })
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

/// Whether it is still in order that this process does not have `key`.
fn is_waiting_for(key: &str, since: &mut Option<Instant>) -> bool {
    if since.is_none() {
        tracing::warn!(
            key,
            "a key that the audit trail is sealed with is not in the key ring; others may have it"
        );
    }
    since.get_or_insert_with(Instant::now).elapsed() < KEY_UNKNOWN_MAX
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn that_nobody_can_look_is_told_after_a_minute_and_once() {
        let (mut own, begin) = (Own::default(), Instant::now());
        let mut told = |seconds| own.is_worth_a_warning(begin + Duration::from_secs(seconds));
        assert_eq!([0, 59, 60, 61, 999].map(&mut told), [false, false, true, false, false]);
        own.unseen = None;
        assert!(!own.is_worth_a_warning(begin + Duration::from_secs(1_000)), "it could meanwhile");
    }
}
