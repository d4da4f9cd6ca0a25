//! An exported trail: lines of JSON, and a manifest as the last of them. It can be verified far from the database.
//!
//! Each line is `{"block":{…}}` or, behind its block, `{"entry":{…}}`. The digests and the chain are checked with nothing
//! but the file; with the key ring, the blocks' authentication codes as well, and only then is it certain that nobody
//! made the whole file up. An entry's `details` have to stay as they are written, to the byte.

use std::collections::BTreeMap;

use keepwell_workers::{id::JobId, seal::KeyRing};
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use sha2::{Digest as _, Sha256};

use super::{
    block::{BEGINNING, Block, ChainEnd},
    entry::{EntryRow, SALT_BYTES},
    finding::{Finding, Problem, Seen, check_block, check_entries},
    keys::{CodeKey, KeyRow},
};

/// A key of the trail, as the key ring sealed it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedKey {
    id: i64,
    key_id: String,
    sealed: String,
}

impl SealedKey {
    pub(super) fn of(row: KeyRow) -> Self {
        Self { id: row.id, key_id: row.key_id, sealed: hex::encode(row.sealed) }
    }

    fn open(&self, keys: &KeyRing) -> Option<CodeKey> {
        let sealed = hex::decode(&self.sealed).ok()?;
        let row = KeyRow { id: self.id, made_under: String::new(), key_id: self.key_id.clone(), sealed };
        row.open(keys).ok()
    }
}

/// The last line of an export.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The format of the file; 1.
    pub format: u32,
    /// When it was exported.
    pub exported_at: String,
    /// What was asked for; empty for everything.
    pub filter: BTreeMap<String, String>,
    /// Lines in front of this one.
    pub lines: u64,
    /// SHA-256 of everything in front of this line, in hexadecimal digits.
    pub sha256: String,
    /// Where the chain ended.
    pub end: ChainEnd,
    /// What opens the blocks' codes, for whoever has the key ring.
    pub keys: Vec<SealedKey>,
}

/// One line.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Line {
    Block(BlockLine),
    Entry(EntryLine),
    Manifest(Manifest),
}

#[derive(Serialize, Deserialize)]
pub(super) struct BlockLine {
    number: i64,
    previous: String,
    first_position: i64,
    last_position: i64,
    sealed_at_ms: i64,
    newest_ms: i64,
    digests: String,
    hash: String,
    audit_key: i64,
    code: String,
}

#[derive(Serialize, Deserialize)]
pub(super) struct EntryLine {
    id: String,
    position: i64,
    at_ms: i64,
    actor_kind: String,
    actor: String,
    action: String,
    subject: Option<String>,
    salt: String,
    /// `null` if they could not be opened.
    details: Option<Box<RawValue>>,
}

impl Line {
    pub(super) fn of_block(block: &Block) -> String {
        text(&Line::Block(BlockLine {
            number: block.number,
            previous: hex::encode(&block.previous),
            first_position: block.first_position,
            last_position: block.last_position,
            sealed_at_ms: block.sealed_at_ms,
            newest_ms: block.newest_ms,
            digests: hex::encode(&block.digests),
            hash: hex::encode(&block.hash),
            audit_key: block.audit_key,
            code: hex::encode(&block.code),
        }))
    }

    pub(super) fn of_entry(row: &EntryRow, keys: &KeyRing) -> String {
        let salted = row.open(keys).unwrap_or_default();
        let (salt, details) = salted.split_at_checked(SALT_BYTES).unwrap_or_default();
        text(&Line::Entry(EntryLine {
            id: JobId(row.id).to_string(),
            position: row.position.unwrap_or(0),
            at_ms: row.at_ms,
            actor_kind: row.actor_kind.clone(),
            actor: row.actor.clone(),
            action: row.action.clone(),
            subject: row.subject.clone(),
            salt: hex::encode(salt),
            details: serde_json::from_slice::<&RawValue>(details).ok().and_then(|raw| to_raw_value(raw).ok()),
        }))
    }
}

impl Manifest {
    /// The line.
    pub fn line(self) -> String {
        text(&Line::Manifest(self))
    }
}

fn text(line: &Line) -> String {
    // Texts and numbers can always be written as JSON.
    serde_json::to_string(line).unwrap_or_default()
}

impl BlockLine {
    fn block(self) -> Option<Block> {
        Some(Block {
            number: self.number,
            previous: hex::decode(self.previous).ok()?,
            first_position: self.first_position,
            last_position: self.last_position,
            sealed_at_ms: self.sealed_at_ms,
            newest_ms: self.newest_ms,
            digests: hex::decode(self.digests).ok()?,
            hash: hex::decode(self.hash).ok()?,
            audit_key: self.audit_key,
            code: hex::decode(self.code).ok()?,
        })
    }
}

