//! `care.contacts_due`: somebody is in a crisis. Who has agreed to be told, and whom to tell now, is decided here,
//! recorded either way, and done by a job for each contact.

use std::fmt::Write as _;

use async_trait::async_trait;
use chrono::DateTime;
use chrono_tz::Tz;
use keepwell_workers::{
    clock::UnixMs,
    database::Transaction,
    handler::{ApplyError, Handler, Prepared},
    job::{Job, NewJob},
    lane::Lane,
    outcome::Outcome,
    policy::Policy,
};
use serde::Deserialize;
use serde_json::json;

use crate::{
    Care,
    care::{
        contacts::{Contact, Contacts, Decision, Method, Sharing, Skipped, agrees},
        crisis::{Crisis, Severity},
        home::Home,
        phrases::{Phrase, Values},
    },
    json::Json,
    kinds,
    store::{NoticeResult, PersonDataKind, contact_number, contacts_told, keep_notice, person_data, taught},
};

/// Decides whom to tell.
pub(crate) struct ContactsDue(pub(crate) Care);

#[derive(Deserialize)]
struct Due {
    customer: String,
    cause: String,
    /// Set for a contact whose hours have begun.
    contact: Option<i64>,
}

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
        let Ok(due) = serde_json::from_slice::<Due>(&job.payload) else {
            return Ok(Outcome::dead("the job does not say who is in a crisis"));
        };
        let now_ms = transaction.now_ms();
        let (mut crisis, mut home) = (None, Home::default());
        // Takes the person's row, so that two crises of one person come one after the other.
        taught(transaction, &due.customer, &self.0, |facts| {
            (crisis, home) = (facts.crisis(now_ms), facts.home.clone());
        })
        .await?;
        let Some(stated) = self.data(transaction, &due.customer, PersonDataKind::Contacts).await? else {
            return Ok(Outcome::Done);
        };
        let contacts = Json::parse(&stated).map(Contacts::read).unwrap_or_default();
        let consent = self.data(transaction, &due.customer, PersonDataKind::Consent).await?;
        let agreed = consent.is_some_and(|consent| Json::parse(&consent).is_ok_and(agrees));
        let told = contacts_told(transaction, &due.customer).await?;
        for contact in &contacts.list {
            let number = contact_number(&due.customer, &contact.id);
            if due.contact.is_some_and(|only| only != number) {
                continue;
            }
            // Of several times the gravest counts.
            let told = told.iter().filter(|(known, _)| *known == number).map(|(_, told)| *told);
            let told = told.max_by_key(|told| told.severity);
            let decision = match crisis {
                None => Decision::Skip(Skipped::CrisisOver),
                Some(Crisis { severity, .. }) => {
                    contacts.decide(contact, severity, agreed, told, home.time_zone(), now_ms)
                }
            };
            let severity = crisis.map_or(Severity::Moderate, |crisis| crisis.severity);
            let result = match decision {
                Decision::Skip(why) => NoticeResult::Skipped(why),
                Decision::Later(begin_ms) => {
                    transaction.enqueue(due.later(number, begin_ms));
                    NoticeResult::Later
                }
                // Somebody would have been told: whoever looks into it later has to find why they were not.
                Decision::Tell(_) if self.0.notifier.is_none() => NoticeResult::Skipped(Skipped::NoGateway),
                Decision::Tell(method) => {
                    if let Some(crisis) = crisis {
                        transaction
                            .enqueue(self.tell(&due, number, &contacts, contact, method, crisis, &home));
                    }
                    NoticeResult::Queued(method)
                }
            };
            keep_notice(transaction, &due.customer, &due.cause, number, severity, result).await?;
        }
        Ok(Outcome::Done)
    }
}

impl ContactsDue {
    async fn data(
        &self,
        transaction: &mut Transaction,
        customer: &str,
        kind: PersonDataKind,
    ) -> Result<Option<Vec<u8>>, ApplyError> {
        person_data(transaction, &self.0.keys, customer, kind).await
    }

    /// The job that tells one contact. All that is about them is in its payload, which is sealed.
    #[allow(clippy::too_many_arguments)] // Whom, how and about what: all of it stands in the words.
    fn tell(
        &self,
        due: &Due,
        number: i64,
        contacts: &Contacts,
        contact: &Contact,
        method: Method,
        crisis: Crisis,
        home: &Home,
    ) -> NewJob {
        let locale = contact.locale.as_deref().or(home.locale());
        let (tag, texts) = self.0.templates.of(locale);
        let resources = self.0.lines.of_locale(locale);
        let since = since(crisis.since_ms, contact.time_zone.or(home.time_zone()));
        let person = contacts.person.as_deref().unwrap_or(texts.word("somebody"));
        let mut values = Values { person: Some(person), ..Values::default() };
        if contacts.sharing == Sharing::Detailed {
            values = Values { since: Some(&since), severity: Some(crisis.severity), ..values };
        }
        let words = Phrase::of(contacts.sharing.key(), texts, resources, values);
        let way = |method: Method| json!({ "method": method.name(), "address": contact.address(method) });
        let mut to = way(method);
        let others = contact.methods().into_iter().filter(|other| *other != method);
        to["otherwise"] = others.map(way).collect();
        let payload = json!({
            "document": {
                "kind": "emergency_contact",
                "customer": due.customer,
                "to": to,
                "locale": tag,
                "title": words.title,
                "body": words.body,
                "tone": "supportive",
                "urgency": "high",
            },
            "customer": due.customer,
            "cause": due.cause,
            "contact": number,
        });
        NewJob::new(kinds::CONTACT_TOLD, Lane::Crisis, payload.to_string()).subject(&*due.customer)
    }
}

impl Due {
    /// The same look at one contact, when their hours have begun.
    fn later(&self, number: i64, begin_ms: UnixMs) -> NewJob {
        let payload = json!({ "customer": self.customer, "cause": self.cause, "contact": number });
        let key = format!("contact:{number:016x}:{begin_ms}:{}", self.cause);
        NewJob::new(kinds::CONTACTS_DUE, Lane::Crisis, payload.to_string())
            .subject(&*self.customer)
            .dedupe_key(key)
            .run_at_ms(begin_ms)
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
