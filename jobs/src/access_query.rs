//! What a person may use now: facts from the database, the rules on top.

use keepwell_workers::{
    clock::UnixMs,
    database::{Database, Reader, Trouble, turn::Urgency},
};

use crate::{
    Care,
    care::{access, document::AccessDocument, message::Message},
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
    let facts = store::facts(reader, customer, &care.memory).await?;
    let locale = facts.home.locale();
    let document = access::access_with(&facts, &care.tiers, care.lines.of_locale(locale), now_ms);
    let message = Message::with(&document, &care.templates, locale);
    Ok(AccessDocument { message, ..document })
}
