//! An exported trail: lines of JSON, and a signed manifest as the last of them. It can be verified far from the
//! database.
//!
//! Each line is `{"block":{…}}` or, behind its block, `{"entry":{…}}`; the last one is
//! `{"manifest":{…},"signature":{…}}`. The digests and the chain are checked with nothing but the file; with the key
//! ring, the blocks' authentication codes and the signature as well, or the signature alone with the public key that
//! `keepwell report keys` tells, and only then is it certain that nobody made the whole file up or left out what stood
//! at its end. An entry's `details` have to stay as they are written, to the byte.

use std::collections::BTreeMap;

use keepwell_workers::{
    id::JobId,
    seal::{KeyRing, SealError},
};
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use sha2::{Digest as _, Sha256};

use super::{
    block::{Block, ChainEnd},
    entry::{EntryRow, SALT_BYTES},
    finding::{Before, Details, Finding, Looked, Problem, Seen, shown_key},
    findings::Findings,
    keys::{CodeKeys, KeyRow},
    manifest::{Lines, Manifest, SealedKey, SignedManifest},
    promised::REMOVED,
};

/// One line.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Line {
    Block(BlockLine),
    Entry(EntryLine),
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
    /// If they could not be opened: what the entry says that they were, in hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    details_digest: Option<String>,
    /// If they could not be opened for want of a key: which one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key_missing: Option<String>,
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
        let opened = row.open(keys);
        let details_digest = opened.is_err().then(|| hex::encode(&row.details_digest));
        let key_missing = match &opened {
            Err(SealError::UnknownKey(key)) => Some(shown_key(key)),
            _ => None,
        };
        let salted = opened.unwrap_or_default();
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
            details_digest,
            key_missing,
        }))
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
        salted.extend(self.details.iter().flat_map(|details| details.get().bytes()));
        // What was there to be opened is believed before anything that is said of it.
        let (details, digest) = match (&self.details, self.key_missing) {
            (Some(_), _) => (Details::Whole, None),
            (None, Some(key)) => (Details::KeyUnknown(key), self.details_digest),
            (None, None) => (Details::Altered, self.details_digest),
        };
        let details_digest = match digest {
            Some(digest) => hex::decode(digest).ok()?,
            None => Sha256::digest(&salted).to_vec(),
        };
        let row = EntryRow {
            id: id.0,
            position: Some(self.position),
            at_ms: self.at_ms,
            actor_kind: self.actor_kind,
            actor: self.actor,
            action: self.action,
            subject: self.subject,
            details_digest,
            key_id: String::new(),
            sealed: Vec::new(),
        };
        let (digest, tells_of_removal) = (row.digest(), row.action == REMOVED);
        let print = digest;
        Some(Seen { id, position: self.position, digest, print, details, authentic: false, tells_of_removal })
    }
}

/// What an exported file looks like.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileReport {
    /// What is wrong.
    #[serde(flatten)]
    pub findings: Findings,
    /// Blocks that are whole.
    pub blocks: u64,
    /// Entries that are whole.
    pub entries: u64,
    /// Whether it is certain who made the file: somebody with the key ring, or with the key that belongs to the public
    /// one.
    pub authenticated: bool,
    /// What had been asked for; empty for everything.
    pub filter: BTreeMap<String, String>,
    /// Where the chain ended when the file was made.
    pub end: Option<ChainEnd>,
}

/// Verifies the exported file with this `content`: with its codes if `keys` are known, and that it was signed by the
/// holder of `public_key` if that is known, or else of one of `keys`.
pub fn verify_file(content: &str, keys: Option<&KeyRing>, public_key: Option<&str>) -> FileReport {
    let mut report = FileReport {
        findings: Findings::default(),
        blocks: 0,
        entries: 0,
        authenticated: false,
        filter: BTreeMap::new(),
        end: None,
    };
    look(content, keys, public_key, &mut report);
    report
}