impl EntryLine {
    fn seen(self) -> Option<Seen> {
        let id: JobId = self.id.parse().ok()?;
        let mut salted = hex::decode(self.salt).ok()?;
        let whole = self.details.is_some();
        salted.extend(self.details.iter().flat_map(|details| details.get().bytes()));
        let row = EntryRow {
            id: id.0,
            position: Some(self.position),
            at_ms: self.at_ms,
            actor_kind: self.actor_kind,
            actor: self.actor,
            action: self.action,
            subject: self.subject,
            details_digest: Sha256::digest(&salted).to_vec(),
            key_id: String::new(),
            sealed: Vec::new(),
        };
        Some(Seen { id, position: self.position, digest: row.digest(), whole, authentic: false })
    }
}

/// What an exported file looks like.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileReport {
    /// The first thing that is wrong; `None` if nothing is.
    pub finding: Option<Finding>,
    /// Blocks that are whole.
    pub blocks: u64,
    /// Entries that are whole.
    pub entries: u64,
    /// Whether the blocks' codes were checked: without the key ring somebody could have made the whole file up.
    pub authenticated: bool,
    /// What had been asked for; empty for everything.
    pub filter: BTreeMap<String, String>,
    /// Where the chain ended when the file was made.
    pub end: Option<ChainEnd>,
}

/// Verifies the exported file with this `content`; with its codes if `keys` are known.
pub fn verify_file(content: &str, keys: Option<&KeyRing>) -> FileReport {
    let mut report = FileReport {
        finding: None,
        blocks: 0,
        entries: 0,
        authenticated: false,
        filter: BTreeMap::new(),
        end: None,
    };
    report.finding = look(content, keys, &mut report).err();
    report
}

fn look(content: &str, keys: Option<&KeyRing>, report: &mut FileReport) -> Result<(), Finding> {
    let end = content.trim_end();
    let start = end.rfind('\n').map_or(0, |at| at + 1);
    let (body, last) = (&content[..start], &end[start..]);
    let Ok(Line::Manifest(manifest)) = serde_json::from_str(last) else {
        return Err(Finding::anywhere(Problem::Truncated, "the file does not end with its manifest"));
    };
    let opened: Option<Vec<CodeKey>> =
        keys.map(|keys| manifest.keys.iter().filter_map(|key| key.open(keys)).collect());
    let complete = manifest.filter.is_empty();
    let (mut before, mut open): (Option<Block>, Vec<Seen>) = (None, Vec::new());
    for line in body.lines() {
        let unreadable = || Finding::anywhere(Problem::BlockAltered, "a line of the file cannot be read");
        match serde_json::from_str(line).map_err(|_| unreadable())? {
            Line::Block(line) => {
                let block = line.block().ok_or_else(unreadable)?;
                finish(before.as_ref(), &open, complete, report)?;
                follows(before.as_ref(), &block, complete)?;
                let adjacent =
                    before.as_ref().filter(|before| before.number.checked_add(1) == Some(block.number));
                check_block(&block, adjacent.map(|before| before.hash.as_slice()), opened.as_deref())?;
                (before, open) = (Some(block), Vec::new());
            }
            Line::Entry(line) => open.push(line.seen().ok_or_else(unreadable)?),
            Line::Manifest(_) => return Err(unreadable()),
        }
    }
    finish(before.as_ref(), &open, complete, report)?;
    let ended = before.map_or((0, hex::encode(BEGINNING)), |block| (block.number, hex::encode(block.hash)));
    if complete && ended != (manifest.end.block, manifest.end.hash.clone()) {
        return Err(Finding::at_block(
            Problem::Truncated,
            ended.0.saturating_add(1),
            "the file ends before the chain did",
        ));
    }
    // Last, because what is said above names the place.
    if hex::encode(Sha256::digest(body)) != manifest.sha256 || body.lines().count() as u64 != manifest.lines {
        return Err(Finding::anywhere(
            Problem::BlockAltered,
            "the file is not the one its manifest was made for",
        ));
    }
    report.authenticated = opened.is_some();
    (report.filter, report.end) = (manifest.filter, Some(manifest.end));
    Ok(())
}

fn follows(before: Option<&Block>, block: &Block, complete: bool) -> Result<(), Finding> {
    let Some(before) = before else { return Ok(()) };
    let next = before.number.saturating_add(1);
    if block.number < next || (complete && block.number != next) {
        return Err(Finding::at_block(Problem::BlockRemoved, next, "the block is not in the file"));
    }
    Ok(())
}

/// The entries behind a block.
fn finish(
    block: Option<&Block>,
    entries: &[Seen],
    complete: bool,
    report: &mut FileReport,
) -> Result<(), Finding> {
    let Some(block) = block else {
        let stray = entries.first().map(|entry| (Some(entry.position), Some(entry.id)));
        return stray.map_or(Ok(()), |at| {
            Err(Finding::at_entry(Problem::EntryInserted, None, at, "the entry stands in front of any block"))
        });
    };
    check_entries(block, entries, complete)?;
    report.blocks += 1;
    report.entries += entries.len() as u64;
    Ok(())
}
