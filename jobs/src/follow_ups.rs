//! What follows when something is learned about a person: words for them, and a look at whom else to tell. Without a
//! gateway there are no words, and the look only records who would have been told.

use keepwell_workers::{clock::UnixMs, job::NewJob, lane::Lane};
use serde_json::json;

use crate::{
    Care,
    care::{
        facts::Facts,
        grace::{DAY_MS, remaining_days},
        message::Message,
        occasion::{Occasion, call_for_contacts, occasion},
        running::running_grace,
    },
    kinds,
};

/// The jobs that follow when what is known became `after`.
pub(crate) fn follow_ups(care: &Care, before: &Facts, after: &Facts, now_ms: UnixMs) -> Vec<NewJob> {
    let contacts =
        call_for_contacts(before, after, now_ms).map(|(cause, _)| contacts_due(&after.customer, &cause));
    let told = occasion(before, after, now_ms).and_then(|occasion| message(care, after, occasion, now_ms));
    contacts.into_iter().chain(told).collect()
}

/// Words for a person. At most once a day about the same thing, however often it comes and goes. `None` without a
/// gateway.
pub(crate) fn message(care: &Care, facts: &Facts, occasion: Occasion, now_ms: UnixMs) -> Option<NewJob> {
    care.notifier.as_ref()?;
    let (customer, home) = (facts.customer.as_str(), &facts.home);
    let ends_ms = running_grace(facts, now_ms).map(|grace| grace.ends_ms);
    let days = ends_ms.map_or(0, |ends_ms| remaining_days(ends_ms, now_ms, home.time_zone()));
    let resources = care.lines.of_locale(home.locale());
    let (locale, words) = Message::of(occasion, days, &care.templates, home.locale(), resources);
    let payload = json!({
        "document": {
            "kind": "message",
            "customer": customer,
            "about": occasion.key(),
            "locale": locale,
            "title": words.title,
            "body": words.body,
            "tone": words.tone,
            "urgency": words.urgency,
            "actions": words.actions,
        },
        "customer": customer,
        "in_crisis_too": occasion.is_for_a_crisis(),
        "marked": care.marks.contains(customer),
    });
    let key = format!("message:{}:{customer}:{}", occasion.key(), now_ms.div_euclid(DAY_MS));
    let job = NewJob::new(kinds::MESSAGE, Lane::Therapeutic, payload.to_string());
    // No turn: a gateway that is slow must not hold up what is learned about the person.
    Some(job.subject(customer).dedupe_key(key))
}

/// A look at whom to tell in the crisis that `cause` made known.
fn contacts_due(customer: &str, cause: &str) -> NewJob {
    let payload = json!({ "customer": customer, "cause": cause });
    let key = format!("contacts:{customer}:{cause}");
    NewJob::new(kinds::CONTACTS_DUE, Lane::Crisis, payload.to_string()).subject(customer).dedupe_key(key)
}