fn look(content: &str, keys: Option<&KeyRing>, public_key: Option<&str>, report: &mut FileReport) {
    let end = content.trim_end();
    let start = end.rfind('\n').map_or(0, |at| at + 1);
    let (body, last) = (&content[..start], &end[start..]);
    let signed: Option<SignedManifest> = serde_json::from_str(last).ok();
    let Some((signed, manifest)) = signed.and_then(|signed| signed.read().map(|manifest| (signed, manifest)))
    else {
        let detail = "the file does not end with its manifest";
        return report.findings.add(Finding::anywhere(Problem::Truncated, detail));
    };
    look_at_blocks(body, keys, &manifest, report);
    // Last, because what is said above names the place.
    if Lines::default().with(body.lines()) != manifest.lines {
        let detail = "the file is not the one its manifest was made for";
        return report.findings.add(Finding::anywhere(Problem::ManifestAltered, detail));
    }
    match signed.check(keys, public_key) {
        Ok(()) => report.authenticated = keys.is_some() || public_key.is_some(),
        Err(finding) => return report.findings.add(finding),
    }
    (report.filter, report.end) = (manifest.filter, Some(manifest.end));
}

fn look_at_blocks(body: &str, keys: Option<&KeyRing>, manifest: &Manifest, report: &mut FileReport) {
    let sealed: Vec<KeyRow> = manifest.keys.iter().filter_map(SealedKey::row).collect();
    let opened = keys.map(|keys| CodeKeys::open(&sealed, keys));
    let complete = manifest.filter.is_empty();
    // What the next block stands behind.
    let (mut number, mut before) = (manifest.begin.block, Before::default());
    before.hash = hex::decode(&manifest.begin.hash).ok();
    let mut open = Open { block: None, entries: Vec::new(), is_whole: true };
    for line in body.lines() {
        let read = match serde_json::from_str(line) {
            Ok(Line::Block(line)) => line.block().map(Err),
            Ok(Line::Entry(line)) => line.seen().map(Ok),
            Err(_) => None,
        };
        match read {
            Some(Ok(entry)) => open.entries.push(entry),
            Some(Err(next)) => {
                open.finish(complete, report);
                let follows = number.checked_add(1) == Some(next.number);
                if !follows && (complete || next.number <= number) {
                    let gone = number.saturating_add(1);
                    let detail = "the block is not in the file";
                    report.findings.add(Finding::at_block(Problem::BlockRemoved, gone, detail));
                }
                if !follows {
                    before.hash = None;
                }
                let next = Looked::at(next, opened.as_ref());
                let checked = next.check(&before);
                let is_whole = checked.is_ok();
                checked.unwrap_or_else(|finding| report.findings.add(finding));
                (number, before) = (next.block.number, next.behind(&before));
                open = Open { block: Some(next), entries: Vec::new(), is_whole };
            }
            None => {
                let detail = "a line of the file cannot be read";
                report.findings.add(Finding::anywhere(Problem::BlockAltered, detail));
            }
        }
    }
    open.finish(complete, report);
    let ends = before.hash.is_none_or(|hash| hex::encode(hash) == manifest.end.hash);
    if complete && !(ends && number == manifest.end.block) {
        let detail = "the file ends before the chain did";
        report.findings.add(Finding::at_block(Problem::Truncated, number.saturating_add(1), detail));
    }
}

/// A block and the entries that have been read behind it.
struct Open {
    block: Option<Looked>,
    entries: Vec<Seen>,
    is_whole: bool,
}

impl Open {
    fn finish(self, complete: bool, report: &mut FileReport) {
        let Some(block) = &self.block else {
            for entry in &self.entries {
                let at = (Some(entry.position), Some(entry.id));
                let detail = "the entry stands in front of any block";
                report.findings.add(Finding::at_entry(Problem::EntryInserted, None, at, detail));
            }
            return;
        };
        let mut found = Vec::new();
        let whole = block.check_entries(&self.entries, complete, &mut found);
        for finding in found {
            // What is wrong with a file is wrong for good; it is in the database where somebody can look into it.
            report.findings.add(Finding { fingerprint: String::new(), ..finding });
        }
        let expected = if complete { block.block.entries() } else { self.entries.len() as u64 };
        report.entries += whole;
        report.blocks += u64::from(self.is_whole && whole == expected);
    }
}
