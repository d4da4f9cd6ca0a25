//! One thing that somebody did to the trail hides no other one.

use keepwell_jobs::store::audit::{FINDINGS_MAX, Findings, Problem, Verifier};
use proptest::{
    strategy::{Strategy as _, ValueTree as _},
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};

use crate::{
    missing::{missed, remove},
    support::{NOW_MS, Room, on_each_database},
    tampering::{BLOCKS, Tampering, block_of, lay_open, restore, tampering},
    trail::{execute, finding, report, seal, write},
};

/// Entries of the trail that is tampered with, in blocks of three.
const ENTRIES: usize = 20;

/// Pairs that are tried on each database.
const PAIRS: usize = 60;

/// Everything that is wrong, a block at a time.
async fn findings(room: &Room) -> Findings {
    let verifier = Verifier::new(room.database.clone(), room.care.keys.clone());
    let (mut findings, mut from) = (Findings::default(), None);
    loop {
        let report = verifier.page(from, 1, None, NOW_MS).await.unwrap();
        findings.join(report.findings);
        from = report.next;
        if from.is_none() {
            return findings;
        }
    }
}

/// The blocks that it touches; `None` if it is none of those that are tried in pairs.
fn blocks(tampering: &Tampering) -> Option<Vec<i64>> {
    match tampering {
        Tampering::Alter { position, .. } | Tampering::Remove { position } => Some(vec![block_of(*position)]),
        Tampering::Swap { one, other } => Some(vec![block_of(*one), block_of(*other)]),
        Tampering::AlterBlock { number, .. } | Tampering::RemoveBlock { number, .. } => Some(vec![*number]),
        // Without it nobody knows which block was the first and which the last one.
        Tampering::AlterHead { .. } => Some(vec![1, BLOCKS]),
        Tampering::Copy { .. } | Tampering::CutTail { .. } => None,
    }
}

/// Whether each can be told from the other.
fn stand_apart(one: &Tampering, other: &Tampering) -> bool {
    let is_head = |tampering: &Tampering| matches!(tampering, Tampering::AlterHead { .. });
    let key = |tampering: &Tampering| matches!(tampering, Tampering::Alter { column: "key_id", .. });
    let (Some(ones), Some(others)) = (blocks(one), blocks(other)) else { return false };
    ones.iter().all(|block| others.iter().all(|other| (block - other).abs() > 1))
        && !(is_head(one) && is_head(other))
        && !(key(one) && key(other))
}

