//! `crisis.resolved`: somebody says that a crisis is over.

use async_trait::async_trait;
use keepwell_workers::{
    database::Transaction,
    handler::{ApplyError, Handler, Prepared},
    job::Job,
    outcome::Outcome,
    policy::Policy,
};

use crate::{Care, care::crisis::resolved_time_ms, event::unreadable, kinds, signal::Signal, store::taught};

/// Learns that a crisis is over.
pub(crate) struct CrisisResolved(pub(crate) Care);

#[async_trait]
impl Handler for CrisisResolved {
    fn kind(&self) -> &'static str {
        kinds::CRISIS_RESOLVED
    }

    fn policy(&self) -> Policy {
        Policy::CRISIS
    }

    async fn apply(
        &self,
        job: &Job,
        _: &Prepared,
        transaction: &mut Transaction,
    ) -> Result<Outcome, ApplyError> {
        let signal = match Signal::parse(&job.payload) {
            Ok(signal) => signal,
            Err(error) => return Ok(unreadable(error)),
        };
        let resolved_ms = resolved_time_ms(signal.stated_ms, job.created_ms);
        taught(transaction, &signal.customer, &self.0, |facts| {
            facts.crisis_resolved(resolved_ms, job.created_ms);
        })
        .await?;
        Ok(Outcome::Done)
    }
}
