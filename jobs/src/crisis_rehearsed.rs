//! A rehearsal: a crisis of nobody goes the way that everybody's goes, and leaves nothing behind but its job.

use async_trait::async_trait;
use keepwell_workers::{
    database::Transaction,
    handler::{ApplyError, Handler, Prepared},
    job::{Job, NewJob},
    lane::Lane,
    outcome::Outcome,
    policy::Policy,
};

use crate::{Care, care::severity::EmergencyLevel, kinds, store::rehearsed};

/// The job that rehearses a crisis.
pub fn rehearsal() -> NewJob {
    NewJob::new(kinds::CRISIS_REHEARSED, Lane::Crisis, "{}")
}

/// Rehearses a crisis.
pub(crate) struct CrisisRehearsed(pub(crate) Care);

#[async_trait]
impl Handler for CrisisRehearsed {
    fn kind(&self) -> &'static str {
        kinds::CRISIS_REHEARSED
    }

    fn policy(&self) -> Policy {
        // Whoever rehearses wants to know, and asks again.
        Policy { attempts_max: 1, ..Policy::CRISIS }
    }

    async fn apply(
        &self,
        job: &Job,
        _: &Prepared,
        transaction: &mut Transaction,
    ) -> Result<Outcome, ApplyError> {
        let document = rehearsed(transaction, &self.0, &format!("keepwell:rehearsal:{}", job.id)).await?;
        let full = document.emergency.level == Some(EmergencyLevel::Full.name());
        let has = |feature: &String| document.features.enabled.contains(feature);
        if full && document.crisis.active && document.grace.active && self.0.tiers.floor().iter().all(has) {
            Ok(Outcome::Done)
        } else {
            Ok(Outcome::dead("a rehearsed crisis opened too little"))
        }
    }
}
