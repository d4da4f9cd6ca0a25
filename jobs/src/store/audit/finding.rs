//! What can be wrong with a trail, and how one block and its entries are looked through.

use keepwell_workers::id::JobId;
use serde::{Deserialize, Serialize};

use super::{block::Block, keys::CodeKeys};

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
    /// A key of the trail is gone or is not the one that was sealed.
    KeyMissing,
    /// Entries are in no block though the time for that is long over: nobody seals them.
    Unsealed,
    /// Nobody did anything: what is to be verified is sealed with a key that is not in the key ring.
    KeyUnknown,
    /// The manifest of an export is not the one that was signed.
    ManifestAltered,
    /// The end of the chain that was noted outside the database cannot be read.
    NoteUnreadable,
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
        detail: impl Into<String>,
    ) -> Self {
        Self { problem, block, position, entry: id.map(|id| id.to_string()), detail: detail.into() }
    }
}

/// An entry as whoever verifies sees it.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) id: JobId,
    pub(super) position: i64,
    pub(super) digest: [u8; 32],
    /// Whether its details are those it was made with.
    pub(super) details: Details,
    /// Only keepwell can have made it.
    pub(super) authentic: bool,
    /// It says that another one is gone that was in no block yet.
    pub(super) tells_of_removal: bool,
}

/// Whether the details of an entry are those it was made with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Details {
    /// They are.
    Whole,
    /// They are not.
    Altered,
    /// Whoever looks does not have this key, which sealed them.
    KeyUnknown(String),
}

impl Details {
    /// What is wrong with them, in words.
    pub(super) fn check(&self) -> Result<(), (Problem, String)> {
        match self {
            Details::Whole => Ok(()),
            Details::Altered => {
                Err((Problem::EntryAltered, "the entry's details are not those that were sealed".to_owned()))
            }
            Details::KeyUnknown(key) => Err((
                Problem::KeyUnknown,
                format!("the entry is sealed with the key `{key}`, which is not in the ring"),
            )),
        }
    }
}

/// What a block stands behind.
#[derive(Debug, Clone, Default)]
pub(super) struct Before {
    /// The hash of the block right before it, if that is known.
    pub(super) hash: Option<Vec<u8>>,
    /// The key that made the code of the last known block before it; 0 if none is known.
    pub(super) audit_key: i64,
}

/// Checks that `block` follows `before` and was made by keepwell; by its hash alone if `keys` are unknown.
pub(super) fn check_block(block: &Block, before: &Before, keys: Option<&CodeKeys>) -> Result<(), Finding> {
    let altered = |detail: &str| Finding::at_block(Problem::BlockAltered, block.number, detail);
    if before.hash.as_ref().is_some_and(|hash| *hash != block.previous) {
        return Err(altered("it does not follow the block before it"));
    }
    if block.audit_key < before.audit_key {
        return Err(altered("its code was made with an older key than that of a block before it"));
    }
    if block.hash != block.expected_hash() {
        return Err(altered("its hash is not that of what it holds"));
    }
    if let Some(keys) = keys {
        let missing = |(problem, detail)| Finding::at_block(problem, block.number, detail);
        if !block.is_signed_by(keys.get(block.audit_key).map_err(missing)?) {
            return Err(altered("its authentication code was not made by keepwell"));
        }
    }
    Ok(())
}

/// Checks the entries of a block, in the order of their positions. All of them have to be there if `complete`.
pub(super) fn check_entries(block: &Block, entries: &[Seen], complete: bool) -> Result<(), Finding> {
    let at = |problem, position, id, detail: &str| {
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
        if let Err((problem, detail)) = entry.details.check() {
            return at(problem, position, id, &detail);
        }
    }
    if complete && next <= block.last_position {
        return at(Problem::EntryRemoved, next, None, "the entry at this position is gone");
    }
    // Last, because what is said above is about this very place.
    match entries.iter().find(|entry| entry.tells_of_removal) {
        Some(told) => {
            let detail = "this entry tells of another one that somebody removed before it was in a block";
            at(Problem::EntryRemoved, told.position, Some(told.id), detail)
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::audit::{block::BEGINNING, keys::CodeKey};

    fn key(id: i64) -> CodeKey {
        CodeKey { id, bytes: vec![id as u8; 32].into() }
    }

    fn block(number: i64, previous: &[u8], key: &CodeKey) -> Block {
        Block {
            number,
            previous: previous.to_vec(),
            first_position: number,
            last_position: number,
            sealed_at_ms: 0,
            newest_ms: 0,
            digests: vec![0; 32],
            hash: Vec::new(),
            audit_key: 0,
            code: Vec::new(),
        }
        .signed(key)
    }

    #[test]
    fn a_key_of_long_ago_makes_no_blocks_of_today() {
        let (old, new) = (key(1), key(2));
        let keys = CodeKeys::of([old.clone(), new.clone()]);
        let first = block(1, &BEGINNING, &new);
        let before = Before { hash: Some(first.hash.clone()), audit_key: first.audit_key };
        assert_eq!(check_block(&block(2, &first.hash, &new), &before, Some(&keys)), Ok(()));
        let forged = block(2, &first.hash, &old);
        assert!(forged.is_signed_by(&old), "by itself it is all right");
        let found = check_block(&forged, &before, Some(&keys)).unwrap_err();
        assert_eq!((found.problem, found.block), (Problem::BlockAltered, Some(2)));
    }
}
