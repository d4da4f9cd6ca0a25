//! `care.message`: words for a person, brought by the gateway.

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

use crate::{Care, kinds, outbound::notify::Haste};

/// Sends words to a person.
pub(crate) struct MessageSent(pub(crate) Care);

/// 12 attempts over some four hours: words that come a day late would tell of days that are gone.
const POLICY: Policy =
    Policy { attempts_max: 12, backoff_base_ms: 2_000, backoff_cap_ms: 60 * 60 * 1_000, timeout_ms: 30_000 };

#[derive(Deserialize)]
struct Words {
    document: Value,
    customer: String,
    /// It is told during a crisis too.
    in_crisis_too: bool,
    /// The person was marked already when it was made: in a vulnerable time after a crisis.
    marked: bool,
}

#[async_trait]
impl Handler for MessageSent {
    fn kind(&self) -> &'static str {
        kinds::MESSAGE
    }

    fn policy(&self) -> Policy {
        POLICY
    }

    async fn prepare(&self, job: &Job) -> Result<Prepared, Outcome> {
        let words: Words = serde_json::from_slice(&job.payload)
            .map_err(|_| Outcome::dead("the job does not hold a message"))?;
        let Care { marks, memory, .. } = &self.0;
        // Whoever was marked already stays so in a new crisis, and what is remembered may be forgotten: so both are
        // asked.
        let marked_since = !words.marked && marks.contains(&words.customer);
        if !words.in_crisis_too && (marked_since || memory.knows_of_crisis(&words.customer)) {
            let reason = "a crisis has begun since; this is not the time for it".to_owned();
            return Err(Outcome::Cancel { reason });
        }
        let Some(notifier) = &self.0.notifier else {
            return Err(Outcome::Cancel { reason: "no notification gateway is configured".to_owned() });
        };
        notifier.send(job.id, Haste::Calm, &words.document).await?;
        Ok(Box::new(()))
    }

    async fn apply(&self, _: &Job, _: &Prepared, _: &mut Transaction) -> Result<Outcome, ApplyError> {
        Ok(Outcome::Done)
    }
}
