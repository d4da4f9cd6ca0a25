//! Exporting the trail, a bounded piece at a time. How far it has come is in the cursor that leads from piece to piece,
//! sealed: nobody can begin in the middle, or have something signed that was left out.

use keepwell_workers::{
    clock::UnixMs,
    database::{Database, turn::Urgency},
    seal::KeyRing,
};
use serde::{Deserialize, Serialize};

use super::{
    block::{Block, ChainEnd},
    entry::EntryRow,
    file::Line,
    head::Head,
    keys,
    manifest::{FORMAT, Lines, Manifest, SealedKey, SignedManifest},
    query::AuditFilter,
    verify::{blocks, entries},
};
use crate::care::document::UtcTime;

/// Blocks in one piece; each has up to 64 entries.
const BLOCKS_PER_PIECE: i64 = 16;

/// A piece of an export, in the order in which the pieces belong into the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExportPage {
    /// Each is one line, without its end. The last one of the last piece is the signed manifest.
    pub lines: Vec<String>,
    /// What to ask the next piece with; `None` at the end.
    pub next: Option<String>,
}

/// The trail could not be exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The database refused.
    #[error("the audit trail cannot be reached")]
    Database(#[from] sqlx::Error),
    /// The cursor is not one that a piece before this one gave for the same filter.
    #[error("the cursor is not that of a piece before this one; begin anew, without one")]
    Cursor,
}

/// How far an export has come.
#[derive(Serialize, Deserialize)]
struct Progress {
    next: i64,
    begin: ChainEnd,
    lines: Lines,
}

impl Progress {
    fn context(filter: &AuditFilter) -> Vec<u8> {
        format!("audit export\0{:?}", filter.asked()).into_bytes()
    }

    fn seal(&self, filter: &AuditFilter, keys: &KeyRing) -> Option<String> {
        let sealed = keys.seal(&Self::context(filter), &serde_json::to_vec(self).ok()?).ok()?;
        Some(format!("{}.{}", hex::encode(sealed.bytes), sealed.key_id))
    }

    fn open(cursor: &str, filter: &AuditFilter, keys: &KeyRing) -> Option<Self> {
        let (sealed, key_id) = cursor.split_once('.')?;
        let opened = keys.open(&Self::context(filter), key_id, &hex::decode(sealed).ok()?).ok()?;
        serde_json::from_slice(&opened).ok()
    }
}

/// The blocks behind `cursor` (or from the first one), each followed by its entries that match, opened. Entries that
/// are in no block yet are not exported. A block without a match is left out unless there is no filter at all.
pub async fn export(
    database: &Database,
    keys: &KeyRing,
    filter: &AuditFilter,
    cursor: Option<&str>,
    now_ms: UnixMs,
) -> Result<ExportPage, ExportError> {
    let everything = *filter == AuditFilter::default();
    let mut reader = database.reader(Urgency::General).await?;
    let mut reader = reader.snapshot().await?;
    let head = Head::read(&mut reader).await?;
    let known = match cursor {
        Some(cursor) => Some(Progress::open(cursor, filter, keys).ok_or(ExportError::Cursor)?),
        None => None,
    };
    let from = known.as_ref().map_or(head.first_block, |known| known.next);
    let to = head.last_block.min(from.saturating_add(BLOCKS_PER_PIECE) - 1);
    let found = blocks(&mut reader, from, to).await?;
    let Progress { begin, lines, .. } = known.unwrap_or_else(|| beginning(&head, found.first()));
    let mut written = Vec::new();
    for block in found {
        let rows = entries(&mut reader, block.first_position, block.last_position).await?;
        let matching: Vec<EntryRow> = rows.into_iter().filter(|entry| filter.takes(entry)).collect();
        if !everything && matching.is_empty() {
            continue;
        }
        written.push(Line::of_block(&block));
        written.extend(matching.iter().map(|entry| Line::of_entry(entry, keys)));
    }
    let lines = lines.with(written.iter().map(String::as_str));
    let encode = |error: serde_json::Error| sqlx::Error::Encode(Box::new(error));
    if to < head.last_block {
        let next = Progress { next: to + 1, begin, lines }.seal(filter, keys);
        return Ok(ExportPage { lines: written, next });
    }
    let rows = keys::all(&mut reader).await?;
    let manifest = Manifest {
        format: FORMAT,
        exported_at: UtcTime(now_ms).to_rfc3339(),
        filter: filter.asked(),
        lines,
        begin,
        end: head.end(),
        keys: rows.into_iter().map(SealedKey::of).collect(),
    };
    written.push(SignedManifest::line(&manifest, keys).map_err(encode)?);
    Ok(ExportPage { lines: written, next: None })
}

fn beginning(head: &Head, first: Option<&Block>) -> Progress {
    let begin = match first {
        Some(first) => ChainEnd { block: first.number - 1, hash: hex::encode(&first.previous) },
        None => head.end(),
    };
    Progress { next: head.first_block, begin, lines: Lines::default() }
}
