//! Who was granted the basic set from memory, because a crisis could not be recorded or nothing will answer it. The log
//! names nobody, and what was not recorded is in no ledger, so the audit trail says who it was, as soon as the database
//! takes it.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use keepwell_jobs::{
    care::{document::UtcTime, emergency::Granted, severity::Severity},
    store::audit::{Actor, AuditEntry},
    watch::WATCHED_MAX,
};
use keepwell_workers::{clock::UnixMs, id::JobId, ledger::Ledger, state::State};
use serde_json::json;
use tokio::time::timeout;

use crate::trail::{Trail, TrailError};

/// How long the trail may take for [`ENTRIES_AT_ONCE`].
const TRAIL_TIMEOUT: Duration = Duration::from_secs(2);

/// Entries that are written in one transaction.
const ENTRIES_AT_ONCE: usize = 16;

/// Who is not in the trail yet. Cheap to clone; clones share it.
#[derive(Clone, Default)]
pub(super) struct GrantedFromMemory(Arc<Mutex<BTreeMap<Key, Grant>>>);

/// Whose crisis, and the job that is dead; without one, it could not be recorded. However often a sender tries again
/// while the database is away, it is one entry.
type Key = (String, Option<JobId>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Grant {
    granted: Granted,
    severity: Severity,
    /// When it was granted first.
    at_ms: UnixMs,
    times: u64,
}

impl GrantedFromMemory {
    /// `customer` was granted `granted` at `now_ms`, because nothing will answer the crisis that `job` tells of, or
    /// because it could not be recorded.
    pub(super) fn put(
        &self,
        customer: &str,
        job: Option<JobId>,
        severity: Severity,
        granted: Granted,
        now_ms: UnixMs,
    ) {
        self.merge((customer.to_owned(), job), Grant { granted, severity, at_ms: now_ms, times: 1 });
    }

    /// Writes who they are into `trail`; of whose job is dead, as `ledger` knows it, one entry for each death, however
    /// many processes find it. What the trail does not take is tried again the next time.
    pub(super) async fn record(&self, trail: &Trail, ledger: &Ledger) {
        loop {
            let grants = self.take();
            if grants.is_empty() {
                return;
            }
            let writing = async {
                let mut entries = Vec::with_capacity(grants.len());
                for (key, grant) in &grants {
                    entries.push(entry(key, grant, died_ms(ledger, key.1).await?));
                }
                trail.record_once(&entries).await
            };
            if !matches!(timeout(TRAIL_TIMEOUT, writing).await, Ok(Ok(()))) {
                tracing::debug!(
                    "who was granted the basic set from memory cannot be written to the trail now"
                );
                return grants.into_iter().for_each(|(key, grant)| self.merge(key, grant));
            }
        }
    }

    fn take(&self) -> Vec<(Key, Grant)> {
        let mut waiting = self.lock();
        std::iter::from_fn(|| waiting.pop_first()).take(ENTRIES_AT_ONCE).collect()
    }

    fn merge(&self, key: Key, grant: Grant) {
        let mut waiting = self.lock();
        let count = waiting.len();
        match waiting.entry(key) {
            Entry::Occupied(mut known) => {
                let known = known.get_mut();
                known.granted.until_ms = known.granted.until_ms.max(grant.granted.until_ms);
                known.granted.level = known.granted.level.max(grant.granted.level);
                known.severity = known.severity.max(grant.severity);
                known.at_ms = known.at_ms.min(grant.at_ms);
                known.times = known.times.saturating_add(grant.times);
            }
            // For more than are watched nothing is granted either.
            Entry::Vacant(_) if count >= WATCHED_MAX => {
                tracing::error!(
                    "who was granted the basic set from memory is not audited: too many wait for that"
                );
            }
            Entry::Vacant(place) => _ = place.insert(grant),
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Key, Grant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When `job` died, as the ledger and so every process knows it; `None` if it is not dead, or not any more.
async fn died_ms(ledger: &Ledger, job: Option<JobId>) -> Result<Option<UnixMs>, TrailError> {
    let Some(job) = job else { return Ok(None) };
    let shown = ledger.show(job).await?;
    Ok(shown.filter(|(view, _)| view.state == State::Dead).and_then(|(view, _)| view.finished_at_ms))
}

/// The entry of a grant, and what it is called if it is about a death.
fn entry((customer, job): &Key, grant: &Grant, died_ms: Option<UnixMs>) -> (AuditEntry, Option<String>) {
    let Grant { granted, severity, at_ms, times } = *grant;
    let name = job.zip(died_ms).map(|(job, died_ms)| format!("granted from memory {job} {died_ms}"));
    let reason = if job.is_some() {
        "nothing will answer a crisis, unless its job is run again"
    } else {
        "a crisis could not be recorded"
    };
    let entry = AuditEntry {
        at_ms: died_ms.unwrap_or(at_ms),
        actor: Actor::System { job: "watch over crises".to_owned() },
        action: "crisis.granted_from_memory",
        subject: Some(customer.clone()),
        reason: reason.to_owned(),
        before: None,
        after: Some(json!({
            "job": job.map(|job| job.to_string()),
            "severity": severity.name(),
            "level": granted.level.name(),
            "until": UtcTime(granted.until_ms),
            "times": times,
        })),
    };
    (entry, name)
}

#[cfg(test)]
mod tests {
    use keepwell_jobs::{care::severity::EmergencyLevel, migrations, store::audit::AuditFilter};
    use keepwell_workers::{
        clock::ManualClock,
        database::{Database, DatabaseOptions},
        handler::Registry,
        ledger,
        seal::{KeyRing, SealingKey},
    };
    use zeroize::Zeroizing;

    use super::*;

    const NOW_MS: UnixMs = 1_700_000_000_000;

    fn granted(until_ms: UnixMs) -> Granted {
        Granted { level: EmergencyLevel::CrisisOnly, since_ms: NOW_MS, until_ms }
    }

    #[tokio::test]
    async fn who_was_granted_something_is_in_the_trail_once_the_database_takes_it() {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", directory.path().join("keepwell.db").display());
        let keys = KeyRing::new(SealingKey::new("test", &Zeroizing::new([7; 32])), []);
        let database = Database::connect(&url, &DatabaseOptions::default()).await.unwrap();
        let trail = Trail::new(
            database.clone().sealing_with(keys.clone()),
            keys.clone(),
            ManualClock::at(NOW_MS),
            directory.path(),
        );
        let ledger = Ledger::new(database.clone(), keys.clone(), ManualClock::at(NOW_MS), Registry::new([]));
        let waiting = GrantedFromMemory::default();
        let job = JobId::new(NOW_MS);
        waiting.put("cus_1", None, Severity::High, granted(NOW_MS + 10), NOW_MS);
        waiting.put("cus_2", Some(job), Severity::Critical, granted(NOW_MS + 20), NOW_MS);
        // Without its tables it takes nothing, and the sender tries again meanwhile.
        waiting.record(&trail, &ledger).await;
        waiting.put("cus_1", None, Severity::Moderate, granted(NOW_MS + 30), NOW_MS + 5);
        assert_eq!(waiting.lock().len(), 2);

        database.migrate(&[ledger::MIGRATIONS, &migrations()].concat()).await.unwrap();
        waiting.record(&trail, &ledger).await;
        waiting.record(&trail, &ledger).await;
        assert!(waiting.lock().is_empty());
        let listed = trail.list(&AuditFilter::default(), None, 10).await.unwrap();
        let told: Vec<String> = listed.items.iter().map(|item| format!("{item:?}")).collect();
        assert_eq!(told.len(), 2, "{told:?}");
        for of in ["cus_1", "cus_2", "crisis.granted_from_memory", "\"times\": Number(2)", &job.to_string()] {
            assert!(told.iter().any(|told| told.contains(of)), "{of} {told:?}");
        }
    }

    #[test]
    fn as_many_wait_as_are_watched() {
        let waiting = GrantedFromMemory::default();
        for number in 0..=WATCHED_MAX {
            waiting.put(&format!("cus_{number}"), None, Severity::High, granted(NOW_MS), NOW_MS);
        }
        assert_eq!(waiting.lock().len(), WATCHED_MAX);
    }
}
