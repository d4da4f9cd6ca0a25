//! Whether a backup is one of this database, as far as its audit trail can say.

use keepwell_workers::{
    clock::UnixMs,
    database::{Database, turn::Urgency},
    on_connection,
};

use super::audit::ChainEnd;

/// Whether `end`, which somebody read in a copy, is the newest block of the trail in `database`, or one that was sealed
/// since `since_ms`: an older one is of an older copy. It never is before the first block.
pub async fn is_of_trail(database: &Database, end: &ChainEnd, since_ms: UnixMs) -> Result<bool, sqlx::Error> {
    const SQL: &str = "SELECT hash FROM audit_blocks WHERE number = $1 \
         AND (sealed_at_ms >= $2 OR number = (SELECT MAX(number) FROM audit_blocks))";
    let mut reader = database.reader(Urgency::General).await?;
    let found: Option<(Vec<u8>,)> = on_connection!(reader, |connection| {
        sqlx::query_as(SQL).bind(end.block).bind(since_ms).fetch_optional(connection).await
    })?;
    Ok(found.is_some_and(|(hash,)| hex::encode(hash) == end.hash))
}
