//! `care.contact_told`: words for an emergency contact, brought by the gateway. Whether they are still to be told, how
//! and how much, is decided when they are: a gateway may have been away meanwhile, and nobody is told against a will
//! that was stated in the meantime.

use std::fmt::Write as _;

use async_trait::async_trait;
use chrono::DateTime;
use chrono_tz::Tz;
use keepwell_workers::{
    clock::UnixMs,
    database::{Database, Durability, Transaction, turn::Urgency},
    handler::{ApplyError, Handler, Prepared},
    job::Job,
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
    outbound::notify::{Haste, Place},
    outreach::{Outreach, unasked},
    store::{NoticeResult, Telling, begin_telling, keep_notice, not_yet_told},
    unread::Unread,
};

/// Tells a contact.
pub(crate) struct ContactTold(pub(crate) Care);

/// As patient as crises are; only a run may take as long as a gateway may.
const POLICY: Policy = Policy { backoff_base_ms: 250, timeout_ms: 30_000, ..Policy::CRISIS };

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
        let about = About::of(&job.payload);
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
        if let Some(document) = document {
            tell(outreach, place, job, &answer, &document).await?;
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
        keep_notice(transaction, about.notice(*contact), *severity, result).await?;
        Ok(Outcome::Done)
    }
}

impl ContactTold {
    /// What is known now; `None` if nobody is named.
    async fn look(
        &self,
        outreach: &Outreach,
        about: &About,
        now_ms: UnixMs,
    ) -> Result<Option<Look>, Outcome> {
        let known = outreach.known(&self.0, &about.customer, now_ms).await;
        let (mut reader, known) = known.map_err(|error| unasked(&error))?;
        // Nobody is told against what was said and not read yet.
        let unread = Unread::of(&mut reader, &self.0.keys, &about.customer).await?;
        let look = Look::at(&mut reader, &self.0, &known, &unread, Some(&about.cause), now_ms).await;
        look.map_err(|error| unasked(&error))
    }

    /// What becomes of the contact as everything stands now, and in which words, if they are told.
    async fn answer(
        &self,
        outreach: &Outreach,
        job: &Job,
        about: About,
        number: i64,
    ) -> Result<(Answer, Option<Value>), Outcome> {
        let now_ms = outreach.now_ms();
        if now_ms.saturating_sub(job.created_ms) > TOLD_AGAIN_MS {
            return Ok((Answer::skipped(about, number, Severity::Moderate, Skipped::Stale), None));
        }
        let Some(look) = self.look(outreach, &about, now_ms).await? else {
            return Ok((Answer::skipped(about, number, Severity::Moderate, Skipped::NotNamed), None));
        };
        let severity = look.severity();
        let Some((_, contact)) = look.list(&about.customer).find(|(known, _)| *known == number) else {
            return Ok((Answer::skipped(about, number, severity, Skipped::NotNamed), None));
        };
        let result = look.decide(number, contact);
        let document = match result {
            Decision::Tell(method) => {
                // It may be a no.
                look.all_read()?;
                Some(self.document(&about.customer, &look, contact, method))
            }
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

/// Sends the words. What a run sends leaves no effects if that run fails, or dies, so it is written beside it: before
/// the gateway is asked, that the contact may have been told, and afterwards that they were not if it says so.
async fn tell(
    outreach: &Outreach,
    place: Place<'_>,
    job: &Job,
    answer: &Answer,
    document: &Value,
) -> Result<(), Outcome> {
    let notice = answer.about.notice(answer.contact);
    let begun = async {
        let mut transaction = begin(&outreach.database, outreach.now_ms()).await?;
        let telling = begin_telling(&mut transaction, notice).await?;
        transaction.commit().await.map(|()| telling)
    };
    let begun: Result<Telling, sqlx::Error> = begun.await;
    let begun = begun.map_err(|error| {
        Outcome::retry(format!("that a contact may be told from now on cannot be recorded: {error}"))
    })?;
    // By another run of this job, which has come to its end.
    let Telling::Begun(before) = begun else { return Ok(()) };
    let Err(not_taken) = place.send(job.id, document).await else { return Ok(()) };
    if let Some(before) = before.filter(|_| !not_taken.perhaps) {
        let taken_back = async {
            let mut transaction = begin(&outreach.database, outreach.now_ms()).await?;
            not_yet_told(&mut transaction, notice, &before).await?;
            transaction.commit().await
        };
        let taken_back: Result<(), sqlx::Error> = taken_back.await;
        if let Err(error) = taken_back {
            tracing::warn!(%error, job.id = %job.id, "that an emergency contact was not told is not recorded");
        }
    }
    Err(not_taken.outcome)
}

/// A transaction beside a run.
pub(crate) async fn begin(database: &Database, now_ms: UnixMs) -> Result<Transaction, sqlx::Error> {
    database.begin(Urgency::General, Durability::Relaxed, now_ms).await
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
