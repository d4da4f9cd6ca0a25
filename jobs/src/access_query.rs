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
        emergency::{Emergency, Switches},
        facts::Facts,
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
    let switches = store::switches(reader, &care.switches).await?;
    let facts = store::facts(reader, customer, &care.memory).await?;
    Ok(document(care, facts, switches, now_ms))
}

/// What `customer` may use at `now_ms` as far as that is known without the database: the floor, what operators were
/// seen to have switched on, and what was granted from memory.
pub fn access_without_database(care: &Care, customer: &str, now_ms: UnixMs) -> AccessDocument {
    document(care, Facts::about(customer), care.switches.last(), now_ms)
}

fn document(care: &Care, facts: Facts, switches: Switches, now_ms: UnixMs) -> AccessDocument {
    let facts = Facts { definitions: care.definitions, ..facts };
    let granted = care.watch.granted(&facts.customer, now_ms);
    let emergency = Emergency { switches, granted };
    access::access_in(&facts, &care.tiers, &care.resources, &emergency, now_ms)
}
