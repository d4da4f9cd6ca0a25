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
    block::{BEGINNING, Block},
    finding::{Before, Looked},
    head::Head,
    keys::{self, CodeKeys},
    sealer::AuditError,
    verify::blocks,
};

/// Blocks that leave in one transaction, with at most 64 entries each.
const BLOCKS_PER_PRUNING: usize = 8;

/// Deletes the oldest blocks if everything in them is older than `keep_ms` (at least seven years), eight at most; says
/// how many. A block that is not known to be what was sealed stays, with all behind it: whoever can write the database
/// could else have keepwell itself take away what they make look old.
pub async fn prune(
    database: &Database,
    keys: &KeyRing,
    keep_ms: i64,
    now_ms: UnixMs,
) -> Result<usize, AuditError> {
    const ENTRIES: &str =
        "DELETE FROM audit_entries WHERE position IS NOT NULL AND position BETWEEN $1 AND $2";
    const BLOCKS: &str = "DELETE FROM audit_blocks WHERE number BETWEEN $1 AND $2";
    let oldest_ms = now_ms - keep_ms.max(AUDIT_RETENTION_MS);
    let mut reader = database.reader(Urgency::General).await?;
    let head = Head::read(&mut reader).await?;
    let last = head.first_block.saturating_add(BLOCKS_PER_PRUNING as i64) - 1;
    let found = blocks(&mut reader, head.first_block, last).await?;
    let code_keys = CodeKeys::open(&keys::all(&mut reader).await?, keys);
    drop(reader);
    let leaving = leaving(found, &head, &code_keys, oldest_ms);
    let (Some(first), Some(last)) = (leaving.first(), leaving.last()) else { return Ok(0) };
    let key = keys::current(database, keys, now_ms).await?;
    let mut transaction = database.begin(Urgency::General, Durability::Durable, now_ms).await?;
    let head = Head::take(&mut transaction).await?;
    head.prove(&keys::all(&mut transaction).await?, keys)?;
    if head.first_block != first.number || !head.is_signed_by(&key) {
        // Another process was faster, or makes codes with a newer key by now.
        return Ok(0);
    }
    for (sql, from, to) in
        [(ENTRIES, first.first_position, last.last_position), (BLOCKS, first.number, last.number)]
    {
        on_connection!(transaction, |connection| {
            sqlx::query(sql).bind(from).bind(to).execute(connection).await.map(|_| ())
        })?;
    }
    let head = Head { first_block: last.number + 1, ..head };
    head.signed(&key).write(&mut transaction).await?;
    transaction.commit().await?;
    Ok(leaving.len())
}

/// Those of `found` that are known to be the oldest blocks of the chain, one behind the other, and in which everything
/// is older than `oldest_ms`. The last block stays, or nobody could say what the next one follows.
fn leaving(found: Vec<Block>, head: &Head, code_keys: &CodeKeys, oldest_ms: UnixMs) -> Vec<Block> {
    let mut before = match head.first_block {
        ..=1 => Before { hash: Some(BEGINNING.to_vec()), audit_key: 0 },
        // What it followed has left.
        _ => Before::default(),
    };
    let mut leaving: Vec<Block> = Vec::new();
    for block in found {
        let (number, position) = leaving.last().map_or((head.first_block, None), |last| {
            (last.number.saturating_add(1), Some(last.last_position.saturating_add(1)))
        });
        let follows =
            block.number == number && position.is_none_or(|position| block.first_position == position);
        let is_old = block.newest_ms < oldest_ms && block.number < head.last_block;
        let looked = Looked::at(block, Some(code_keys));
        if !(follows && is_old && looked.check(&before).is_ok()) {
            break;
        }
        before = looked.behind(&before);
        leaving.push(looked.block);
    }
    leaving
}
