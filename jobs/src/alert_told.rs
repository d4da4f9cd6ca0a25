//! `alert.told`: a receiver of alerts is told what the payload says.

use async_trait::async_trait;
use keepwell_workers::{
    database::Transaction,
    handler::{ApplyError, Handler, Prepared},
    job::Job,
    outcome::Outcome,
    policy::Policy,
};

use crate::{Care, alerts::telling::Telling, kinds};

/// Tells PagerDuty, a channel or a webhook.
pub(crate) struct AlertTold(pub(crate) Care);

/// Somebody has to hear of it while it matters: a receiver that is away is asked every five minutes at least, for about
/// four hours.
const POLICY: Policy =
    Policy { attempts_max: 100, backoff_base_ms: 500, backoff_cap_ms: 5 * 60 * 1_000, timeout_ms: 60_000 };

#[async_trait]
impl Handler for AlertTold {
    fn kind(&self) -> &'static str {
        kinds::ALERT_TOLD
    }

    fn policy(&self) -> Policy {
        POLICY
    }

    async fn prepare(&self, job: &Job) -> Result<Prepared, Outcome> {
        let telling: Telling = serde_json::from_slice(&job.payload)
            .map_err(|_| Outcome::dead("the job does not say whom to tell what"))?;
        let Some(delivery) = &self.0.alerts else {
            let reason = "no receiver of alerts is configured (`alerts`)".to_owned();
            return Err(Outcome::Cancel { reason });
        };
        delivery.deliver(job.id, &telling).await?;
        Ok(Box::new(()))
    }

    async fn apply(&self, _: &Job, _: &Prepared, _: &mut Transaction) -> Result<Outcome, ApplyError> {
        Ok(Outcome::Done)
    }
}
