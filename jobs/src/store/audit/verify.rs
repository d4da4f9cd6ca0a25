//! Verifying the trail where it lies, a bounded piece at a time.

use keepwell_workers::{
    clock::UnixMs,
    database::{Database, Snapshot, turn::Urgency},
    id::JobId,
    on_connection,
    seal::KeyRing,
};
use serde::Serialize;

use super::{
    super::connected::Connected,
    AUDIT_RETENTION_MS, acknowledged,
    block::{BEGINNING, BLOCK_COLUMNS, Block, ChainEnd},
    entry::{COLUMNS, EntryRow},
    evidence::with_evidence,
    finding::{Before, Details, Finding, Looked, Problem, Seen},
    findings::Findings,
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
    /// What is wrong.
    #[serde(flatten)]
    pub findings: Findings,
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
        let mut head = Head::read(&mut reader).await?;
        let rows = keys::all(&mut reader).await?;
        let code_keys = CodeKeys::open(&rows, &self.keys);
        let mut findings = Findings::default();
        let proved = head.prove(&rows, &self.keys);
        let head_is_proved = proved.is_ok();
        if let Err(error) = proved {
            let detail = "where the chain begins and ends was not written by keepwell";
            let newest = rows.last().map_or(Ok(()), |newest| code_keys.get(newest.id).map(|_| ()));
            findings.add(match (error, newest) {
                (AuditError::Database(error), _) => return Err(error),
                (_, Err((problem, detail))) => Finding::anywhere(problem, detail),
                (_, Ok(())) => Finding::anywhere(Problem::HeadAltered, detail),
            });
            head = head.or_found(&mut reader).await?;
        }
        let mut report = Report {
            findings,
            blocks: 0,
            entries: 0,
            unsealed: 0,
            unsealed_since_ms: None,
            next: None,
            end: head.end(),
        };
        let page =
            Page { keys: &self.keys, code_keys: &code_keys, head: &head, head_is_proved, witness, now_ms };
        // Retention may have taken what the page before promised.
        let from = from.map_or(head.first_block, |from| from.max(head.first_block));
        page.look(&mut reader, from, blocks_max, &mut report).await?;
        Ok(report)
    }
}

struct Page<'p> {
    keys: &'p KeyRing,
    code_keys: &'p CodeKeys,
    head: &'p Head,
    head_is_proved: bool,
    witness: Option<&'p ChainEnd>,
    now_ms: UnixMs,
}

