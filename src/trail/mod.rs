//! The audit trail as the daemon uses it: what operators do and what was refused is written here, and [`keeper`] seals
//! it, lets go what is old enough, and seals everything again when keys are rotated. What the trail is made of is in
//! `jobs/src/store/audit/`.

pub(crate) mod configuration;
mod inspection;
pub mod keeper;
mod readers;
mod reports;
pub(crate) mod restoration;
mod waiting;
mod witness;

use std::{
    collections::BTreeSet,
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use keepwell_jobs::store::{
    audit::{
        self, Actor, AuditEntry, AuditFilter, AuditPage, ChainEnd, ExportError, ExportPage, Finding, Problem,
        Report, Verifier,
    },
    backups::is_of_trail,
    rotation::{KeyUse, Progress, Rotation, key_use},
};
use keepwell_workers::{
    clock::{SharedClock, UnixMs},
    database::{Database, Dialect, Durability, Note, Transaction, turn::Urgency},
    handler::ApplyError,
    id::JobId,
    seal::KeyRing,
};
use serde_json::json;
use tokio::time::Instant;

use readers::Readers;
use waiting::Waiting;
use witness::Witness;

/// How long copying the database and looking through the copy may take, in milliseconds: a day.
const COPIED_WITHIN_MS: i64 = 24 * 60 * 60 * 1_000;

/// Why the trail could not be asked or written.
pub type TrailError = Box<dyn std::error::Error + Send + Sync>;

/// The trail in one database. Cheap to clone.
#[derive(Clone)]
pub struct Trail {
    database: Database,
    keys: KeyRing,
    clock: SharedClock,
    witness: Arc<Witness>,
    readers: Arc<Readers>,
    waiting: Arc<Waiting>,
    state_dir: PathBuf,
}

impl Trail {
    /// The trail in `database`, its details sealed with `keys`; the end of its chain is noted in `state_dir`.
    pub fn new(database: Database, keys: KeyRing, clock: SharedClock, state_dir: &Path) -> Self {
        let witness = Arc::new(Witness::in_directory(state_dir));
        let (readers, waiting, state_dir) = (Arc::default(), Arc::default(), state_dir.to_owned());
        Self { database, keys, clock, witness, readers, waiting, state_dir }
    }

    /// What time it is.
    pub fn now_ms(&self) -> UnixMs {
        self.clock.now_ms()
    }

    /// Writes `entry` in a transaction of its own; it is on disk when this returns.
    pub async fn record(&self, entry: &AuditEntry) -> Result<(), TrailError> {
        self.record_all(std::slice::from_ref(entry)).await
    }

    /// Writes `entries` in one transaction.
    pub(crate) async fn record_all(&self, entries: &[AuditEntry]) -> Result<(), TrailError> {
        let now_ms = self.clock.now_ms();
        let mut transaction = self.database.begin(Urgency::General, Durability::Durable, now_ms).await?;
        for entry in entries {
            audit::append(&mut transaction, entry).await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// Writes `entries` in one transaction. Of those with a name, there is one for each name and instant, however many
    /// processes write it.
    pub(crate) async fn record_once(
        &self,
        entries: &[(AuditEntry, Option<String>)],
    ) -> Result<(), TrailError> {
        let now_ms = self.clock.now_ms();
        let mut transaction = self.database.begin(Urgency::General, Durability::Durable, now_ms).await?;
        for (entry, name) in entries {
            match name {
                Some(name) => _ = audit::append_once(&mut transaction, entry, name).await?,
                None => audit::append(&mut transaction, entry).await?,
            }
        }
        transaction.commit().await?;
        Ok(())
    }

    /// Writes `entry` about somebody who reads what matches `filter`, unless one about the same reading is young.
    pub async fn record_reading(&self, entry: &AuditEntry, filter: &AuditFilter) -> Result<(), TrailError> {
        let (name, now_ms) = (entry.actor.name(), self.clock.now_ms());
        if self.readers.is_news(name, filter, now_ms) {
            self.record(entry).await?;
            self.readers.told(name, filter, now_ms);
        }
        Ok(())
    }

    /// A page of entries, newest first.
    pub async fn list(
        &self,
        filter: &AuditFilter,
        cursor: Option<JobId>,
        limit: u32,
    ) -> Result<AuditPage, TrailError> {
        Ok(audit::list(&self.database, &self.keys, filter, cursor, limit).await?)
    }

    /// Whether a copy of the database whose trail ends with `end` may have been made of this database just now. Nobody
    /// looks through a copy of PostgreSQL.
    pub(crate) async fn has_end(&self, end: &ChainEnd) -> Result<bool, TrailError> {
        let is_sqlite = self.database.dialect() == Dialect::Sqlite;
        Ok(is_sqlite && is_of_trail(&self.database, end, self.clock.now_ms() - COPIED_WITHIN_MS).await?)
    }

    /// Looks through up to `blocks_max` blocks from number `from` on.
    pub async fn verify(&self, from: Option<i64>, blocks_max: i64) -> Result<Report, TrailError> {
        let witness = self.witness.read();
        let verifier = Verifier::new(self.database.clone(), self.keys.clone());
        let noted = witness.as_ref().ok().and_then(Option::as_ref);
        let mut report = verifier.page(from, blocks_max, noted, self.clock.now_ms()).await?;
        if let Err(error) = witness {
            let detail = format!("the end of the chain that was noted in the state directory: {error}");
            report.findings.add(Finding::anywhere(Problem::NoteUnreadable, detail));
        }
        if report.next.is_none() {
            self.waiting.too_long(Instant::now()).into_iter().for_each(|late| report.findings.add(late));
        }
        Ok(report)
    }

    /// Looks whether what this process wrote is still there, and which entries wait in front of all others for their
    /// block. Of each entry that somebody has removed and that was in none another entry tells: answers the
    /// fingerprints of what these are found as. Who `seals` waits for none of the keys of its own ring.
    pub(crate) async fn look_after(&self, seals: bool) -> Result<Vec<String>, TrailError> {
        let waits = audit::waits_first(&self.database, &self.keys, seals).await;
        // While the database is away nothing can be said to wait.
        self.waiting.saw(waits.as_ref().ok().cloned().unwrap_or_default(), Instant::now());
        waits?;
        Ok(audit::tell_of_missing(&self.database, self.clock.now_ms()).await?)
    }

    /// Acknowledges a finding of the piece of the trail from block `from` on: writes `reason` down as an entry of
    /// `actor`, if something there is found that has this `fingerprint`. Only what is there can be acknowledged, or
    /// somebody could do so before they alter something.
    pub(crate) async fn acknowledge(
        &self,
        fingerprint: &str,
        (from, blocks_max): (Option<i64>, i64),
        actor: Actor,
        reason: &str,
    ) -> Result<Acknowledging, TrailError> {
        let findings = self.verify(from, blocks_max).await?.findings;
        // What nobody can acknowledge has none.
        let is_meant = |finding: &&Finding| !fingerprint.is_empty() && finding.fingerprint == fingerprint;
        if let Some(known) = findings.acknowledged.iter().find(is_meant) {
            return Ok(Acknowledging::Before(known.clone()));
        }
        let Some(finding) = findings.named().find(is_meant) else { return Ok(Acknowledging::Unknown) };
        let entry = audit::acknowledgement(finding, actor, reason, self.clock.now_ms());
        self.record(&entry).await?;
        Ok(Acknowledging::Now(finding.clone()))
    }

    /// Which of `fingerprints` somebody has acknowledged.
    async fn acknowledged_of(&self, fingerprints: &BTreeSet<String>) -> Result<BTreeSet<String>, TrailError> {
        Ok(audit::acknowledged_of(&self.database, &self.keys, fingerprints).await?)
    }

    /// What is wrong with how long entries have been in no block.
    fn waits_too_long(&self) -> Option<Finding> {
        self.waiting.too_long(Instant::now())
    }

    /// The key that entries wait for, so that whoever seals can seal them too.
    pub fn awaited_key(&self) -> Option<String> {
        self.waiting.key()
    }

    /// A piece of an export, behind `cursor`.
    pub async fn export(
        &self,
        filter: &AuditFilter,
        cursor: Option<&str>,
    ) -> Result<ExportPage, ExportError> {
        audit::export(&self.database, &self.keys, filter, cursor, self.clock.now_ms()).await
    }

    /// Begins to seal everything with the first key.
    pub async fn rotate_keys(&self, operator: &str) -> Result<Progress, TrailError> {
        Ok(self.rotation().start(operator).await?)
    }

    /// Which keys have sealed what, and how far the last rotation has come.
    pub async fn keys(&self) -> Result<KeysView, TrailError> {
        Ok(KeysView {
            ring: self.keys.ids().map(str::to_owned).collect(),
            used: key_use(&self.database).await?,
            rotation: self.rotation().progress().await?,
        })
    }

    /// How far the last rotation has come.
    pub async fn rotation_progress(&self) -> Result<Option<Progress>, TrailError> {
        Ok(self.rotation().progress().await?)
    }

    fn rotation(&self) -> Rotation {
        Rotation::new(self.database.clone(), self.keys.clone(), self.clock.clone())
    }
}

/// What acknowledging a finding came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Acknowledging {
    /// It is acknowledged from now on.
    Now(Finding),
    /// It was already: it says by whom.
    Before(Finding),
    /// Nothing with that fingerprint is found there.
    Unknown,
}

/// The keys of the ring and what they have sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeysView {
    /// The ids of the ring's keys, the one that seals first.
    pub ring: Vec<String>,
    /// What each key has sealed, those that are in no ring any more included.
    pub used: Vec<KeyUse>,
    /// The last rotation.
    pub rotation: Option<Progress>,
}

impl fmt::Debug for Trail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trail").field("witness", &self.witness).finish_non_exhaustive()
    }
}

/// An entry to be written together with an effect, with how many jobs that changed.
#[derive(Debug)]
pub struct EntryNote(pub AuditEntry);

#[async_trait]
impl Note for EntryNote {
    async fn write(&self, transaction: &mut Transaction, changed: u64) -> Result<(), ApplyError> {
        let mut entry = self.0.clone();
        let after = entry.after.get_or_insert_with(|| json!({}));
        if let Some(after) = after.as_object_mut() {
            after.insert("jobs".to_owned(), changed.into());
        }
        audit::append(transaction, &entry).await
    }
}

/// An entry to be written together with an effect, as it is.
#[derive(Debug)]
pub struct PlainNote(pub AuditEntry);

#[async_trait]
impl Note for PlainNote {
    async fn write(&self, transaction: &mut Transaction, _: u64) -> Result<(), ApplyError> {
        audit::append(transaction, &self.0).await
    }
}
