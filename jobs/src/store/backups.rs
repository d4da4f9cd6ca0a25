//! Whether a backup is one of this database, as far as its audit trail can say.

use keepwell_workers::{
    database::{Database, turn::Urgency},
    on_connection,
};

use super::audit::ChainEnd;

/// Whether `end`, which somebody read in a copy, is a block of the trail in `database`. It never is before the first
/// block, nor once that block was let go.
pub async fn is_of_trail(database: &Database, end: &ChainEnd) -> Result<bool, sqlx::Error> {
    const SQL: &str = "SELECT hash FROM audit_blocks WHERE number = $1";
    let mut reader = database.reader(Urgency::General).await?;
    let found: Option<(Vec<u8>,)> = on_connection!(reader, |connection| {
        sqlx::query_as(SQL).bind(end.block).fetch_optional(connection).await
    })?;
    Ok(found.is_some_and(|(hash,)| hex::encode(hash) == end.hash))
}