#[tokio::test]
async fn of_two_things_that_somebody_did_each_is_named_and_nothing_else_is() {
    on_each_database(async |room| {
        write(room, ENTRIES).await;
        seal(room).await;
        lay_open(room).await;
        let mut runner =
            TestRunner::new_with_rng(Config::default(), TestRng::deterministic_rng(RngAlgorithm::ChaCha));
        let mut tried = 0;
        while tried < PAIRS {
            let mut next = || tampering().new_tree(&mut runner).unwrap().current();
            let pair = [next(), next()];
            if !stand_apart(&pair[0], &pair[1]) {
                continue;
            }
            tried += 1;
            for statement in pair.iter().flat_map(Tampering::statements) {
                execute(room, &statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
            }
            let found = findings(room).await;
            assert_eq!(found, report(room, None).await.findings, "{pair:?}: in one piece or in many");
            for done in &pair {
                let named = found.named().any(|it| done.is_named_by(it.problem, it.block, it.position));
                assert!(named, "{done:?} of {pair:?} is not in {found:#?}");
            }
            // Two entries that were swapped are found at both places.
            let places = |done: &Tampering| match done {
                Tampering::Swap { .. } => 2,
                _ => 1,
            };
            let expected: usize = pair.iter().map(places).sum();
            assert_eq!(found.named().count(), expected, "{pair:?}: {found:#?}");
            restore(room).await;
        }
        assert_eq!(finding(room).await, None);
    })
    .await;
}

#[tokio::test]
async fn behind_an_entry_that_tells_of_a_removed_one_the_trail_is_verified_to_its_end() {
    on_each_database(async |room| {
        assert_eq!(missed(&room.database).await, 0);
        write(room, 3).await;
        lay_open(room).await;
        remove(room, "lane_1").await;
        assert_eq!(missed(&room.database).await, 1);
        seal(room).await;
        write(room, 9).await;
        seal(room).await;
        let alone = findings(room).await;
        assert_eq!((alone.count(), alone.first.unwrap().problem), (1, Problem::EntryRemoved));
        let whole = report(room, None).await;
        assert_eq!((whole.blocks, whole.entries), (4, 12), "the chain itself is whole");

        execute(room, "UPDATE audit_entries SET subject = 'lane_9' WHERE position = 8").await.unwrap();
        let found = findings(room).await;
        let named: Vec<_> = found.named().map(|finding| (finding.problem, finding.block)).collect();
        assert_eq!(named, [(Problem::EntryRemoved, Some(1)), (Problem::EntryAltered, Some(3))]);
        let rest = report(room, None).await;
        assert_eq!((rest.blocks, rest.entries), (3, 11));
    })
    .await;
}

#[tokio::test]
async fn of_very_many_findings_the_first_are_named_and_the_others_counted() {
    on_each_database(async |room| {
        write(room, 40).await;
        seal(room).await;
        lay_open(room).await;
        execute(room, "UPDATE audit_entries SET actor = 'somebody' WHERE position > 5").await.unwrap();
        let found = findings(room).await;
        assert_eq!((found.named().count(), found.more), (FINDINGS_MAX, 35 - FINDINGS_MAX as u64));
        assert_eq!(found.first.unwrap().position, Some(6));
    })
    .await;
}

#[tokio::test]
async fn a_number_that_somebody_made_up_does_not_keep_the_verifier_busy_for_ever() {
    on_each_database(async |room| {
        write(room, ENTRIES).await;
        seal(room).await;
        lay_open(room).await;
        execute(room, "UPDATE audit_head SET last_position = 0").await.unwrap();
        execute(room, "DELETE FROM audit_blocks WHERE number BETWEEN 3 AND 5").await.unwrap();
        let columns =
            "previous, first_position, last_position, sealed_at_ms, newest_ms, digests, hash, audit_key, code";
        for number in ["9000000000000000000", "9223372036854775807"] {
            let insert = format!(
                "INSERT INTO audit_blocks (number, {columns}) SELECT {number}, {columns} FROM audit_blocks \
                 WHERE number = 7"
            );
            execute(room, &insert).await.unwrap();
        }
        let verifier = Verifier::new(room.database.clone(), room.care.keys.clone());
        let (mut found, mut from, mut pages) = (Findings::default(), None, 0);
        loop {
            let page = verifier.page(from, 1, None, NOW_MS).await.unwrap();
            found.join(page.findings);
            pages += 1;
            assert!(page.next.is_none() || page.next > from, "{from:?}: {:?}", page.next);
            from = page.next;
            if from.is_none() {
                break;
            }
            assert!(pages < 20, "{from:?}");
        }
        let gone: Vec<_> = found.named().filter(|it| it.problem == Problem::BlockRemoved).collect();
        let gone: Vec<_> = gone.iter().map(|it| (it.block, &*it.detail)).collect();
        assert_eq!(gone[0], (Some(3), "the blocks from here to 5 are gone"));
        assert_eq!(gone[1].0, Some(8), "{found:#?}");
        assert_eq!((gone.len(), pages), (3, 9), "{found:#?}");
        assert_eq!(found.count(), 6, "{found:#?}");
        for from in [i64::MAX, i64::MAX - 1, 5_000] {
            let page = verifier.page(Some(from), 200, None, NOW_MS).await.unwrap();
            assert!(page.next.is_none_or(|next| next > from), "{from}: {:?}", page.next);
        }
    })
    .await;
}
