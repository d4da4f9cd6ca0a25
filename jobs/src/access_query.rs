//! What a person may use now: facts from the database, the rules on top.

use keepwell_workers::{clock::UnixMs, database::Reader};

use crate::{
    Care,
    care::{access, document::AccessDocument, message::Message},
    store,
};

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
