//! Sealing: new entries get their positions and a block. One process does it at a time, beside the work; nobody waits
//! for it longer than its short transaction takes.

use keepwell_workers::{
    clock::SharedClock,
    database::{Database, Durability, Transaction, pieces, turn::Urgency},
    on_connection,
    seal::KeyRing,
};
use sqlx::QueryBuilder;

use super::{
    block::{Block, ChainEnd},
    entry::{COLUMNS, EntryRow},
    head::Head,
    keys::{self, CodeKey},
    verify::blocks,
};

/// Entries in a block: what a transaction binds in about 2 ms.
const ENTRIES_PER_BLOCK: usize = 64;

/// Blocks in one round, so that a round ends.
const BLOCKS_PER_ROUND: usize = 64;

/// The trail could not be sealed.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The database refused.
    #[error("the audit trail cannot be reached")]
    Database(#[from] sqlx::Error),
    /// Somebody changed the chain; adding to it would hide that.
    #[error(
        "the audit trail is not as keepwell left it, so nothing more is sealed; `keepwell audit verify` says more"
    )]
    Tampered,
}

/// What a round came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// Entries that are in a block now and were not before.
    pub entries: usize,
    /// The end of the chain.
    pub end: ChainEnd,
}

/// Binds new entries into blocks.
#[derive(Debug)]
pub struct Sealer {
    database: Database,
    keys: KeyRing,
    clock: SharedClock,
    entries_per_block: usize,
    key: Option<CodeKey>,
}

impl Sealer {
    /// A sealer of the trail in `database`.
    pub fn new(database: Database, keys: KeyRing, clock: SharedClock) -> Self {
        Self { database, keys, clock, entries_per_block: ENTRIES_PER_BLOCK, key: None }
    }

    /// The same with blocks of at most `entries`.
    #[must_use]
    pub fn with_entries_per_block(self, entries: usize) -> Self {
        Self { entries_per_block: entries.clamp(1, ENTRIES_PER_BLOCK), ..self }
    }

    /// Seals what is there, but not for ever; `None` if there was nothing to do.
    pub async fn round(&mut self) -> Result<Option<Sealed>, AuditError> {
        let mut sealed: Option<Sealed> = None;
        for _ in 0..BLOCKS_PER_ROUND {
            let entries = self.unsealed().await?;
            if entries.is_empty() {
                break;
            }
            let Some(block) = self.seal(&entries).await? else { break };
            let before = sealed.map_or(0, |sealed| sealed.entries);
            sealed = Some(Sealed { entries: before + entries.len(), end: block.end() });
        }
        Ok(sealed)
    }

    /// The same behind `noted`, an end of the chain that was noted outside the database. A chain that does not hold it
    /// was cut off or taken back to an earlier state; adding to it would hide that, so nothing is added.
    pub async fn round_behind(&mut self, noted: &ChainEnd) -> Result<Option<Sealed>, AuditError> {
        if self.holds(noted).await? { self.round().await } else { Err(AuditError::Tampered) }
    }

    async fn holds(&self, noted: &ChainEnd) -> Result<bool, sqlx::Error> {
        let mut reader = self.database.reader(Urgency::General).await?;
        let mut snapshot = reader.snapshot().await?;
        let head = Head::read(&mut snapshot).await?;
        if noted.block < head.first_block {
            // Retention has taken it.
            return Ok(true);
        }
        let found = blocks(&mut snapshot, noted.block, noted.block).await?;
        Ok(noted.block <= head.last_block && found.first().is_some_and(|block| block.end() == *noted))
    }

    async fn unsealed(&self) -> Result<Vec<EntryRow>, sqlx::Error> {
        let sql = format!("SELECT {COLUMNS} FROM audit_entries WHERE position IS NULL ORDER BY id LIMIT $1");
        let mut reader = self.database.reader(Urgency::General).await?;
        on_connection!(reader, |connection| {
            sqlx::query_as(sqlx::AssertSqlSafe(sql))
                .bind(self.entries_per_block as i64)
                .fetch_all(connection)
                .await
        })
    }

