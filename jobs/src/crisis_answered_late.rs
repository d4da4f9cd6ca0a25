//! A crisis was not answered within its time: the violation is kept, and counts as a system trigger of the crisis (003:
//! processing delays during crisis episodes), which opens therapeutic access and extends the grace period.

use async_trait::async_trait;
use keepwell_workers::{
    database::Transaction,
    handler::{ApplyError, Handler, Prepared},
    job::{Job, NewJob},
    lane::Lane,
    outcome::Outcome,
    policy::Policy,
};
use serde_json::json;

use crate::{
    Care,
    care::severity::Severity,
    json::Json,
    kinds,
    store::{self, Violation, taught},
    watch::Missed,
};

/// The job that keeps the violation; `None` if the crisis itself was not recorded, for then there is nothing that it
/// could have violated.
pub fn violation(missed: &Missed, took_ms: i64) -> Option<NewJob> {
    let id = missed.job?.to_string();
    let payload = json!({
        "id": id,
        "customer": missed.customer,
        "severity": missed.severity.name(),
        "limit_ms": missed.limit_ms(),
        "took_ms": took_ms,
    });
    let job = NewJob::new(kinds::CRISIS_ANSWERED_LATE, Lane::Crisis, payload.to_string());
    Some(job.dedupe_key(format!("late:{id}")).subject(missed.customer.clone()))
}

/// Learns that a crisis was answered late.
pub(crate) struct CrisisAnsweredLate(pub(crate) Care);

#[async_trait]
impl Handler for CrisisAnsweredLate {
    fn kind(&self) -> &'static str {
        kinds::CRISIS_ANSWERED_LATE
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
        let Some(violation) = read(job) else { return Ok(Outcome::dead("the violation cannot be read")) };
        taught(transaction, &violation.customer, &self.0, |facts| {
            facts.answered_late(job.id.to_string(), job.created_ms, job.created_ms);
        })
        .await?;
        store::keep_violation(transaction, &violation).await?;
        Ok(Outcome::Done)
    }
}

fn read(job: &Job) -> Option<Violation> {
    let [id, customer, severity, limit_ms, took_ms] =
        Json::parse(&job.payload).ok()?.fields(["id", "customer", "severity", "limit_ms", "took_ms"]);
    Some(Violation {
        id: id?.text()?.into_owned(),
        customer: customer?.text()?.into_owned(),
        severity: Severity::from_name(&severity?.text()?)?,
        at_ms: job.created_ms,
        limit_ms: limit_ms?.integer()?,
        took_ms: took_ms?.integer()?,
    })
}
