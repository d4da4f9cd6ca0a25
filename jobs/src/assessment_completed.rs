//! `assessment.completed`: the rules say whether the result is a crisis.

use async_trait::async_trait;
use keepwell_workers::{
    database::Transaction,
    handler::{ApplyError, Handler, Prepared},
    job::Job,
    outcome::Outcome,
    policy::Policy,
};

use crate::{
    Care,
    care::crisis::{Signal as CrisisSignal, Source, signal_time_ms},
    event::unreadable,
    kinds,
    signal::{Signal, assessment, instant},
    store::taught,
};

/// Learns of an assessment.
pub(crate) struct AssessmentCompleted(pub(crate) Care);

#[async_trait]
impl Handler for AssessmentCompleted {
    fn kind(&self) -> &'static str {
        kinds::ASSESSMENT_COMPLETED
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
        // A result that is no crisis leaves nothing behind: scores are not ours to keep.
        let Some(severity) = assessment(signal.data).crisis() else { return Ok(Outcome::Done) };
        let [completed_at] = signal.data.fields(["completed_at"]);
        let stated_ms = completed_at.and_then(instant).or(signal.stated_ms);
        let crisis = CrisisSignal {
            source: Source::Assessment,
            severity,
            at_ms: signal_time_ms(stated_ms, job.created_ms),
            only_in_crisis: false,
        };
        taught(transaction, &signal.customer, &self.0, |facts| {
            facts.signalled(job.id.to_string(), crisis, job.created_ms);
        })
        .await?;
        Ok(Outcome::Done)
    }
}
