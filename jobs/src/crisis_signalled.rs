//! `crisis.signal`: somebody is in a crisis. What stands in the transaction's way here stands between a person and
//! help.

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
    json::Json,
    kinds,
    signal::{Signal, stated_severity},
    store::{note_past_signal, taught},
};

/// Learns of a crisis.
pub(crate) struct CrisisSignalled(pub(crate) Care);

#[async_trait]
impl Handler for CrisisSignalled {
    fn kind(&self) -> &'static str {
        kinds::CRISIS_SIGNALLED
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
        let [source, severity] = signal.data.fields(["source", "severity"]);
        let crisis = CrisisSignal {
            source: source.and_then(Json::text).map_or(Source::Other, |name| Source::said_by_the_app(&name)),
            severity: stated_severity(severity),
            at_ms: signal_time_ms(signal.stated_ms, job.created_ms),
            only_in_crisis: false,
        };
        let (id, now_ms, told) = (job.id.to_string(), transaction.now_ms(), crisis.clone());
        let mut active = None;
        taught(transaction, &signal.customer, &self.0, |facts| {
            let is_past = facts.is_past(&crisis, now_ms);
            facts.signalled(id.clone(), crisis, job.created_ms);
            active = is_past.then(|| facts.crisis(now_ms).is_some());
        })
        .await?;
        if let Some(active) = active {
            // It opens nothing and is not remembered; that it was told is on record all the same.
            note_past_signal(transaction, &self.0, &signal.customer, (&id, &told), active)?;
        }
        Ok(Outcome::Done)
    }
}
