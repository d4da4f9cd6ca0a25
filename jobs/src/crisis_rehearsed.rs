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

/// Whom canaries concern: nobody. By it the ledger finds those that it need not keep.
pub const CANARY_SUBJECT: &str = "keepwell:canary";

/// The job that rehearses a crisis.
pub fn rehearsal() -> NewJob {
    NewJob::new(kinds::CRISIS_REHEARSED, Lane::Crisis, "{}")
}

/// The same for whoever rehearses all the time.
pub fn canary() -> NewJob {
    NewJob::new(kinds::CRISIS_CANARY, Lane::Crisis, "{}").subject(CANARY_SUBJECT)
}

/// Rehearses a crisis.
pub(crate) struct CrisisRehearsed {
    kind: &'static str,
    care: Care,
}

impl CrisisRehearsed {
    /// For jobs of `kind`.
    pub(crate) fn new(kind: &'static str, care: &Care) -> Self {
        Self { kind, care: care.clone() }
    }
}

#[async_trait]
impl Handler for CrisisRehearsed {
    fn kind(&self) -> &'static str {
        self.kind
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
        let document = rehearsed(transaction, &self.care, &format!("keepwell:rehearsal:{}", job.id)).await?;
        let full = document.emergency.level == Some(EmergencyLevel::Full.name());
        let has = |feature: &String| document.features.enabled.contains(feature);
        if full && document.crisis.active && document.grace.active && self.care.tiers.floor().iter().all(has)
        {
            Ok(Outcome::Done)
        } else {
            Ok(Outcome::dead("a rehearsed crisis opened too little"))
        }
    }
}