impl Page<'_> {
    /// Goes on behind whatever is wrong: what is found first hides nothing that is found later.
    async fn look(
        &self,
        reader: &mut Snapshot<'_>,
        from: i64,
        blocks_max: i64,
        report: &mut Report,
    ) -> Result<(), sqlx::Error> {
        let mut before = self.before(reader, from).await?;
        let last =
            from.saturating_add(blocks_max.clamp(1, BLOCKS_PER_PAGE_MAX) - 1).min(self.head.last_block);
        let (mut seen_to, mut last_position) = (from - 1, None);
        let mut there = blocks(reader, from, last).await?.into_iter().peekable();
        while let Some(block) = there.next() {
            let mut found = Vec::new();
            if block.number - 1 > seen_to {
                self.gone(reader, seen_to + 1, block.number - 1, &mut found).await?;
                (before.hash, last_position) = (None, None);
            }
            let looked = Looked::at(block, Some(self.code_keys));
            let looked = self.held_against(reader, looked, there.peek()).await?;
            let checked = self.check(&looked, &before, last_position);
            let (block, is_whole) = (&looked.block, checked.is_ok());
            if is_whole && block.number == self.head.first_block {
                self.look_before(reader, block, &mut found).await?;
            }
            before = looked.behind(&before);
            // What is not known to be a block of the chain says nothing of where the next one begins.
            last_position = before.hash.is_some().then_some(block.last_position);
            let rows = entries(reader, block.first_position, block.last_position).await?;
            let seen: Vec<Seen> = rows.iter().filter_map(|row| self.seen(row)).collect();
            if let Err(finding) = checked {
                let (numbers, trail) = ((block.number, block.number), (self.head, self.keys));
                with_evidence(reader, finding, numbers, Some(block), trail, &mut found).await?;
            }
            let whole = looked.check_entries(&seen, true, &mut found);
            self.tell(reader, found, report).await?;
            report.entries += whole;
            report.blocks += u64::from(is_whole && whole == block.entries());
            seen_to = block.number;
        }
        if seen_to < last {
            // Somebody may have taken very many, or made up a number: over what is not there nobody goes step by step.
            report.next = first_behind(reader, last, self.head).await?;
            let to = report.next.map_or(self.head.last_block, |next| next - 1);
            let mut found = Vec::new();
            self.gone(reader, seen_to + 1, to, &mut found).await?;
            self.tell(reader, found, report).await?;
            before.hash = None;
        } else if last < self.head.last_block {
            report.next = Some(last + 1);
        }
        if report.next.is_some() {
            return Ok(());
        }
        let mut found = Vec::new();
        self.look_at_the_end(reader, before.hash.as_deref(), &mut found, report).await?;
        self.tell(reader, found, report).await
    }

    /// Adds what was found, told apart by whether somebody has acknowledged it.
    async fn tell(
        &self,
        reader: &mut Snapshot<'_>,
        mut found: Vec<Finding>,
        report: &mut Report,
    ) -> Result<(), sqlx::Error> {
        acknowledged::mark(reader, self.keys, &mut found).await?;
        for finding in found {
            report.findings.add(finding);
        }
        Ok(())
    }

    /// A block whose code nobody can check is held against what goes on behind it, `next` if that is read already: who
    /// made it up would else have all of its entries, which it does not hold, called altered.
    async fn held_against(
        &self,
        reader: &mut Snapshot<'_>,
        looked: Looked,
        next: Option<&Block>,
    ) -> Result<Looked, sqlx::Error> {
        let number = looked.block.number;
        if !looked.is_unproved() {
            return Ok(looked);
        }
        let is_followed = if number == self.head.last_block {
            !self.head_is_proved || self.head.hash == looked.block.hash
        } else {
            let next = match next {
                Some(next) => Some(next.clone()),
                None => blocks(reader, number + 1, number + 1).await?.pop(),
            };
            let next = next.filter(|next| next.number == number + 1);
            let next = next.map(|next| Looked::at(next, Some(self.code_keys)));
            next.filter(Looked::is_proved).is_none_or(|next| next.block.previous == looked.block.hash)
        };
        Ok(if is_followed { looked } else { looked.disowned() })
    }

    /// The entries in front of the `first` block, which is whole.
    async fn look_before(
        &self,
        reader: &mut Snapshot<'_>,
        first: &Block,
        found: &mut Vec<Finding>,
    ) -> Result<(), sqlx::Error> {
        for row in entries(reader, i64::MIN, first.first_position.saturating_sub(1)).await? {
            found.extend(row.inserted(self.keys, "its position lies before the beginning of the chain"));
        }
        Ok(())
    }

    fn check(&self, looked: &Looked, before: &Before, last_position: Option<i64>) -> Result<(), Finding> {
        let block = &looked.block;
        let altered = |detail| Err(Finding::at_block(Problem::BlockAltered, block.number, detail));
        looked.check(before)?;
        if last_position.is_some_and(|last| last.checked_add(1) != Some(block.first_position)) {
            return altered("its entries do not follow those of the block before it");
        }
        match self.witness.filter(|witness| witness.block == block.number) {
            Some(witness) if *witness != block.end() => {
                altered("it is another block than the one that was noted outside the database")
            }
            _ => Ok(()),
        }
    }

    fn seen(&self, row: &EntryRow) -> Option<Seen> {
        let details = row.details(self.keys);
        Some(Seen {
            id: JobId(row.id),
            position: row.position?,
            digest: row.digest(),
            print: row.print(&details),
            authentic: details == Details::Whole,
            details,
            tells_of_removal: row.action == REMOVED,
        })
    }

    /// What the block `number` has to follow; nothing is known of it if retention took that, or somebody changed it.
    async fn before(&self, reader: &mut Snapshot<'_>, number: i64) -> Result<Before, sqlx::Error> {
        if number <= 1 {
            return Ok(Before { hash: Some(BEGINNING.to_vec()), audit_key: 0 });
        }
        let found = blocks(reader, number - 1, number - 1).await?.pop();
        let unknown = Before::default();
        let behind = |block| Looked::at(block, Some(self.code_keys)).behind(&unknown);
        Ok(found.map_or_else(Before::default, behind))
    }

    /// Finds that the blocks from number `from` to number `to` are not there.
    async fn gone(
        &self,
        reader: &mut Snapshot<'_>,
        from: i64,
        to: i64,
        found: &mut Vec<Finding>,
    ) -> Result<(), sqlx::Error> {
        let detail = match to {
            _ if from == to => "the block is gone".to_owned(),
            _ => format!("the blocks from here to {to} are gone"),
        };
        let finding = Finding::at_block(Problem::BlockRemoved, from, detail);
        with_evidence(reader, finding, (from, to), None, (self.head, self.keys), found).await
    }

    /// The head, what was noted outside, and entries beside the chain.
    async fn look_at_the_end(
        &self,
        reader: &mut Snapshot<'_>,
        last_hash: Option<&[u8]>,
        found: &mut Vec<Finding>,
        report: &mut Report,
    ) -> Result<(), sqlx::Error> {
        let head = self.head;
        if last_hash.is_some_and(|hash| hash != head.hash) {
            let detail = "the last block is not the one that the head of the chain names";
            found.push(Finding::at_block(Problem::BlockAltered, head.last_block, detail));
        }
        if let Some(witness) = self.witness.filter(|witness| witness.block > head.last_block) {
            let detail = format!(
                "the chain ends with block {}, but block {} was noted outside the database",
                head.last_block, witness.block
            );
            found.push(Finding::at_block(Problem::Truncated, head.last_block + 1, detail));
        }
        // Where neither the head nor the last block can be believed, nobody knows where that is.
        let behind = if self.head_is_proved || last_hash.is_some() {
            entries(reader, head.last_position.saturating_add(1), i64::MAX).await?
        } else {
            Vec::new()
        };
        for row in behind {
            found.extend(row.inserted(self.keys, "its position lies behind the end of the chain"));
        }
        for row in unsealed(reader).await? {
            report.unsealed += 1;
            let since_ms = report.unsealed_since_ms.unwrap_or(row.at_ms);
            report.unsealed_since_ms = Some(since_ms.min(row.at_ms));
            if let Err(finding) = row.check_unsealed(self.keys) {
                found.push(finding);
            } else if row.at_ms < self.now_ms - AUDIT_RETENTION_MS {
                found.extend(row.inserted(self.keys, "an entry of the distant past is in no block"));
            } else {
                report.entries += 1;
                found.extend(row.told_removal(&Details::Whole));
            }
        }
        Ok(())
    }
}

