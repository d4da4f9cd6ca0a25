//! Whether somebody in need has what that calls for (003: therapeutic access monitoring): the answer as the app's
//! backend would get it now, beside what the database says afresh. What is missing is given back at once.

use keepwell_workers::{
    clock::UnixMs,
    database::{Database, turn::Urgency},
};

use crate::{
    Care,
    access_query::access,
    care::{crisis::Crisis, facts::Facts, held::lacking},
    store,
};

/// What tells what is granted here from what is granted for a crisis that came.
const HELD: &str = "access_held";

/// What was found about one person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Held {
    /// Everything that has to be there is there.
    All,
    /// Something was missing.
    Missing {
        /// What: names of features.
        features: Vec<String>,
        /// What is missing still, after what was remembered was let go and the basic set was granted.
        still: Vec<String>,
    },
}

/// Looks whether `customer` has what is called for at `now_ms`, and gives back what is missing.
pub async fn look_after(
    database: &Database,
    care: &Care,
    customer: &str,
    now_ms: UnixMs,
) -> Result<Held, sqlx::Error> {
    care.tallies.access_checked();
    if look(database, care, customer, now_ms).await?.0.is_empty() {
        return Ok(Held::All);
    }
    // The crisis may have begun in between the answer and what it is compared with.
    let (features, crisis) = look(database, care, customer, now_ms).await?;
    if features.is_empty() {
        return Ok(Held::All);
    }
    care.memory.forget(customer);
    let (mut still, _) = look(database, care, customer, now_ms).await?;
    if let Some(crisis) = crisis.filter(|_| !still.is_empty()) {
        let ticket = care.watch.begin(customer, Some(HELD), crisis.severity, now_ms);
        if care.watch.refused(ticket, now_ms).is_some() {
            care.tallies.granted_from_memory();
        }
        still = look(database, care, customer, now_ms).await?.0;
    }
    care.tallies.access_missing(still.is_empty());
    Ok(Held::Missing { features, still })
}

/// What `customer` lacks, and the crisis that calls for it.
async fn look(
    database: &Database,
    care: &Care,
    customer: &str,
    now_ms: UnixMs,
) -> Result<(Vec<String>, Option<Crisis>), sqlx::Error> {
    // One short question after the other, so that nobody waits for a connection because of this.
    let mut reader = database.reader(Urgency::General).await?;
    let document = access(&mut reader, care, customer, now_ms).await?;
    let facts = store::facts_afresh(&mut reader, customer).await?;
    let crisis = Facts { definitions: care.definitions, ..facts }.crisis(now_ms);
    let level = crisis.map(|crisis| crisis.severity.emergency_level());
    Ok((lacking(&document, &care.tiers, level), crisis))
}
