//! What operators ask of alerts.

use keepwell_jobs::{
    alerts::{
        plan::{Habits, OpenAlert, Plan, Silence, acknowledge},
        rules,
        sink::AlertSink,
    },
    store::{
        alerts::{AlertChanges, Which, alerts, silences},
        audit::AuditEntry,
    },
};
use keepwell_workers::{
    clock::SharedClock,
    database::Database,
    engine::Engine,
    job::{NewJob, Recorded},
    ledger::FireError,
};

/// The alerts in one database. Cheap enough to clone.
#[derive(Debug, Clone)]
pub struct AlertDesk {
    pub(crate) engine: Engine,
    pub(crate) database: Database,
    pub(crate) clock: SharedClock,
    pub(crate) habits: Habits,
    pub(crate) sink: AlertSink,
}

/// What became of an acknowledgement.
#[derive(Debug, Clone, PartialEq)]
pub enum Acknowledged {
    /// It is acknowledged.
    Now,
    /// It was before, or is over.
    Before,
    /// There is no such alert.
    Unknown,
}

/// What became of a decision.
#[derive(Debug)]
pub(super) enum CarriedOut {
    /// It is done, with these jobs.
    Now(Vec<Recorded>),
    /// Its jobs were there: somebody has decided the same.
    Before,
    /// Somebody else was quicker with something of it. Nothing is kept.
    Raced,
}

impl AlertDesk {
    /// Alerts, and which rules are silenced.
    pub(crate) async fn list(&self, which: &Which) -> Result<(Vec<OpenAlert>, Vec<Silence>), FireError> {
        let alerts = alerts(&self.database, which).await?;
        Ok((alerts, silences(&self.database, self.clock.now_ms()).await?))
    }

    /// The alert `id`.
    pub(crate) async fn find(&self, id: &str) -> Result<Option<OpenAlert>, FireError> {
        Ok(alerts(&self.database, &Which::Id(id.to_owned())).await?.into_iter().next())
    }

    /// `by` takes the alert `id` on; `entry` goes into the audit trail.
    pub async fn acknowledge(
        &self,
        id: &str,
        by: &str,
        entry: AuditEntry,
    ) -> Result<Acknowledged, FireError> {
        let Some(alert) = self.find(id).await? else { return Ok(Acknowledged::Unknown) };
        if alert.acknowledged_ms.is_some() || alert.told.resolved_ms.is_some() {
            return Ok(Acknowledged::Before);
        }
        let Plan { moves, jobs } = acknowledge(&alert, by, &self.habits, self.clock.now_ms());
        let changes = AlertChanges::new(moves).noting(vec![entry]);
        Ok(match self.carry_out(changes, jobs).await? {
            CarriedOut::Now(_) => Acknowledged::Now,
            CarriedOut::Before | CarriedOut::Raced => Acknowledged::Before,
        })
    }

    /// Nobody is told of a rule until `silence` ends; `entry` goes into the audit trail.
    pub(crate) async fn silence(&self, silence: Silence, entry: AuditEntry) -> Result<(), FireError> {
        let changes = AlertChanges::default().silencing(silence).noting(vec![entry]);
        Ok(changes.write_alone(&self.database, self.clock.now_ms()).await?)
    }

    /// Has an alert opened that says it is a test.
    pub(crate) fn test(&self) {
        self.sink.tell(&rules::ALERT_TEST);
    }

    /// Writes `changes` together with the jobs that tell of them, or nothing at all.
    pub(super) async fn carry_out(
        &self,
        changes: AlertChanges,
        jobs: Vec<NewJob>,
    ) -> Result<CarriedOut, FireError> {
        let written = if jobs.is_empty() {
            let written = changes.write_alone(&self.database, self.clock.now_ms()).await;
            written.map(|()| Vec::new()).map_err(FireError::from)
        } else {
            self.engine.enqueue_noting(jobs, &changes).await
        };
        // Without a new job, nothing of `changes` was written with them.
        let is_before = |recorded: &[Recorded]| {
            !changes.is_empty() && !recorded.is_empty() && recorded.iter().all(|job| job.duplicate)
        };
        match written {
            Ok(recorded) if is_before(&recorded) => Ok(CarriedOut::Before),
            Ok(recorded) => Ok(CarriedOut::Now(recorded)),
            Err(_) if changes.raced() => Ok(CarriedOut::Raced),
            Err(error) => Err(error),
        }
    }
}
