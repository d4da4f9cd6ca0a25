//! `care.message`: words for a person, brought by the gateway. They are chosen when they are sent, as everything stands
//! then: a gateway may have been away for hours, in which an invoice was paid or a crisis began.

use async_trait::async_trait;
use keepwell_workers::{
    clock::UnixMs,
    database::Transaction,
    handler::{ApplyError, Handler, Prepared},
    job::{Job, NewJob},
    lane::Lane,
    outcome::Outcome,
    policy::Policy,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    Care,
    care::{
        facts::Facts,
        grace::{DAY_MS, remaining_days},
        message::Message,
        occasion::Occasion,
        running::running_grace,
    },
    kinds,
    outbound::notify::Haste,
    outreach::unasked,
};

/// Sends words to a person.
pub(crate) struct MessageSent(pub(crate) Care);

/// As often as a gateway may be asked that is away until the words are too old ([`Occasion::told_within_ms`]): within
/// the first half hour a dozen times, then twice an hour on average. The age of the words ends it, and not the number
/// of attempts, which last for 34 hours on average.
const POLICY: Policy =
    Policy { attempts_max: 80, backoff_base_ms: 2_000, backoff_cap_ms: 60 * 60 * 1_000, timeout_ms: 30_000 };

/// What to say to whom.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ToSay {
    /// To whom.
    pub(crate) customer: String,
    /// What about.
    pub(crate) occasion: Occasion,
}

impl ToSay {
    /// The job that says it, one a day for each person and text.
    pub(crate) fn job(&self, now_ms: UnixMs) -> NewJob {
        let key = format!("message:{}:{}:{}", self.occasion.key(), self.customer, now_ms.div_euclid(DAY_MS));
        // Texts are always written.
        let payload = serde_json::to_vec(self).unwrap_or_default();
        // No turn: a gateway that is slow must not hold up what is learned about the person.
        NewJob::new(kinds::MESSAGE, Lane::Therapeutic, payload).subject(&*self.customer).dedupe_key(key)
    }
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
        let ToSay { customer, occasion } = serde_json::from_slice(&job.payload)
            .map_err(|_| Outcome::dead("the job does not say what to tell whom"))?;
        let Some(outreach) = &self.0.outreach else {
            return Err(unsaid("no notification gateway is configured"));
        };
        let place = outreach.notifier.place(Haste::Calm)?;
        let now_ms = outreach.now_ms();
        if now_ms.saturating_sub(job.created_ms) > occasion.told_within_ms() {
            return Err(unsaid("it could not be said in time"));
        }
        let known = outreach.known(&self.0, &customer, now_ms).await.map(|(_, known)| known);
        let known = known.map_err(|error| unasked(&error))?;
        if !occasion.still_holds(&known, now_ms) {
            return Err(unsaid("it is over, or a crisis has begun since"));
        }
        place.send(job.id, &self.document(&known, occasion, now_ms)).await?;
        Ok(Box::new(()))
    }

    async fn apply(&self, _: &Job, _: &Prepared, _: &mut Transaction) -> Result<Outcome, ApplyError> {
        Ok(Outcome::Done)
    }
}

impl MessageSent {
    /// The words for the person whom `facts` are about.
    fn document(&self, facts: &Facts, occasion: Occasion, now_ms: UnixMs) -> Value {
        let Care { lines, templates, .. } = &self.0;
        let home = &facts.home;
        let ends_ms = running_grace(facts, now_ms).map(|grace| grace.ends_ms);
        let days = ends_ms.map_or(0, |ends_ms| remaining_days(ends_ms, now_ms, home.time_zone()));
        let resources = lines.of_locale(home.locale());
        let (locale, words) = Message::of(occasion, days, templates, home.locale(), resources);
        json!({
            "kind": "message",
            "customer": facts.customer,
            "about": occasion.key(),
            "locale": locale,
            "title": words.title,
            "body": words.body,
            "tone": words.tone,
            "urgency": words.urgency,
            "actions": words.actions,
        })
    }
}

/// It is not to be said any more.
fn unsaid(reason: &str) -> Outcome {
    Outcome::Cancel { reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::care::grace::GraceReason;

    #[test]
    fn a_gateway_may_be_away_for_as_long_as_the_words_hold() {
        // On average a wait is half of what it may be.
        let waits_ms = (1..POLICY.attempts_max).map(|attempts| POLICY.backoff(attempts, 0.5).as_millis());
        let waits_ms = i64::try_from(waits_ms.sum::<u128>()).unwrap();
        let crisis = Occasion::CrisisActive;
        for occasion in [crisis, Occasion::Recovered, Occasion::GraceStarted(GraceReason::PaymentFailure)] {
            assert!(waits_ms > occasion.told_within_ms(), "{occasion:?}: {waits_ms} ms");
        }
        // Each wait is drawn anew; with so many that are long nearly no message is given up on before its words are.
        assert!(waits_ms > DAY_MS * 5 / 4, "{waits_ms} ms");
        assert!(POLICY.backoff(u32::MAX, 1.0).as_millis() <= 60 * 60 * 1_000);
    }
}
