//! `care.contact_told`: words for an emergency contact, brought by the gateway.

use async_trait::async_trait;
use keepwell_workers::{
    database::Transaction,
    handler::{ApplyError, Handler, Prepared},
    job::Job,
    outcome::Outcome,
    policy::Policy,
};
use serde::Deserialize;
use serde_json::Value;

use crate::{Care, kinds, outbound::notify::Haste, store::contact_told};

/// Tells a contact.
pub(crate) struct ContactTold(pub(crate) Care);

/// As patient as crises are; only a run may take as long as a gateway may.
const POLICY: Policy = Policy { backoff_base_ms: 250, timeout_ms: 30_000, ..Policy::CRISIS };

#[derive(Deserialize)]
struct Words {
    document: Value,
    customer: String,
    cause: String,
    contact: i64,
}

fn words(job: &Job) -> Result<Words, Outcome> {
    serde_json::from_slice(&job.payload).map_err(|_| Outcome::dead("the job does not say whom to tell"))
}

#[async_trait]
impl Handler for ContactTold {
    fn kind(&self) -> &'static str {
        kinds::CONTACT_TOLD
    }

    fn policy(&self) -> Policy {
        POLICY
    }

    async fn prepare(&self, job: &Job) -> Result<Prepared, Outcome> {
        let words = words(job)?;
        // Owed to somebody, and not done: that must not look as if it were.
        let Some(notifier) = &self.0.notifier else {
            return Err(Outcome::dead(
                "no notification gateway is configured: set `notify.url`, then retry the job",
            ));
        };
        notifier.send(job.id, Haste::Urgent, &words.document).await?;
        Ok(Box::new(words))
    }

    async fn apply(
        &self,
        _: &Job,
        prepared: &Prepared,
        transaction: &mut Transaction,
    ) -> Result<Outcome, ApplyError> {
        if let Some(words) = prepared.downcast_ref::<Words>() {
            contact_told(transaction, &words.customer, &words.cause, words.contact).await?;
        }
        Ok(Outcome::Done)
    }
}
