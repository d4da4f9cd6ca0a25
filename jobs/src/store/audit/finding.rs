//! What can be wrong with a trail, and how one block and its entries are looked through.

use keepwell_workers::id::JobId;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{
    acknowledged::Acknowledged,
    block::Block,
    entry::{Digest32, push_field},
    held::{check_alone, check_entries},
    keys::CodeKeys,
};

/// Of the id of a key more is not told. Our number.
const KEY_CHARACTERS_MAX: usize = 100;

/// Bytes of a fingerprint: nobody finds something else that has the same one.
const FINGERPRINT_BYTES: usize = 16;

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

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What it is.
    pub problem: Problem,
    /// In or at which block.
    pub block: Option<i64>,
    /// At which position.
    pub position: Option<i64>,
    /// Which entry.
    pub entry: Option<Box<str>>,
    /// In words.
    pub detail: Box<str>,
    /// How many entries it is about, if that is counted: those that a key is missing for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entries: Option<u64>,
    /// What was found there, in 32 hexadecimal digits: something else at the same place has others. Empty if nobody can
    /// acknowledge it, because it tells of how things are now and is over once they are put right.
    #[serde(default)]
    pub fingerprint: String,
    /// Who has looked into it, if somebody has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged: Option<Box<Acknowledged>>,
}

impl Finding {
    /// Something that is wrong with the block numbered `block`.
    pub(super) fn at_block(problem: Problem, block: i64, detail: impl Into<String>) -> Self {
        Self { block: Some(block), ..Self::anywhere(problem, detail) }
    }

    /// Something that is wrong with the trail.
    pub fn anywhere(problem: Problem, detail: impl Into<String>) -> Self {
        Self {
            problem,
            block: None,
            position: None,
            entry: None,
            detail: detail.into().into_boxed_str(),
            entries: None,
            fingerprint: String::new(),
            acknowledged: None,
        }
    }

    /// Something that is wrong with an entry, at this position and with this id as far as they are known.
    pub fn at_entry(
        problem: Problem,
        block: Option<i64>,
        (position, id): (Option<i64>, Option<JobId>),
        detail: impl Into<String>,
    ) -> Self {
        let entry = id.map(|id| id.to_string().into_boxed_str());
        Self { block, position, entry, ..Self::anywhere(problem, detail) }
    }

    /// The same with the fingerprint of what was found: that it is this problem, at this place, with this `evidence`.
    /// The words are no part of it, so that another version may choose better ones.
    pub(super) fn seen_as<E: AsRef<[u8]>>(mut self, evidence: impl IntoIterator<Item = E>) -> Self {
        let number = |number: Option<i64>| number.map(i64::to_be_bytes).map_or(Vec::new(), Vec::from);
        let problem = serde_json::to_vec(&self.problem).unwrap_or_default();
        let mut bytes = b"keepwell audit finding 1\0".to_vec();
        let entry = self.entry.as_deref().unwrap_or_default().as_bytes().to_vec();
        for field in [problem, number(self.block), number(self.position), entry] {
            push_field(&mut bytes, &field);
        }
        evidence.into_iter().for_each(|piece| push_field(&mut bytes, piece.as_ref()));
        self.fingerprint = hex::encode(&Sha256::digest(bytes)[..FINGERPRINT_BYTES]);
        self
    }
}

/// That an entry tells of the removal of another one. The entry is genuine and says all, so its id is what was found,
/// wherever it lies by now: whoever writes it knows the fingerprint of what will be found.
pub(super) fn told_removal(id: JobId) -> Finding {
    let detail = "this entry tells of another one that somebody removed before it was in a block";
    let none: [&[u8]; 0] = [];
    Finding::at_entry(Problem::EntryRemoved, None, (None, Some(id)), detail).seen_as(none)
}

/// An entry as whoever verifies sees it.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) id: JobId,
    pub(super) position: i64,
    pub(super) digest: Digest32,
    /// What it is now, its sealed details included if these are not those it was made with.
    pub(super) print: Digest32,
    /// Whether its details are those it was made with.
    pub(super) details: Details,
    /// Only keepwell can have made it.
    pub(super) authentic: bool,
    /// It says that another one is gone that was in no block yet.
    pub(super) tells_of_removal: bool,
}

impl Seen {
    /// What it tells of if that is a removal, as a finding at its place in `block`.
    pub(super) fn told_removal(&self, block: i64) -> Option<Finding> {
        let (block, position) = (Some(block), Some(self.position));
        self.tells_of_removal.then(|| Finding { block, position, ..told_removal(self.id) })
    }
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
                format!(
                    "sealed with the key `{}`, which is not in the ring, and cannot be opened",
                    shown_key(key)
                ),
            )),
        }
    }
}

