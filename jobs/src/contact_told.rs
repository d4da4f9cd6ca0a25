//! `care.contact_told`: words for an emergency contact, brought by the gateway. Whether they are still to be told, how
//! and how much, is decided when they are: a gateway may have been away meanwhile, and nobody is told against a will
//! that was stated in the meantime.

use std::{fmt::Write as _, time::Duration};

use async_trait::async_trait;
use chrono::DateTime;
use chrono_tz::Tz;
use keepwell_workers::{
    clock::UnixMs,
    database::{Durability, Transaction, turn::Urgency},
    handler::{ApplyError, Handler, Prepared},
    job::Job,
    ledger::owes,
    outcome::Outcome,
    policy::Policy,
};
use serde_json::{Value, json};

use crate::{
    Care,
    care::{
        contacts::{Contact, Decision, Method, Sharing, Skipped, TOLD_AGAIN_MS},
        phrases::{Phrase, Values},
        severity::Severity,
    },
    contact_look::{About, Look},
    kinds,
    outbound::notify::Haste,
    outreach::{Outreach, unasked},
    store::{NoticeResult, keep_notice},
};

/// Tells a contact.
pub(crate) struct ContactTold(pub(crate) Care);

/// As patient as crises are; only a run may take as long as a gateway may.
const POLICY: Policy = Policy { backoff_base_ms: 250, timeout_ms: 30_000, ..Policy::CRISIS };

/// How soon it is looked again whether what the person has said of their contacts has been read, in milliseconds, and
/// the longest wait between two looks; between these, a quarter of what has been waited already.
const UNREAD_WAITS_MS: (i64, i64) = (250, 30_000);

/// What becomes of the contact.
struct Answer {
    about: About,
    contact: i64,
    severity: Severity,
    result: Decision,
}

impl Answer {
    fn skipped(about: About, contact: i64, severity: Severity, why: Skipped) -> Self {
        Self { about, contact, severity, result: Decision::Skip(why) }
    }
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
        let about = About::of(job);
        let Some((about, contact)) = about.and_then(|about| about.contact.map(|contact| (about, contact)))
        else {
            return Err(Outcome::dead("the job does not say whom to tell"));
        };
        // Owed to somebody, and not done: that must not look as if it were.
        let Some(outreach) = &self.0.outreach else {
            return Err(Outcome::dead(
                "no notification gateway is configured: set `notify.url`, then retry the job",
            ));
        };
        let place = outreach.notifier.place(Haste::Urgent)?;
        let (answer, document) = self.answer(outreach, job, about, contact).await?;
        if let Some(document) = document
            && let Err(outcome) = place.send(job.id, &document).await
        {
            let last = job.attempts.saturating_add(1) >= POLICY.attempts_max;
            if last || matches!(outcome, Outcome::Dead { .. }) {
                not_told(outreach, &answer).await;
            }
            return Err(outcome);
        }
        Ok(Box::new(answer))
    }

    async fn apply(
        &self,
        _: &Job,
        prepared: &Prepared,
        transaction: &mut Transaction,
    ) -> Result<Outcome, ApplyError> {
        let Some(Answer { about, contact, severity, result }) = prepared.downcast_ref::<Answer>() else {
            return Ok(Outcome::retry("what was decided is gone"));
        };
        let result = match *result {
            Decision::Tell(method) => NoticeResult::Notified(method),
            Decision::Skip(why) => NoticeResult::Skipped(why),
            Decision::Later(begin_ms) => {
                transaction.enqueue(about.later(*contact, begin_ms));
                NoticeResult::Later
            }
        };
        keep_notice(transaction, &about.customer, &about.cause, *contact, *severity, result).await?;
        Ok(Outcome::Done)
    }
}

impl ContactTold {
    /// What is known now; `None` if nobody is named.
    async fn look(
        &self,
        outreach: &Outreach,
        job: &Job,
        about: &About,
        now_ms: UnixMs,
    ) -> Result<Option<Look>, Outcome> {
        let known = outreach.known(&self.0, &about.customer, now_ms).await;
        let (mut reader, known) = known.map_err(|error| unasked(&error))?;
        // What the person said of their contacts before this, and nobody has read yet, may take back what is known.
        let unread = owes(&mut reader, kinds::PERSON_DATA_UPDATED, &about.customer).await;
        if unread.map_err(|error| unasked(&error))? {
            let (least_ms, most_ms) = UNREAD_WAITS_MS;
            let wait_ms = (now_ms.saturating_sub(job.created_ms) / 4).clamp(least_ms, most_ms);
            return Err(Outcome::Snooze { after: Duration::from_millis(wait_ms.unsigned_abs()) });
        }
        let look = Look::at(&mut reader, &self.0, &known, Some(&about.cause), now_ms).await;
        look.map_err(|error| unasked(&error))
    }

