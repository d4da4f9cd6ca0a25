//! Verifying the trail where it lies, a bounded piece at a time.

use keepwell_workers::{
    clock::UnixMs,
    database::{Database, Snapshot, turn::Urgency},
    id::JobId,
    on_connection,
    seal::KeyRing,
};
use serde::Serialize;
use sqlx::types::Uuid;

use super::{
    super::connected::Connected,
    AUDIT_RETENTION_MS,
    block::{BEGINNING, BLOCK_COLUMNS, Block, ChainEnd},
    entry::{COLUMNS, EntryRow},
    finding::{Before, Details, Finding, Problem, Seen, check_block, check_entries},
    head::Head,
    keys::{self, CodeKeys},
    promised::REMOVED,
    sealer::AuditError,
};

/// Blocks that one call looks at, at most.
pub(super) const BLOCKS_PER_PAGE_MAX: i64 = 200;

/// Entries without a block that are looked at. There are more only while nobody seals.
const UNSEALED_MAX: i64 = 5_000;

/// What a piece of the trail looks like.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The first thing that is wrong; `None` if nothing is.
    pub finding: Option<Finding>,
    /// Blocks that were looked at and are whole.
    pub blocks: u64,
    /// Entries that were looked at and are whole, those without a block included.
    pub entries: u64,
    /// Entries that are in no block yet, as far as they were looked at.
    pub unsealed: u64,
    /// When the oldest of these happened.
    pub unsealed_since_ms: Option<UnixMs>,
    /// The block to go on with; `None` at the end.
    pub next: Option<i64>,
    /// Where the chain ends.
    pub end: ChainEnd,
}

/// Looks through the trail in a database.
#[derive(Debug, Clone)]
pub struct Verifier {
    database: Database,
    keys: KeyRing,
}

impl Verifier {
    /// A verifier of the trail in `database` that opens what it looks at with `keys`.
    pub fn new(database: Database, keys: KeyRing) -> Self {
        Self { database, keys }
    }

    /// Looks at up to `blocks_max` blocks (and 200) from number `from` on, or from the first one. `witness` is an end
    /// of the chain that somebody noted earlier, outside the database. Entries that are in no block are looked at with
    /// the last piece.
    pub async fn page(
        &self,
        from: Option<i64>,
        blocks_max: i64,
        witness: Option<&ChainEnd>,
        now_ms: UnixMs,
    ) -> Result<Report, sqlx::Error> {
        // What is sealed or let go meanwhile would look as if somebody had done it.
        let mut reader = self.database.reader(Urgency::General).await?;
        let mut reader = reader.snapshot().await?;
        let head = Head::read(&mut reader).await?;
        let rows = keys::all(&mut reader).await?;
        let code_keys = CodeKeys::open(&rows, &self.keys);
        let mut report = Report {
            finding: None,
            blocks: 0,
            entries: 0,
            unsealed: 0,
            unsealed_since_ms: None,
            next: None,
            end: head.end(),
        };
        if let Err(error) = head.prove(&rows, &self.keys) {
            let detail = "where the chain begins and ends was not written by keepwell";
            let newest = rows.last().map_or(Ok(()), |newest| code_keys.get(newest.id).map(|_| ()));
            report.finding = Some(match (error, newest) {
                (AuditError::Database(error), _) => return Err(error),
                (_, Err((problem, detail))) => Finding::anywhere(problem, detail),
                (_, Ok(())) => Finding::anywhere(Problem::HeadAltered, detail),
            });
            return Ok(report);
        }
        let page = Page { keys: &self.keys, code_keys: &code_keys, head: &head, witness, now_ms };
        // Retention may have taken what the page before promised.
        let from = from.map_or(head.first_block, |from| from.max(head.first_block));
        report.finding = page.look(&mut reader, from, blocks_max, &mut report).await?.err();
        Ok(report)
    }
}

struct Page<'p> {
    keys: &'p KeyRing,
    code_keys: &'p CodeKeys,
    head: &'p Head,
    witness: Option<&'p ChainEnd>,
    now_ms: UnixMs,
}