/// As much of the id of a key as is told: it comes from the database, where anybody may have written it.
pub(super) fn shown_key(id: &str) -> String {
    id.chars().take(KEY_CHARACTERS_MAX).collect()
}

/// What a block stands behind.
#[derive(Debug, Clone, Default)]
pub(super) struct Before {
    /// The hash of the block right before it, if that is known.
    pub(super) hash: Option<Vec<u8>>,
    /// The key that made the code of the last known block before it; 0 if none is known.
    pub(super) audit_key: i64,
}

/// A block, and what is wrong with it whatever it stands behind. That is found out once: its hash and its code are made
/// anew for it.
#[derive(Debug)]
pub(super) struct Looked {
    pub(super) block: Block,
    itself: Result<(), Finding>,
}

impl Looked {
    /// Looks at `block`; at its hash alone if `keys` are unknown.
    pub(super) fn at(block: Block, keys: Option<&CodeKeys>) -> Self {
        let itself = check_itself(&block, keys);
        Self { block, itself }
    }

    /// Checks that it follows `before` and was made by keepwell.
    pub(super) fn check(&self, before: &Before) -> Result<(), Finding> {
        if before.hash.as_ref().is_some_and(|hash| *hash != self.block.previous) {
            return Err(altered(&self.block, "it does not follow the block before it"));
        }
        if self.block.audit_key < before.audit_key {
            let detail = "its code was made with an older key than that of a block before it";
            return Err(altered(&self.block, detail));
        }
        self.itself.clone()
    }

    /// Whether nothing but its code says that it is not what was sealed, because the key of that is not there.
    pub(super) fn is_unproved(&self) -> bool {
        self.itself.is_err() && self.is_believed()
    }

    /// Whether it is known to be what was sealed.
    pub(super) fn is_proved(&self) -> bool {
        self.itself.is_ok()
    }

    /// The same if something that is proved says that another block was sealed in its place.
    pub(super) fn disowned(self) -> Self {
        let detail = "its code cannot be checked, and the chain goes on behind another block";
        let itself = Err(altered(&self.block, detail));
        Self { itself, ..self }
    }

    /// Whether what it says of its entries may be what was sealed: nobody can tell that it was altered.
    fn is_believed(&self) -> bool {
        !self.itself.as_ref().is_err_and(|finding| finding.problem == Problem::BlockAltered)
    }

    /// What the next block, whether this one is whole or not, is held against. One that is not what was sealed says
    /// nothing of the next one, which has a hash and a code of its own: there the chain is taken up again.
    pub(super) fn behind(&self, before: &Before) -> Before {
        let hash = self.is_believed().then(|| self.block.hash.clone());
        // Without the key nobody knows whether it is the one that made the code.
        let audit_key = self.itself.as_ref().map_or(0, |()| self.block.audit_key);
        Before { hash, audit_key: before.audit_key.max(audit_key) }
    }

    /// Checks its entries, in the order of their positions, and says how many are whole. All of them have to be there
    /// if `complete`.
    pub(super) fn check_entries(&self, entries: &[Seen], complete: bool, found: &mut Vec<Finding>) -> u64 {
        if self.is_believed() {
            check_entries(&self.block, entries, complete, found)
        } else {
            check_alone(&self.block, entries, found)
        }
    }
}

fn check_itself(block: &Block, keys: Option<&CodeKeys>) -> Result<(), Finding> {
    if block.hash != block.expected_hash() {
        return Err(altered(block, "its hash is not that of what it holds"));
    }
    if let Some(keys) = keys {
        let missing = |(problem, detail)| Finding::at_block(problem, block.number, detail);
        if !block.is_signed_by(keys.get(block.audit_key).map_err(missing)?) {
            return Err(altered(block, "its authentication code was not made by keepwell"));
        }
    }
    Ok(())
}

fn altered(block: &Block, detail: &str) -> Finding {
    Finding::at_block(Problem::BlockAltered, block.number, detail)
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
        let check = |block: &Block| Looked::at(block.clone(), Some(&keys)).check(&before);
        assert_eq!(check(&block(2, &first.hash, &new)), Ok(()));
        let forged = block(2, &first.hash, &old);
        assert!(forged.is_signed_by(&old), "by itself it is all right");
        let found = check(&forged).unwrap_err();
        assert_eq!((found.problem, found.block), (Problem::BlockAltered, Some(2)));
    }
}
