//! Sealing: new entries get their positions and a block. One process does it at a time, beside the work; nobody waits
//! for it longer than its short transaction takes.

use keepwell_workers::{
    clock::SharedClock,
    database::{Database, Durability, Transaction, pieces, turn::Urgency},
    id::JobId,
    on_connection,
    seal::{KeyRing, SealError},
};
use sqlx::{QueryBuilder, types::Uuid};

use super::{
    acknowledged::acknowledged_of,
    block::{Block, ChainEnd},
    entry::{COLUMNS, EntryRow},
    finding::{Details, Finding, shown_key},
    head::Head,
    keys::{self, CodeKey},
    promised::Promised,
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
    /// The chain goes on under a key that this process was not given yet; others may seal meanwhile.
    #[error(
        "the audit trail is sealed with the key `{0}`, which is not in the key ring; add it to `encryption.keys`"
    )]
    KeyUnknown(String),
}

impl From<SealError> for AuditError {
    fn from(error: SealError) -> Self {
        match error {
            SealError::UnknownKey(key) => Self::KeyUnknown(shown_key(&key)),
            SealError::Altered(_) | SealError::TooLong => Self::Tampered,
        }
    }
}

/// What a round came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Round {
    /// Entries that are in a block now and were not before.
    pub entries: usize,
    /// The end of the chain.
    pub end: ChainEnd,
    /// One of the entries that keepwell did not write, or not so. It gets no block, and holds up no other. Those that
    /// somebody has acknowledged are not told of.
    pub forged: Option<JobId>,
    /// A key that is not in the ring and has sealed an entry: whoever has it seals that entry. Nor is it told of if
    /// somebody has acknowledged that.
    pub key_unknown: Option<String>,
}

/// Binds new entries into blocks.
#[derive(Debug)]
pub struct Sealer {
    database: Database,
    keys: KeyRing,
    clock: SharedClock,
    entries_per_block: usize,
    key: Option<CodeKey>,
    /// The entry behind which the next round goes on; nobody's if that is at the beginning. There it is, unless some
    /// get no block and are to be passed over: what was written later may have a smaller id.
    after: Uuid,
}

impl Sealer {
    /// A sealer of the trail in `database`.
    pub fn new(database: Database, keys: KeyRing, clock: SharedClock) -> Self {
        Self { database, keys, clock, entries_per_block: ENTRIES_PER_BLOCK, key: None, after: Uuid::nil() }
    }

    /// The same with blocks of at most `entries`.
    #[must_use]
    pub fn with_entries_per_block(self, entries: usize) -> Self {
        Self { entries_per_block: entries.clamp(1, ENTRIES_PER_BLOCK), ..self }
    }

    /// Seals what is there, but not for ever.
    pub async fn round(&mut self) -> Result<Round, AuditError> {
        let end = self.proved_end().await?;
        let mut round = Round { entries: 0, end, forged: None, key_unknown: None };
        let mut passed_over = false;
        for _ in 0..BLOCKS_PER_ROUND {
            let found = self.unsealed().await?;
            let Some(last) = found.last().map(|entry| entry.id) else {
                self.after = Uuid::nil();
                break;
            };
            self.after = last;
            let count = found.len();
            let entries = self.authentic(found, &mut round).await?;
            passed_over |= entries.len() < count;
            if entries.is_empty() {
                continue;
            }
            let Some(block) = self.seal(&entries).await? else {
                self.after = Uuid::nil();
                break;
            };
            round.entries += entries.len();
            round.end = block.end();
        }
        if !passed_over {
            self.after = Uuid::nil();
        }
        Ok(round)
    }