    /// What becomes of the contact as everything stands now, and the words if they are told.
    async fn answer(
        &self,
        outreach: &Outreach,
        job: &Job,
        about: About,
        number: i64,
    ) -> Result<(Answer, Option<Value>), Outcome> {
        let now_ms = outreach.now_ms();
        // First, so that no wait for what is to be read is longer than that.
        if now_ms.saturating_sub(job.created_ms) > TOLD_AGAIN_MS {
            return Ok((Answer::skipped(about, number, Severity::Moderate, Skipped::Stale), None));
        }
        let Some(look) = self.look(outreach, job, &about, now_ms).await? else {
            return Ok((Answer::skipped(about, number, Severity::Moderate, Skipped::NotNamed), None));
        };
        let severity = look.severity();
        let Some((_, contact)) = look.list(&about.customer).find(|(known, _)| *known == number) else {
            return Ok((Answer::skipped(about, number, severity, Skipped::NotNamed), None));
        };
        let result = look.decide(number, contact);
        let document = match result {
            Decision::Tell(method) => Some(self.document(&about.customer, &look, contact, method)),
            Decision::Later(_) | Decision::Skip(_) => None,
        };
        Ok((Answer { contact: number, severity, result, about }, document))
    }

    /// The words for one contact, and how they are reached.
    fn document(&self, customer: &str, look: &Look, contact: &Contact, method: Method) -> Value {
        let Look { contacts, home, .. } = look;
        let locale = contact.locale.as_deref().or(home.locale());
        let (tag, texts) = self.0.templates.of(locale);
        let resources = self.0.lines.of_locale(locale);
        let zone = contact.time_zone.or(home.time_zone());
        let since = look.crisis.map(|crisis| since(crisis.since_ms, zone));
        let person = contacts.person.as_deref().unwrap_or(texts.word("somebody"));
        let mut values = Values { person: Some(person), ..Values::default() };
        if contacts.sharing == Sharing::Detailed {
            values = Values { since: since.as_deref(), severity: Some(look.severity()), ..values };
        }
        let words = Phrase::of(contacts.sharing.key(), texts, resources, values);
        let way = |method: Method| json!({ "method": method.name(), "address": contact.address(method) });
        let mut to = way(method);
        let others = contact.methods().into_iter().filter(|other| *other != method);
        to["otherwise"] = others.map(way).collect();
        json!({
            "kind": "emergency_contact",
            "customer": customer,
            "to": to,
            "locale": tag,
            "title": words.title,
            "body": words.body,
            "tone": "supportive",
            "urgency": "high",
        })
    }
}

/// Records that the contact could not be told. A run that fails has no effects, so this is written beside it; if it
/// cannot be, what stands is that they are about to be told, and after a while that counts for nothing.
async fn not_told(outreach: &Outreach, answer: &Answer) {
    let Answer { about, contact, severity, .. } = answer;
    let write = async {
        let now_ms = outreach.now_ms();
        let mut transaction = outreach.database.begin(Urgency::General, Durability::Relaxed, now_ms).await?;
        let result = NoticeResult::Skipped(Skipped::NotDelivered);
        keep_notice(&mut transaction, &about.customer, &about.cause, *contact, *severity, result).await?;
        transaction.commit().await
    };
    let written: Result<(), sqlx::Error> = write.await;
    if let Err(error) = written {
        tracing::warn!(error = %error, "that an emergency contact could not be told is not recorded");
    }
}

/// An instant as people write it, where they live.
fn since(at_ms: UnixMs, zone: Option<Tz>) -> String {
    let at = DateTime::from_timestamp_millis(at_ms).unwrap_or_default();
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = match zone {
        Some(zone) => write!(text, "{}", at.with_timezone(&zone).format("%Y-%m-%d %H:%M")),
        None => write!(text, "{} UTC", at.format("%Y-%m-%d %H:%M")),
    };
    text
}
