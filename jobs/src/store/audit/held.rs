//! What lies where a block says that its entries are.

use std::collections::BTreeMap;

use super::{
    block::Block,
    finding::{Finding, Problem, Seen},
};

/// Checks entries that lie where a block says that its entries are which somebody altered: each by itself, or one block
/// would make findings of all that it held. Says how many are whole.
pub(super) fn check_alone(block: &Block, entries: &[Seen], found: &mut Vec<Finding>) -> u64 {
    let (mut whole, mut locked) = (0, Locked::default());
    for entry in entries {
        match entry.details.check() {
            Ok(()) => {
                whole += 1;
                // Whoever looks into what became of the block has not looked into this.
                found.extend(entry.told_removal(block.number));
            }
            Err((Problem::KeyUnknown, detail)) => locked.add(detail, entry),
            Err((problem, detail)) => {
                let at = (Some(entry.position), Some(entry.id));
                found.push(Finding::at_entry(problem, Some(block.number), at, detail).seen_as([entry.print]));
            }
        }
    }
    locked.tell(block.number, "their block is altered and says nothing of them", found);
    whole
}

/// Checks the entries of a block that is what was sealed, in the order of their positions. All of them have to be there
/// if `complete`. Says how many are whole.
pub(super) fn check_entries(
    block: &Block,
    entries: &[Seen],
    complete: bool,
    found: &mut Vec<Finding>,
) -> u64 {
    let at = |problem, position, id, detail: &str| {
        Finding::at_entry(problem, Some(block.number), (Some(position), id), detail)
    };
    let gone = |from: i64, to: i64| {
        let detail = match to {
            _ if from == to => "the entry at this position is gone".to_owned(),
            _ => format!("the entries from this position to {to} are gone"),
        };
        let digests = (from..=to).map_while(|position| block.digest_at(position)).map(<[u8]>::to_vec);
        let evidence = std::iter::once(to.to_be_bytes().to_vec()).chain(digests);
        at(Problem::EntryRemoved, from, None, &detail).seen_as(evidence)
    };
    let (mut next, mut whole, mut locked) = (block.first_position, 0, Locked::default());
    for entry in entries {
        let (position, id) = (entry.position, Some(entry.id));
        if position < next || position > block.last_position {
            let second = at(Problem::EntryInserted, position, id, "a second entry claims this position");
            found.push(second.seen_as([entry.print]));
            found.extend(entry.told_removal(block.number).filter(|_| entry.authentic));
            continue;
        }
        if complete && position > next {
            found.push(gone(next, position - 1));
        }
        next = position.saturating_add(1);
        let checked = check_entry(block, entry);
        // Also of one that stands where another one was sealed.
        let is_genuine = checked.is_ok() || entry.authentic;
        match checked {
            Ok(()) => whole += 1,
            Err((Problem::KeyUnknown, detail)) => locked.add(detail, entry),
            Err((problem, detail)) => found.push(at(problem, position, id, &detail).seen_as([entry.print])),
        }
        found.extend(entry.told_removal(block.number).filter(|_| is_genuine));
    }
    if complete && next <= block.last_position {
        found.push(gone(next, block.last_position));
    }
    locked.tell(block.number, "their digests are those that their block holds", found);
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

/// Entries of one block that are sealed with keys that are not in the ring: one finding for each key, and not one for
/// each entry.
#[derive(Default)]
struct Locked<'e>(BTreeMap<String, Vec<&'e Seen>>);

impl<'e> Locked<'e> {
    fn add(&mut self, detail: String, entry: &'e Seen) {
        self.0.entry(detail).or_default().push(entry);
    }

    fn tell(self, block: i64, chain: &str, found: &mut Vec<Finding>) {
        for (detail, entries) in self.0 {
            let at = entries.first().map(|first| (Some(first.position), Some(first.id))).unwrap_or_default();
            let detail = format!("{detail}; {chain}");
            let finding = Finding::at_entry(Problem::KeyUnknown, Some(block), at, detail);
            let finding = Finding { entries: Some(entries.len() as u64), ..finding };
            found.push(finding.seen_as(entries.iter().map(|entry| &entry.print)));
        }
    }
}