    /// Those of `entries` that keepwell wrote: sealing another one would vouch for it.
    async fn authentic(
        &self,
        mut entries: Vec<EntryRow>,
        round: &mut Round,
    ) -> Result<Vec<EntryRow>, sqlx::Error> {
        let mut others = Vec::new();
        entries.retain(|entry| {
            let details = entry.details(&self.keys);
            let is_whole = details == Details::Whole;
            // While a key is brought round very many may be sealed with it, and one of them says so.
            let is_told = matches!(details, Details::KeyUnknown(_)) && round.key_unknown.is_some();
            if !is_whole && !is_told {
                others.push((JobId(entry.id), details, entry.check_unsealed(&self.keys).err()));
            }
            is_whole
        });
        if !others.is_empty() {
            let prints =
                others.iter().filter_map(|(.., finding)| Some(finding.as_ref()?.fingerprint.clone()));
            let known = acknowledged_of(&self.database, &self.keys, &prints.collect()).await?;
            let is_known = |finding: &Finding| known.contains(&finding.fingerprint);
            for (id, details, _) in
                others.into_iter().filter(|(.., finding)| !finding.as_ref().is_some_and(is_known))
            {
                match details {
                    Details::KeyUnknown(key) => round.key_unknown = Some(shown_key(&key)),
                    _ => round.forged = Some(id),
                }
            }
        }
        Ok(entries)
    }

    async fn proved_end(&self) -> Result<ChainEnd, AuditError> {
        let mut reader = self.database.reader(Urgency::General).await?;
        let mut snapshot = reader.snapshot().await?;
        let head = Head::read(&mut snapshot).await?;
        head.prove(&keys::all(&mut snapshot).await?, &self.keys)?;
        Ok(head.end())
    }

    /// The same behind `noted`, an end of the chain that was noted outside the database. A chain that does not hold it
    /// was cut off or taken back to an earlier state; adding to it would hide that, so nothing is added.
    pub async fn round_behind(&mut self, noted: &ChainEnd) -> Result<Round, AuditError> {
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
        let sql = format!(
            "SELECT {COLUMNS} FROM audit_entries WHERE position IS NULL AND id > $1 ORDER BY id LIMIT $2"
        );
        let mut reader = self.database.reader(Urgency::General).await?;
        on_connection!(reader, |connection| {
            sqlx::query_as(sqlx::AssertSqlSafe(sql))
                .bind(self.after)
                .bind(self.entries_per_block as i64)
                .fetch_all(connection)
                .await
        })
    }

    /// `None` if another process was faster, or makes codes with a newer key by now.
    async fn seal(&mut self, entries: &[EntryRow]) -> Result<Option<Block>, AuditError> {
        let now_ms = self.clock.now_ms();
        let key = match &self.key {
            Some(key) => key.clone(),
            None => self.key.insert(keys::current(&self.database, &self.keys, now_ms).await?).clone(),
        };
        // Durable, or a power cut could take back a block whose number somebody else has noted.
        let mut transaction = self.database.begin(Urgency::General, Durability::Durable, now_ms).await?;
        let head = Head::take(&mut transaction).await?;
        if !head.is_signed_by(&key) {
            head.prove(&keys::all(&mut transaction).await?, &self.keys)?;
            self.key = None;
            return Ok(None);
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
        self.database.beside::<Promised>().settle(entries.iter().map(|entry| entry.id));
        Ok(Some(block))
    }
}

/// Gives each entry its position; `false` if one of them has another already.
async fn place(transaction: &mut Transaction, places: &[(i64, &EntryRow)]) -> Result<bool, sqlx::Error> {
    let changed = on_connection!(transaction, |connection| {
        let mut statement = QueryBuilder::new("UPDATE audit_entries SET position = places.column1 FROM (");
        statement.push_values(places, |mut row, (position, entry)| {
            row.push_bind(*position).push_bind(entry.id);
        });
        // Both dialects call the columns of a list of values that.
        statement
            .push(") AS places WHERE audit_entries.id = places.column2 AND audit_entries.position IS NULL");
        statement.build().execute(connection).await.map(|done| done.rows_affected())
    })?;
    Ok(changed == places.len() as u64)
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