/// The number of the first block behind the number `last`, if the chain goes on there.
pub(super) async fn first_behind(
    reader: &mut impl Connected,
    last: i64,
    head: &Head,
) -> Result<Option<i64>, sqlx::Error> {
    const SQL: &str = "SELECT MIN(number) FROM audit_blocks WHERE number > $1";
    let (next,): (Option<i64>,) =
        on_connection!(reader, |connection| sqlx::query_as(SQL).bind(last).fetch_one(connection).await)?;
    Ok(next.filter(|next| *next <= head.last_block))
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

/// Entries that are read at once, at most.
pub(super) const ENTRIES_MAX: usize = 1_000;

/// The entries at these positions, in order, up to [`ENTRIES_MAX`].
pub(super) async fn entries(
    reader: &mut impl Connected,
    from: i64,
    to: i64,
) -> Result<Vec<EntryRow>, sqlx::Error> {
    let sql = format!(
        "SELECT {COLUMNS} FROM audit_entries WHERE position IS NOT NULL AND position BETWEEN $1 AND $2 \
         ORDER BY position, id LIMIT {ENTRIES_MAX}"
    );
    on_connection!(reader, |connection| {
        sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(from).bind(to).fetch_all(connection).await
    })
}

async fn unsealed(reader: &mut Snapshot<'_>) -> Result<Vec<EntryRow>, sqlx::Error> {
    let sql = format!("SELECT {COLUMNS} FROM audit_entries WHERE position IS NULL ORDER BY id LIMIT $1");
    on_connection!(reader, |connection| {
        sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(UNSEALED_MAX).fetch_all(connection).await
    })
}
