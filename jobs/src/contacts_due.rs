//! `care.contacts_due`: somebody is in a crisis. Who has agreed to be told, and whom to tell now, is decided here,
//! recorded either way, and done by a job for each contact.

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
    care::{
        contacts::{Decision, Skipped},
        facts::Facts,
    },
    contact_look::{About, Look},
    kinds,
    store::{NoticeResult, keep_notice, taught},
};

/// Decides whom to tell.
pub(crate) struct ContactsDue(pub(crate) Care);

#[async_trait]
impl Handler for ContactsDue {
    fn kind(&self) -> &'static str {
        kinds::CONTACTS_DUE
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
        let Some(about) = About::of(&job.payload) else {
            return Ok(Outcome::dead("the job does not say who is in a crisis"));
        };
        let now_ms = transaction.now_ms();
        let mut known = Facts::about(&about.customer);
        // Takes the person's row, so that two crises of one person come one after the other.
        taught(transaction, &about.customer, &self.0, |facts| known = facts.clone()).await?;
        let Some(look) = Look::at(transaction, &self.0, &known, &[], None, now_ms).await? else {
            return Ok(Outcome::Done);
        };
        for (number, contact) in look.list(&about.customer) {
            if about.contact.is_some_and(|only| only != number) {
                continue;
            }
            let result = match look.decide(number, contact) {
                Decision::Skip(why) => NoticeResult::Skipped(why),
                Decision::Later(begin_ms) => {
                    transaction.enqueue(about.later(number, begin_ms));
                    NoticeResult::Later
                }
                // Somebody would have been told: whoever looks into it later has to find why they were not.
                Decision::Tell(_) if self.0.outreach.is_none() => NoticeResult::Skipped(Skipped::NoGateway),
                Decision::Tell(method) => {
                    transaction.enqueue(about.tell(number));
                    NoticeResult::Queued(method)
                }
            };
            keep_notice(transaction, about.notice(number), look.severity(), result).await?;
        }
        Ok(Outcome::Done)
    }
}
