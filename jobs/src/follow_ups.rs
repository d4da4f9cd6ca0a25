//! What follows when something is learned about a person: words for them, and a look at whom else to tell. Without a
//! gateway there are no words, and the look only records who would have been told.

use keepwell_workers::{clock::UnixMs, job::NewJob};

use crate::{
    Care,
    care::{
        contact_call::call_for_contacts,
        facts::Facts,
        occasion::{Occasion, occasion},
    },
    contact_look::About,
    message_sent::ToSay,
};

/// The jobs that follow when what is known became `after`, by what was learned at `learned_ms`.
pub(crate) fn follow_ups(
    care: &Care,
    before: &Facts,
    after: &Facts,
    learned_ms: UnixMs,
    now_ms: UnixMs,
) -> Vec<NewJob> {
    let customer = || after.customer.clone();
    let contacts = call_for_contacts(before, after, learned_ms, now_ms)
        .map(|(cause, _)| About { customer: customer(), cause, contact: None }.look());
    let told = occasion(before, after, now_ms).and_then(|occasion| message(care, after, occasion, now_ms));
    contacts.into_iter().chain(told).collect()
}

/// Words for a person. At most once a day about the same thing, however often it comes and goes. `None` without a
/// gateway.
pub(crate) fn message(care: &Care, facts: &Facts, occasion: Occasion, now_ms: UnixMs) -> Option<NewJob> {
    care.outreach.as_ref()?;
    Some(ToSay { customer: facts.customer.clone(), occasion }.job(now_ms))
}
