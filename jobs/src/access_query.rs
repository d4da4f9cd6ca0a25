//! What a person may use now: facts from the database, the rules on top.

use keepwell_workers::{
    clock::UnixMs,
    database::{Database, Reader, Trouble, turn::Urgency},
};

use crate::{
    Care,
    care::{
        access,
        document::AccessDocument,
        emergency::{Emergency, Granted},
        facts::Facts,
        message::Message,
        severity::EmergencyLevel,
    },
    store,
};

/// The access document of `customer` at `now_ms`, over a connection of `database`'s.
pub async fn ask(
    database: &Database,
    care: &Care,
    customer: &str,
    now_ms: UnixMs,
) -> Result<AccessDocument, sqlx::Error> {
    let read = async || access(&mut database.reader(Urgency::General).await?, care, customer, now_ms).await;
    match read().await {
        // After a restart of the server, a connection is found dead by using it; the next one is not.
        Err(error) if Trouble::of(&error).is_some() => read().await,
        read => read,
    }
}

/// The access document of `customer` at `now_ms`. Somebody unknown has the floor.
pub async fn access(
    reader: &mut Reader,
    care: &Care,
    customer: &str,
    now_ms: UnixMs,
) -> Result<AccessDocument, sqlx::Error> {
    // Before the facts: what is answered between the two is in both rather than in neither.
    let granted = care.watch.granted(customer, now_ms);
    let (switches, facts) = store::switches_and_facts(reader, customer, &care.switches, &care.memory).await?;
    Ok(document(care, facts, &Emergency { switches, granted }, now_ms))
}

/// What `customer` may use at `now_ms` as far as that is known without the database: the floor, what operators were
/// seen to have switched on, and what was granted from memory. Whoever is in a crisis, or vulnerable after one, keeps
/// what was known last, and has the basic set at least.
pub fn access_without_database(care: &Care, customer: &str, now_ms: UnixMs) -> AccessDocument {
    let marked_until_ms = care.marks.until_ms(customer);
    let last = care.memory.last(customer).map(|facts| Facts { definitions: care.definitions, ..facts });
    // Where somebody lives does not change with the database: the lines are to be those of their country.
    let home = last.as_ref().map(|facts| facts.home.clone()).unwrap_or_default();
    // Nor does a version go back because of that, as far as it is known here.
    let version = last.as_ref().map_or(0, |facts| facts.version);
    let known = last.filter(|_| marked_until_ms.is_some());
    let granted = care.watch.granted(customer, now_ms).or_else(|| {
        // What is remembered may be older than the crisis that the mark tells of.
        let knows_it = known.as_ref().is_some_and(|facts| facts.crisis(now_ms).is_some());
        let until_ms = marked_until_ms.filter(|_| !knows_it)?;
        Some(Granted { level: EmergencyLevel::CrisisOnly, since_ms: now_ms, until_ms })
    });
    let facts = known.unwrap_or_else(|| Facts { version, home, ..Facts::about(customer) });
    document(care, facts, &Emergency { switches: care.switches.last(), granted }, now_ms)
}

fn document(care: &Care, facts: Facts, emergency: &Emergency, now_ms: UnixMs) -> AccessDocument {
    let waived_until_ms = emergency.switches.waives_payment(now_ms).map(|switch| switch.until_ms);
    let facts = Facts { definitions: care.definitions, waived_until_ms, ..facts };
    let locale = facts.home.locale();
    let document = access::access_in(&facts, &care.tiers, care.lines.of_locale(locale), emergency, now_ms);
    let message = Message::with(&document, &care.templates, locale);
    AccessDocument { message, ..document }
}