impl Page<'_> {
    async fn look(
        &self,
        reader: &mut Snapshot<'_>,
        from: i64,
        blocks_max: i64,
        report: &mut Report,
    ) -> Result<Result<(), Finding>, sqlx::Error> {
        let mut before = self.before(reader, from).await?;
        let mut number = from;
        let last =
            self.head.last_block.min(from.saturating_add(blocks_max.clamp(1, BLOCKS_PER_PAGE_MAX)) - 1);
        let mut last_position = None;
        let found = blocks(reader, from, last).await?;
        if let Some(first) = found.first().filter(|first| first.number == self.head.first_block)
            && let Some(row) =
                entries(reader, i64::MIN, first.first_position.saturating_sub(1)).await?.first()
        {
            let at = (row.position, Some(JobId(row.id)));
            let detail = "its position lies before the beginning of the chain";
            return Ok(Err(Finding::at_entry(Problem::EntryInserted, None, at, detail)));
        }
        for block in found {
            if block.number != number {
                return Ok(Err(Self::gone(number)));
            }
            if let Err(finding) = self.check(reader, &block, &before, last_position).await? {
                return Ok(Err(finding));
            }
            report.blocks += 1;
            report.entries += (block.last_position - block.first_position + 1) as u64;
            last_position = Some(block.last_position);
            before = Before { hash: Some(block.hash), audit_key: block.audit_key };
            number += 1;
        }
        if number <= last {
            return Ok(Err(Self::gone(number)));
        }
        if last < self.head.last_block {
            report.next = Some(last + 1);
            return Ok(Ok(()));
        }
        self.look_at_the_end(reader, before.hash.as_deref(), report).await
    }

    async fn check(
        &self,
        reader: &mut Snapshot<'_>,
        block: &Block,
        before: &Before,
        last_position: Option<i64>,
    ) -> Result<Result<(), Finding>, sqlx::Error> {
        let checked = check_block(block, before, Some(self.code_keys));
        if checked.is_err() {
            return Ok(checked);
        }
        if last_position.is_some_and(|last| block.first_position != last + 1) {
            let detail = "its entries do not follow those of the block before it";
            return Ok(Err(Finding::at_block(Problem::BlockAltered, block.number, detail)));
        }
        if let Some(witness) = self.witness.filter(|witness| witness.block == block.number)
            && *witness != block.end()
        {
            let detail = "it is another block than the one that was noted outside the database";
            return Ok(Err(Finding::at_block(Problem::BlockAltered, block.number, detail)));
        }
        let rows = entries(reader, block.first_position, block.last_position).await?;
        let seen: Vec<Seen> = rows.iter().filter_map(|row| self.seen(row)).collect();
        Ok(check_entries(block, &seen, true))
    }

    fn seen(&self, row: &EntryRow) -> Option<Seen> {
        let details = row.details(self.keys);
        Some(Seen {
            id: JobId(row.id),
            position: row.position?,
            digest: row.digest(),
            authentic: details == Details::Whole,
            details,
            tells_of_removal: row.action == REMOVED,
        })
    }

    /// What the block `number` has to follow; nothing is known of it if retention took that.
    async fn before(&self, reader: &mut Snapshot<'_>, number: i64) -> Result<Before, sqlx::Error> {
        if number <= 1 {
            return Ok(Before { hash: Some(BEGINNING.to_vec()), audit_key: 0 });
        }
        let found = blocks(reader, number - 1, number - 1).await?.pop();
        Ok(found.map_or_else(Before::default, |block| Before {
            hash: Some(block.hash),
            audit_key: block.audit_key,
        }))
    }

    fn gone(number: i64) -> Finding {
        Finding::at_block(Problem::BlockRemoved, number, "the block is gone")
    }

    /// The head, what was noted outside, and entries beside the chain.
    async fn look_at_the_end(
        &self,
        reader: &mut Snapshot<'_>,
        last_hash: Option<&[u8]>,
        report: &mut Report,
    ) -> Result<Result<(), Finding>, sqlx::Error> {
        let head = self.head;
        if last_hash.is_some_and(|hash| hash != head.hash) {
            let detail = "the last block is not the one that the head of the chain names";
            return Ok(Err(Finding::at_block(Problem::BlockAltered, head.last_block, detail)));
        }
        if let Some(witness) = self.witness.filter(|witness| witness.block > head.last_block) {
            let detail = format!(
                "the chain ends with block {}, but block {} was noted outside the database",
                head.last_block, witness.block
            );
            return Ok(Err(Finding::at_block(Problem::Truncated, head.last_block + 1, detail)));
        }
        let beside = entries(reader, head.last_position + 1, i64::MAX).await?;
        if let Some(row) = beside.first() {
            let at = (row.position, Some(JobId(row.id)));
            let detail = "its position lies behind the end of the chain";
            return Ok(Err(Finding::at_entry(Problem::EntryInserted, None, at, detail)));
        }
        for row in unsealed(reader).await? {
            let at = (None, Some(JobId(row.id)));
            if let Err((problem, detail)) = row.details(self.keys).check() {
                return Ok(Err(Finding::at_entry(problem, None, at, detail)));
            }
            if row.at_ms < self.now_ms - AUDIT_RETENTION_MS {
                let detail = "an entry of the distant past is in no block";
                return Ok(Err(Finding::at_entry(Problem::EntryInserted, None, at, detail)));
            }
            report.unsealed += 1;
            report.entries += 1;
            let since_ms = report.unsealed_since_ms.unwrap_or(row.at_ms);
            report.unsealed_since_ms = Some(since_ms.min(row.at_ms));
        }
        Ok(Ok(()))
    }
}

