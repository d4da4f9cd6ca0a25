//! `care.grace_due`: a grace period has ended, and is extended or closed; or it ends soon, and the person should know.

use std::time::Duration;

use async_trait::async_trait;
use keepwell_workers::{
    database::Transaction,
    handler::{ApplyError, Handler, Prepared},
    job::Job,
    outcome::Outcome,
};
use serde::Deserialize;

use crate::{
    Care,
    care::occasion::ending_soon,
    follow_ups::message,
    kinds,
    store::{switches_in, taught},
};

/// Sees to the end of a grace period.
pub(crate) struct GraceDue(pub(crate) Care);

#[derive(Deserialize)]
struct Due {
    customer: String,
    ends_ms: i64,
    soon: bool,
}

#[async_trait]
impl Handler for GraceDue {
    fn kind(&self) -> &'static str {
        kinds::GRACE_DUE
    }

    async fn apply(
        &self,
        job: &Job,
        _: &Prepared,
        transaction: &mut Transaction,
    ) -> Result<Outcome, ApplyError> {
        let Ok(due) = serde_json::from_slice::<Due>(&job.payload) else {
            return Ok(Outcome::dead("the job does not say whose grace period ends"));
        };
        let now_ms = transaction.now_ms();
        // Whoever asked for this may have a clock that is ahead; each end is asked for once.
        if !due.soon
            && let Ok(early_ms @ 1..) = u64::try_from(due.ends_ms.saturating_sub(now_ms))
        {
            return Ok(Outcome::Snooze { after: Duration::from_millis(early_ms) });
        }
        if due.soon {
            // While operators do not look at payments, nothing ends soon. Who runs this may never have been asked what
            // anybody may use, and so know of no switch.
            switches_in(transaction, &self.0.switches).await?;
        }
        let mut soon = None;
        // Whatever is learned about a person sees to the ends that have come, and tells the person.
        taught(transaction, &due.customer, &self.0, |facts| {
            let occasion = if due.soon { ending_soon(facts, due.ends_ms, now_ms) } else { None };
            soon = occasion.and_then(|occasion| message(&self.0, facts, occasion, now_ms));
        })
        .await?;
        if let Some(job) = soon {
            transaction.enqueue(job);
        }
        Ok(Outcome::Done)
    }
}