    /// `None` if another process was faster.
    async fn seal(&mut self, entries: &[EntryRow]) -> Result<Option<Block>, AuditError> {
        let now_ms = self.clock.now_ms();
        let key = match &self.key {
            Some(key) => key.clone(),
            None => self.key.insert(keys::current(&self.database, &self.keys, now_ms).await?).clone(),
        };
        // Durable, or a power cut could take back a block whose number somebody else has noted.
        let mut transaction = self.database.begin(Urgency::General, Durability::Durable, now_ms).await?;
        let head = Head::take(&mut transaction).await?;
        if !self.is_genuine(&mut transaction, &head, &key).await? {
            return Err(AuditError::Tampered);
        }
        let first_position = head.last_position + 1;
        let places: Vec<(i64, &EntryRow)> = (first_position..).zip(entries).collect();
        for piece in pieces(&places) {
            if !place(&mut transaction, piece).await? {
                return Ok(None);
            }
        }
        let block = Block {
            number: head.last_block + 1,
            previous: head.hash,
            first_position,
            last_position: head.last_position + entries.len() as i64,
            sealed_at_ms: now_ms,
            newest_ms: entries.iter().map(|entry| entry.at_ms).max().unwrap_or(now_ms),
            digests: entries.iter().flat_map(EntryRow::digest).collect(),
            hash: Vec::new(),
            audit_key: 0,
            code: Vec::new(),
        }
        .signed(&key);
        insert(&mut transaction, &block).await?;
        let head = Head {
            last_block: block.number,
            last_position: block.last_position,
            hash: block.hash.clone(),
            ..head
        };
        head.signed(&key).write(&mut transaction).await?;
        transaction.commit().await?;
        Ok(Some(block))
    }

    async fn is_genuine(
        &self,
        transaction: &mut Transaction,
        head: &Head,
        key: &CodeKey,
    ) -> Result<bool, AuditError> {
        if head.is_genuine(std::slice::from_ref(key)) {
            return Ok(true);
        }
        // Signed before the ring was rotated.
        let rows = keys::all(transaction).await?;
        let known: Vec<CodeKey> = rows.iter().filter_map(|row| row.open(&self.keys).ok()).collect();
        Ok(head.is_genuine(&known))
    }
}

/// Gives each entry its position; `false` if one of them has another already.
async fn place(transaction: &mut Transaction, places: &[(i64, &EntryRow)]) -> Result<bool, sqlx::Error> {
    let placed = on_connection!(transaction, |connection| {
        let mut statement = QueryBuilder::new("UPDATE audit_entries SET position = places.column1 FROM (");
        statement.push_values(places, |mut row, (position, entry)| {
            row.push_bind(*position).push_bind(entry.id);
        });
        // Both dialects call the columns of a list of values that.
        statement
            .push(") AS places WHERE audit_entries.id = places.column2 AND audit_entries.position IS NULL");
        statement.build().execute(connection).await.map(|done| done.rows_affected())
    })?;
    Ok(placed == places.len() as u64)
}

async fn insert(transaction: &mut Transaction, block: &Block) -> Result<(), sqlx::Error> {
    const SQL: &str = "INSERT INTO audit_blocks (number, previous, first_position, last_position, sealed_at_ms, \
         newest_ms, digests, hash, audit_key, code) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
    on_connection!(transaction, |connection| {
        sqlx::query(SQL)
            .bind(block.number)
            .bind(&block.previous)
            .bind(block.first_position)
            .bind(block.last_position)
            .bind(block.sealed_at_ms)
            .bind(block.newest_ms)
            .bind(&block.digests)
            .bind(&block.hash)
            .bind(block.audit_key)
            .bind(&block.code)
            .execute(connection)
            .await
            .map(|_| ())
    })
}
