//! `security.threat` and `tool.failed`: system crisis factors. Outside a crisis a threat changes nothing, and a failing
//! tool begins a short grace period.

use async_trait::async_trait;
use keepwell_workers::{
    database::Transaction,
    handler::{ApplyError, Handler, Prepared},
    job::Job,
    outcome::Outcome,
};

use crate::{Care, care::crisis::signal_time_ms, event::unreadable, kinds, signal::Signal, store::taught};

/// Learns of a threat or a failing tool.
pub(crate) struct SafetyEvent(pub(crate) Care);

#[async_trait]
impl Handler for SafetyEvent {
    fn kind(&self) -> &'static str {
        kinds::SAFETY_EVENT
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
        let at_ms = signal_time_ms(signal.stated_ms, job.created_ms);
        let failed = signal.signal_type == "tool.failed";
        taught(transaction, &signal.customer, &self.0, |facts| {
            let id = job.id.to_string();
            if failed {
                facts.system_failed(id, at_ms, job.created_ms);
            } else {
                facts.threatened(id, at_ms, job.created_ms);
            }
        })
        .await?;
        Ok(Outcome::Done)
    }
}
