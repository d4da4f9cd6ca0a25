//! `assessment.completed`: the rules say whether the result is a crisis, and remember its score for a while, because a
//! rapid rise is one too.

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
    care::assessment::assessed,
    event::unreadable,
    kinds,
    signal::{Signal, assessment, instant},
    store::{self, note_past_signal, take, taught},
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
        let assessment = assessment(signal.data);
        let [completed_at] = signal.data.fields(["completed_at"]);
        let stated_ms = completed_at.and_then(instant).or(signal.stated_ms);
        let id = job.id.to_string();
        let customer = &signal.customer;
        take(transaction, customer).await?;
        let before = store::scores(transaction, &self.0.keys, customer).await?;
        let mut scores = before.clone().unwrap_or_default();
        let (now_ms, mut past, mut active) = (transaction.now_ms(), Vec::new(), false);
        taught(transaction, customer, &self.0, |facts| {
            past = assessed(facts, &mut scores, &id, &assessment, stated_ms, job.created_ms);
            past.retain(|(_, sign)| facts.is_past(sign, now_ms));
            active = facts.crisis(now_ms).is_some();
        })
        .await?;
        for (id, sign) in &past {
            // It opens nothing and is not remembered; that it was told is on record all the same.
            note_past_signal(transaction, &self.0, customer, (id, sign), active)?;
        }
        if before.is_some_and(|before| scores != before) {
            store::keep_scores(transaction, &self.0.keys, customer, &scores).await?;
        }
        Ok(Outcome::Done)
    }
}