/// The blocks with these numbers, in order.
pub(super) async fn blocks(
    reader: &mut impl Connected,
    from: i64,
    to: i64,
) -> Result<Vec<Block>, sqlx::Error> {
    let sql = format!(
        "SELECT {BLOCK_COLUMNS} FROM audit_blocks WHERE number BETWEEN $1 AND $2 ORDER BY number LIMIT $3"
    );
    on_connection!(reader, |connection| {
        sqlx::query_as(sqlx::AssertSqlSafe(sql))
            .bind(from)
            .bind(to)
            .bind(BLOCKS_PER_PAGE_MAX)
            .fetch_all(connection)
            .await
    })
}

/// The entries at these positions, in order.
pub(super) async fn entries(
    reader: &mut impl Connected,
    from: i64,
    to: i64,
) -> Result<Vec<EntryRow>, sqlx::Error> {
    let sql = format!(
        "SELECT {COLUMNS} FROM audit_entries WHERE position IS NOT NULL AND position BETWEEN $1 AND $2 \
         ORDER BY position, id LIMIT 1000"
    );
    on_connection!(reader, |connection| {
        sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(from).bind(to).fetch_all(connection).await
    })
}

/// Which of the entries without a block has the smallest id; `None` if all are in blocks.
pub async fn waits_first(database: &Database) -> Result<Option<JobId>, sqlx::Error> {
    const SQL: &str = "SELECT id FROM audit_entries WHERE position IS NULL ORDER BY id LIMIT 1";
    let mut reader = database.reader(Urgency::General).await?;
    let first: Option<(Uuid,)> =
        on_connection!(reader, |connection| sqlx::query_as(SQL).fetch_optional(connection).await)?;
    Ok(first.map(|(id,)| JobId(id)))
}

async fn unsealed(reader: &mut Snapshot<'_>) -> Result<Vec<EntryRow>, sqlx::Error> {
    let sql = format!("SELECT {COLUMNS} FROM audit_entries WHERE position IS NULL ORDER BY id LIMIT $1");
    on_connection!(reader, |connection| {
        sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(UNSEALED_MAX).fetch_all(connection).await
    })
}
