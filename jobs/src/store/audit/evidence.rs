//! What there is where a block is altered or gone. Whoever acknowledges such a finding has seen this and no more.

use keepwell_workers::{database::Snapshot, seal::KeyRing};

use super::{
    block::Block,
    entry::EntryRow,
    finding::{Details, Finding},
    head::Head,
    verify::{ENTRIES_MAX, blocks, entries, first_behind},
};

/// Finds the same as `finding` says about the blocks from number `from` to number `to`, with a fingerprint of `block`,
/// if that is there, and of the entries that are left: nothing else says any more whether these are all. Where they are
/// more than can be read at once it has none, so that nobody can acknowledge it. Whatever lies between the blocks on
/// either side is looked at, not only what `block` says is its own: who alters a block could else have it deny
/// entries, wait until that is acknowledged, and then remove them. What of it tells of a removal is a finding by
/// itself.
pub(super) async fn with_evidence(
    reader: &mut Snapshot<'_>,
    finding: Finding,
    (from, to): (i64, i64),
    block: Option<&Block>,
    (head, keys): (&Head, &KeyRing),
    found: &mut Vec<Finding>,
) -> Result<(), sqlx::Error> {
    let before = blocks(reader, from - 1, from - 1).await?.pop();
    let behind = match first_behind(reader, to, head).await? {
        Some(next) => blocks(reader, next, next).await?.pop(),
        None => None,
    };
    let begin = before.map(|before| before.last_position.saturating_add(1));
    let begin = begin.into_iter().chain(block.map(|block| block.first_position)).min();
    // The head says of what is behind it what the next block will say.
    let (follows, end) = behind.map_or((head.hash.clone(), head.last_position), |behind| {
        (behind.previous, behind.first_position.saturating_sub(1))
    });
    let end = block.map_or(end, |block| end.max(block.last_position));
    let left = entries(reader, begin.unwrap_or(i64::MIN), end).await?;
    // Also of what the block no longer calls its own, and nobody else looks at.
    let with_details = |row: EntryRow| {
        let details = row.details(keys);
        (row, details)
    };
    let left: Vec<(EntryRow, Details)> = left.into_iter().map(with_details).collect();
    let is_its_own = |row: &EntryRow| {
        let is_within = |block: &Block| row.position.is_some_and(|position| block.claims(position));
        block.is_some_and(is_within)
    };
    let told = left.iter().filter(|(row, _)| !is_its_own(row));
    let told: Vec<Finding> = told.filter_map(|(row, details)| row.told_removal(details)).collect();
    if left.len() >= ENTRIES_MAX {
        found.push(finding);
    } else {
        let mut evidence = vec![to.to_be_bytes().to_vec(), follows];
        evidence.extend(block.map(|block| block.print().to_vec()));
        evidence.extend(left.iter().map(|(row, details)| row.print(details).to_vec()));
        found.push(finding.seen_as(evidence));
    }
    found.extend(told);
    Ok(())
}
