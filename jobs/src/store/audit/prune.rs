//! Retention: whole blocks leave at the old end of the chain, with their entries, once all of it is old enough. The
//! database's own triggers refuse anything younger than [`AUDIT_RETENTION_DAYS`](super::AUDIT_RETENTION_DAYS).

use keepwell_workers::{
    clock::UnixMs,
    database::{Database, Durability, turn::Urgency},
    on_connection,
    seal::KeyRing,
};

use super::{
    AUDIT_RETENTION_MS,
    head::Head,
    keys::{self, CodeKey},
    sealer::AuditError,
    verify::blocks,
};

/// Deletes the oldest block if everything in it is older than `keep_ms` (at least seven years); says whether it did.
pub async fn prune(
    database: &Database,
    keys: &KeyRing,
    keep_ms: i64,
    now_ms: UnixMs,
) -> Result<bool, AuditError> {
    const ENTRIES: &str =
        "DELETE FROM audit_entries WHERE position IS NOT NULL AND position BETWEEN $1 AND $2";
    const BLOCK: &str = "DELETE FROM audit_blocks WHERE number = $1";
    let oldest_ms = now_ms - keep_ms.max(AUDIT_RETENTION_MS);
    let mut reader = database.reader(Urgency::General).await?;
    let head = Head::read(&mut reader).await?;
    let found = blocks(&mut reader, head.first_block, head.first_block).await?;
    drop(reader);
    // The last block stays, or nobody could say what the next one follows.
    let Some(block) =
        found.first().filter(|block| block.newest_ms < oldest_ms && block.number < head.last_block)
    else {
        return Ok(false);
    };
    let key = keys::current(database, keys, now_ms).await?;
    let mut transaction = database.begin(Urgency::General, Durability::Durable, now_ms).await?;
    let head = Head::take(&mut transaction).await?;
    let rows = keys::all(&mut transaction).await?;
    let known: Vec<CodeKey> = rows.iter().filter_map(|row| row.open(keys).ok()).collect();
    if !head.is_genuine(&known) {
        return Err(AuditError::Tampered);
    }
    if head.first_block != block.number {
        return Ok(false);
    }
    on_connection!(transaction, |connection| {
        sqlx::query(ENTRIES)
            .bind(block.first_position)
            .bind(block.last_position)
            .execute(connection)
            .await
            .map(|_| ())
    })?;
    on_connection!(transaction, |connection| {
        sqlx::query(BLOCK).bind(block.number).execute(connection).await.map(|_| ())
    })?;
    let head = Head { first_block: block.number + 1, ..head };
    head.signed(&key).write(&mut transaction).await?;
    transaction.commit().await?;
    Ok(true)
}
