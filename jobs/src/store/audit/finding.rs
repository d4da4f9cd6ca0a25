//! What can be wrong with a trail, and how one block and its entries are looked through.

use keepwell_workers::id::JobId;
use serde::{Deserialize, Serialize};

use super::{block::Block, keys::CodeKey};

/// What somebody did to the trail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Problem {
    /// An entry is not what was written.
    EntryAltered,
    /// An entry is gone.
    EntryRemoved,
    /// An entry stands where another one stood.
    EntryMoved,
    /// An entry is there that belongs to no block.
    EntryInserted,
    /// A block is not what was sealed.
    BlockAltered,
    /// A block is gone.
    BlockRemoved,
    /// The chain ends before its end.
    Truncated,
    /// The head of the chain is not what was signed.
    HeadAltered,
    /// A key of the trail is gone or cannot be opened.
    KeyMissing,
}

/// The first thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What it is.
    pub problem: Problem,
    /// In or at which block.
    pub block: Option<i64>,
    /// At which position.
    pub position: Option<i64>,
    /// Which entry.
    pub entry: Option<String>,
    /// In words.
    pub detail: String,
}

impl Finding {
    pub(super) fn at_block(problem: Problem, block: i64, detail: impl Into<String>) -> Self {
        Self { problem, block: Some(block), position: None, entry: None, detail: detail.into() }
    }

    pub(super) fn anywhere(problem: Problem, detail: impl Into<String>) -> Self {
        Self { problem, block: None, position: None, entry: None, detail: detail.into() }
    }

    pub(super) fn at_entry(
        problem: Problem,
        block: Option<i64>,
        (position, id): (Option<i64>, Option<JobId>),
        detail: &str,
    ) -> Self {
        Self { problem, block, position, entry: id.map(|id| id.to_string()), detail: detail.to_owned() }
    }
}

/// An entry as whoever verifies sees it.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) id: JobId,
    pub(super) position: i64,
    pub(super) digest: [u8; 32],
    /// Its details are those it was made with.
    pub(super) whole: bool,
    /// Only keepwell can have made it.
    pub(super) authentic: bool,
}

/// Checks that `block` follows the block with the hash `previous` and was made by keepwell; by its hash alone if `keys`
/// are unknown.
pub(super) fn check_block(
    block: &Block,
    previous: Option<&[u8]>,
    keys: Option<&[CodeKey]>,
) -> Result<(), Finding> {
    let altered = |detail: &str| Finding::at_block(Problem::BlockAltered, block.number, detail);
    if previous.is_some_and(|previous| previous != block.previous) {
        return Err(altered("it does not follow the block before it"));
    }
    if block.hash != block.expected_hash() {
        return Err(altered("its hash is not that of what it holds"));
    }
    if let Some(keys) = keys {
        let Some(key) = keys.iter().find(|key| key.id == block.audit_key) else {
            let detail = format!("audit key {} is gone or does not open with the key ring", block.audit_key);
            return Err(Finding::at_block(Problem::KeyMissing, block.number, detail));
        };
        if !block.is_signed_by(key) {
            return Err(altered("its authentication code was not made by keepwell"));
        }
    }
    Ok(())
}

/// Checks the entries of a block, in the order of their positions. All of them have to be there if `complete`.
pub(super) fn check_entries(block: &Block, entries: &[Seen], complete: bool) -> Result<(), Finding> {
    let at = |problem, position, id, detail| {
        Err(Finding::at_entry(problem, Some(block.number), (Some(position), id), detail))
    };
    let mut next = block.first_position;
    for entry in entries {
        let (position, id) = (entry.position, Some(entry.id));
        if position < next || position > block.last_position {
            return at(Problem::EntryInserted, position, id, "a second entry claims this position");
        }
        if complete && position > next {
            return at(Problem::EntryRemoved, next, None, "the entry at this position is gone");
        }
        next = position.saturating_add(1);
        if block.digest_at(position) != Some(&entry.digest) {
            let elsewhere = block.digests.chunks_exact(32).any(|digest| digest == entry.digest);
            return if elsewhere || entry.authentic {
                at(Problem::EntryMoved, position, id, "another entry was sealed at this position")
            } else {
                at(Problem::EntryAltered, position, id, "the entry is not the one that was sealed")
            };
        }
        if !entry.whole {
            return at(
                Problem::EntryAltered,
                position,
                id,
                "the entry's details are not those that were sealed",
            );
        }
    }
    if complete && next <= block.last_position {
        return at(Problem::EntryRemoved, next, None, "the entry at this position is gone");
    }
    Ok(())
}
