//! The tables about people: all SQL of the rules is here.

mod changes;
mod confirmations;
mod devices;
mod person;
mod person_data;
mod rows;

use keepwell_workers::{
    database::{Database, turn::Urgency},
    on_connection,
};

pub use devices::keep_device;
pub use person::{FactsMemory, facts, taught};
pub use person_data::{PersonDataKind, keep_person_data};

/// Everybody whose events go through the crisis lane.
pub async fn marked(database: &Database) -> Result<Vec<String>, sqlx::Error> {
    const SQL: &str = "SELECT id FROM customers WHERE marked";
    let mut reader = database.reader(Urgency::General).await?;
    let rows: Vec<(String,)> =
        on_connection!(reader, |connection| sqlx::query_as(SQL).fetch_all(connection).await)?;
    Ok(rows.into_iter().map(|(id,)| id).collect())
}
