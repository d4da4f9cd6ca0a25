//! What can be wrong with a trail, and how one block and its entries are looked through.

use keepwell_workers::id::JobId;
use serde::{Deserialize, Serialize};

use super::{block::Block, findings::Findings, keys::CodeKeys};

/// Of the id of a key more is not told. Our number.
const KEY_CHARACTERS_MAX: usize = 100;

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
                format!("the entry is sealed with the key `{}`, which is not in the ring", shown_key(key)),
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
    pub(super) fn check_entries(&self, entries: &[Seen], complete: bool, findings: &mut Findings) -> u64 {
        if self.is_believed() {
            check_entries(&self.block, entries, complete, findings)
        } else {
            check_alone(&self.block, entries, findings)
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

/// Checks entries that lie where a block says that its entries are which somebody altered: each by itself, or one block
/// would make findings of all that it held. Says how many are whole.
fn check_alone(block: &Block, entries: &[Seen], findings: &mut Findings) -> u64 {
    let mut whole = 0;
    for entry in entries {
        match entry.details.check() {
            Ok(()) => whole += 1,
            Err((problem, detail)) => {
                let at = (Some(entry.position), Some(entry.id));
                findings.add(Finding::at_entry(problem, Some(block.number), at, detail));
            }
        }
    }
    whole
}

fn check_entries(block: &Block, entries: &[Seen], complete: bool, findings: &mut Findings) -> u64 {
    let at = |problem, position, id, detail: &str| {
        Finding::at_entry(problem, Some(block.number), (Some(position), id), detail)
    };
    let gone = |from: i64, to: i64| {
        let detail = match to {
            _ if from == to => "the entry at this position is gone".to_owned(),
            _ => format!("the entries from this position to {to} are gone"),
        };
        at(Problem::EntryRemoved, from, None, &detail)
    };
    let (mut next, mut whole) = (block.first_position, 0);
    for entry in entries {
        let (position, id) = (entry.position, Some(entry.id));
        if position < next || position > block.last_position {
            findings.add(at(Problem::EntryInserted, position, id, "a second entry claims this position"));
            continue;
        }
        if complete && position > next {
            findings.add(gone(next, position - 1));
        }
        next = position.saturating_add(1);
        if let Err((problem, detail)) = check_entry(block, entry) {
            findings.add(at(problem, position, id, &detail));
            continue;
        }
        whole += 1;
        if entry.tells_of_removal {
            let detail = "this entry tells of another one that somebody removed before it was in a block";
            findings.add(at(Problem::EntryRemoved, position, id, detail));
        }
    }
    if complete && next <= block.last_position {
        findings.add(gone(next, block.last_position));
    }
    whole
}

fn check_entry(block: &Block, entry: &Seen) -> Result<(), (Problem, String)> {
    if block.digest_at(entry.position) == Some(&entry.digest) {
        return entry.details.check();
    }
    let elsewhere = block.digests.chunks_exact(32).any(|digest| digest == entry.digest);
    Err(if elsewhere || entry.authentic {
        (Problem::EntryMoved, "another entry was sealed at this position".to_owned())
    } else {
        (Problem::EntryAltered, "the entry is not the one that was sealed".to_owned())
    })
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
