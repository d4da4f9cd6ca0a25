//! What somebody has looked into stays a finding, and whatever else is done is another one.

use std::{collections::BTreeSet, sync::Mutex};

use keepwell_jobs::store::audit::{
    Actor, Finding, Findings, Problem, Verifier, acknowledged_of, acknowledgement, append, tell_of_missing,
};
use keepwell_workers::on_connection;
use sha2::{Digest as _, Sha256};

use crate::{
    missing::remove,
    support::{NOW_MS, Room, on_each_database},
    tampering::{Tampering, block_of, lay_open, restore},
    trail::{begin, execute, report, seal, sealer, write},
};

async fn found(room: &Room) -> Findings {
    report(room, None).await.findings
}

/// Acknowledges `finding` as an operator does.
pub async fn acknowledge(room: &Room, finding: &Finding) {
    assert_eq!(finding.fingerprint.len(), 32, "{finding:?}");
    let actor = Actor::Operator { name: "uid 7".to_owned() };
    let mut transaction = begin(room).await;
    append(&mut transaction, &acknowledgement(finding, actor, "a broken disk", NOW_MS)).await.unwrap();
    transaction.commit().await.unwrap();
}

/// The only finding that nobody has acknowledged.
pub async fn only(room: &Room) -> Finding {
    let found = found(room).await;
    assert_eq!(found.count(), 1, "{found:#?}");
    found.first.unwrap()
}

#[tokio::test]
async fn what_was_looked_into_stays_a_finding_and_says_by_whom_and_is_told_from_the_others() {
    on_each_database(async |room| {
        write(room, 20).await;
        seal(room).await;
        lay_open(room).await;
        let tampered = [
            Tampering::Remove { position: 5 },
            Tampering::Alter { position: 8, column: "subject", value: "'lane_x'" },
            Tampering::Swap { one: 10, other: 12 },
            Tampering::Copy { from: 2, position: Some(30) },
            Tampering::AlterBlock { number: 5, column: "newest_ms", value: "0" },
            Tampering::AlterBlock { number: 6, column: "audit_key", value: "9" },
            Tampering::RemoveBlock { number: 7, with_entries: false },
        ];
        for tampering in tampered.iter().take(6) {
            for statement in tampering.statements() {
                execute(room, &statement).await.unwrap();
            }
        }
        let before = found(room).await;
        assert_eq!((before.count(), before.acknowledged_count()), (7, 0), "{before:#?}");
        for finding in before.named() {
            acknowledge(room, finding).await;
        }
        for _ in 0..2 {
            let after = found(room).await;
            assert_eq!((after.count(), after.acknowledged.len()), (0, 7), "{after:#?}");
            for (before, after) in before.named().zip(&after.acknowledged) {
                let known = after.acknowledged.as_ref().unwrap();
                assert_eq!((known.by.as_str(), known.reason.as_str()), ("uid 7", "a broken disk"));
                assert!(known.at.ends_with('Z'), "{known:?}");
                assert_eq!(*before, Finding { acknowledged: None, ..after.clone() });
            }
            // The second time they are in blocks, which makes no difference.
            sealer(room, 3).round().await.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn an_acknowledgement_covers_nothing_else_at_the_same_place() {
    on_each_database(async |room| {
        write(room, 20).await;
        seal(room).await;
        lay_open(room).await;
        for (one, other) in [
            ("DELETE FROM audit_entries WHERE position = 5", "DELETE FROM audit_entries WHERE position = 6"),
            (
                "UPDATE audit_entries SET subject = 'a' WHERE position = 5",
                "UPDATE audit_entries SET subject = 'b' WHERE position = 5",
            ),
            (
                "UPDATE audit_entries SET subject = 'a' WHERE position = 5",
                "DELETE FROM audit_entries WHERE position = 5",
            ),
            (
                "UPDATE audit_entries SET sealed = details_digest WHERE position = 5",
                "UPDATE audit_entries SET sealed = substr(details_digest, 2) WHERE position = 5",
            ),
            (
                "UPDATE audit_entries SET key_id = 'gone' WHERE position = 5",
                "UPDATE audit_entries SET key_id = 'gone' WHERE position = 6",
            ),
            (
                "UPDATE audit_blocks SET newest_ms = 0 WHERE number = 2",
                "UPDATE audit_blocks SET newest_ms = 1 WHERE number = 2",
            ),
            // Where a block is altered or gone, nothing else says whether its entries are there.
            (
                "UPDATE audit_blocks SET newest_ms = 0 WHERE number = 2",
                "DELETE FROM audit_entries WHERE position = 5",
            ),
            ("DELETE FROM audit_blocks WHERE number = 2", "DELETE FROM audit_entries WHERE position = 5"),
            (
                "DELETE FROM audit_blocks WHERE number = 2",
                "UPDATE audit_entries SET sealed = details_digest WHERE position = 5",
            ),
            // Not even of one that the block does not claim any more.
            (
                "UPDATE audit_blocks SET first_position = 6, digests = substr(digests, 65) WHERE number = 2",
                "DELETE FROM audit_entries WHERE position = 4",
            ),
            (
                "UPDATE audit_blocks SET first_position = 6, digests = substr(digests, 65) WHERE number = 2",
                "UPDATE audit_entries SET sealed = details_digest WHERE position = 4",
            ),
            (
                "UPDATE audit_blocks SET audit_key = 9 WHERE number = 2",
                "UPDATE audit_blocks SET audit_key = 9 WHERE number = 3",
            ),
        ] {
            execute(room, one).await.unwrap();
            let first = only(room).await;
            acknowledge(room, &first).await;
            assert_eq!(found(room).await.count(), 0, "{one}");
            execute(room, other).await.unwrap();
            let second = only(room).await;
            assert_ne!(second.fingerprint, first.fingerprint, "{one}; {other}");
            restore(room).await;
        }
    })
    .await;
}

#[tokio::test]
async fn an_acknowledgement_of_another_trail_covers_nothing_here() {
    let fingerprints = Mutex::new(Vec::new());
    on_each_database(async |room| {
        write(room, 6).await;
        seal(room).await;
        lay_open(room).await;
        // The same is done at the same places; what was there is something else.
        for statements in [
            &["DELETE FROM audit_entries WHERE position = 2"][..],
            &["DELETE FROM audit_blocks WHERE number = 1", "DELETE FROM audit_entries WHERE position < 4"],
        ] {
            for statement in statements {
                execute(room, statement).await.unwrap();
            }
            let fingerprint = only(room).await.fingerprint;
            fingerprints.lock().unwrap().push(fingerprint);
            restore(room).await;
        }
    })
    .await;
    let fingerprints = fingerprints.into_inner().unwrap();
    assert_eq!(fingerprints.iter().collect::<BTreeSet<_>>().len(), fingerprints.len(), "{fingerprints:?}");
}

#[tokio::test]
async fn what_is_wrong_with_the_trail_has_the_same_fingerprint_however_it_is_looked_through() {
    on_each_database(async |room| {
        write(room, 30).await;
        seal(room).await;
        lay_open(room).await;
        for statement in [
            "DELETE FROM audit_blocks WHERE number IN (3, 4, 5)",
            "UPDATE audit_blocks SET newest_ms = 0 WHERE number IN (2, 6)",
            "UPDATE audit_blocks SET newest_ms = 0 WHERE number = 10",
            "DELETE FROM audit_entries WHERE position IN (22, 24)",
        ] {
            execute(room, statement).await.unwrap();
        }
        let fingerprints = async |pieces: i64| {
            let (mut from, mut all) = (None, Findings::default());
            loop {
                let verifier = Verifier::new(room.database.clone(), room.care.keys.clone());
                let report = verifier.page(from, pieces, None, NOW_MS).await.unwrap();
                all.join(report.findings);
                from = report.next;
                if from.is_none() {
                    return all.named().map(|finding| finding.fingerprint.clone()).collect::<Vec<_>>();
                }
            }
        };
        let all = fingerprints(100).await;
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), 6, "{all:?}");
        for pieces in 1..8 {
            assert_eq!(fingerprints(pieces).await, all, "{pieces}");
        }
        // Nor does it matter what is written afterwards.
        write(room, 4).await;
        seal(room).await;
        assert_eq!(fingerprints(3).await, all);
    })
    .await;
}

#[tokio::test]
async fn an_acknowledgement_that_is_not_genuine_or_is_gone_covers_nothing() {
    on_each_database(async |room| {
        write(room, 6).await;
        seal(room).await;
        lay_open(room).await;
        execute(room, "DELETE FROM audit_entries WHERE position = 2").await.unwrap();
        let finding = only(room).await;
        // Somebody who has the database and no key makes one of an entry that is genuine.
        let forge = format!(
            "UPDATE audit_entries SET action = 'audit.finding_acknowledged', subject = '{}' WHERE position = 6",
            finding.fingerprint
        );
        execute(room, &forge).await.unwrap();
        let both = found(room).await;
        assert_eq!((both.count(), both.acknowledged_count()), (2, 0), "{both:#?}");
        restore(room).await;

        execute(room, "DELETE FROM audit_entries WHERE position = 2").await.unwrap();
        acknowledge(room, &finding).await;
        seal(room).await;
        assert_eq!(found(room).await.count(), 0);
        execute(room, "DELETE FROM audit_entries WHERE position = 7").await.unwrap();
        let both = found(room).await;
        assert_eq!((both.count(), both.acknowledged_count()), (2, 0), "{both:#?}");
    })
    .await;
}

#[tokio::test]
async fn what_tells_of_a_removal_can_be_acknowledged_before_and_after_it_is_in_a_block() {
    on_each_database(async |room| {
        assert!(tell_of_missing(&room.database, NOW_MS).await.unwrap().is_empty());
        write(room, 3).await;
        lay_open(room).await;
        remove(room, "lane_1").await;
        let told: BTreeSet<String> =
            tell_of_missing(&room.database, NOW_MS).await.unwrap().into_iter().collect();
        assert_eq!(told.len(), 1);
        let known = async || acknowledged_of(&room.database, &room.care.keys, &told).await.unwrap();
        assert!(known().await.is_empty());
        seal(room).await;
        let finding = only(room).await;
        assert_eq!(finding.problem, Problem::EntryRemoved);
        assert!(told.contains(&finding.fingerprint), "whoever missed it knows what it is found as");
        acknowledge(room, &finding).await;
        assert_eq!((known().await, found(room).await.count()), (told.clone(), 0));
    })
    .await;
}

#[tokio::test]
async fn a_removal_that_is_told_where_a_block_is_altered_or_gone_is_acknowledged_by_itself_or_not_at_all() {
    on_each_database(async |room| {
        assert!(tell_of_missing(&room.database, NOW_MS).await.unwrap().is_empty());
        write(room, 6).await;
        lay_open(room).await;
        remove(room, "lane_5").await;
        let told = tell_of_missing(&room.database, NOW_MS + 2).await.unwrap();
        assert_eq!(only(room).await.fingerprint, told[0], "before it is in a block");
        write(room, 3).await;
        seal(room).await;
        let position = only(room).await.position.unwrap();
        for table in ["audit_entries", "audit_blocks", "audit_head"] {
            execute(room, &format!("DELETE FROM copy_of_{table}")).await.unwrap();
            execute(room, &format!("INSERT INTO copy_of_{table} SELECT * FROM {table}")).await.unwrap();
        }
        let block = block_of(position);
        for statement in [
            format!("UPDATE audit_blocks SET newest_ms = 0 WHERE number = {block}"),
            format!("DELETE FROM audit_blocks WHERE number = {block}"),
            // The block says that the entry is none of its own.
            format!(
                "UPDATE audit_blocks SET first_position = {}, last_position = {}, digests = substr(digests, 65) \
                 WHERE number = {block}",
                position + 1,
                position + 1
            ),
            format!("UPDATE audit_entries SET position = 1000000 WHERE position = {position}"),
            format!("UPDATE audit_blocks SET audit_key = 9 WHERE number = {block}"),
        ] {
            execute(room, &statement).await.unwrap();
            let both = found(room).await;
            let (removal, others): (Vec<&Finding>, Vec<&Finding>) =
                both.named().partition(|finding| finding.fingerprint == told[0]);
            assert_eq!((removal.len(), others.is_empty()), (1, false), "{statement}: {both:#?}");
            for finding in others {
                acknowledge(room, finding).await;
            }
            assert_eq!(only(room).await.fingerprint, told[0], "{statement}");
            restore(room).await;
        }
    })
    .await;
}

#[tokio::test]
async fn what_somebody_put_in_by_hand_is_no_news_to_whoever_seals_once_it_is_acknowledged() {
    on_each_database(async |room| {
        write(room, 3).await;
        seal(room).await;
        lay_open(room).await;
        for statement in (Tampering::Copy { from: 1, position: None }).statements() {
            execute(room, &statement).await.unwrap();
        }
        assert!(sealer(room, 3).round().await.unwrap().forged.is_some());
        acknowledge(room, &only(room).await).await;
        let mut sealer = sealer(room, 3);
        let round = sealer.round().await.unwrap();
        assert_eq!((round.entries, round.forged), (1, None));
        write(room, 2).await;
        // One round passes over what was put in by hand, and the next one begins in front of it.
        assert_eq!(sealer.round().await.unwrap().entries + sealer.round().await.unwrap().entries, 2);
        execute(room, "UPDATE audit_entries SET subject = 'again' WHERE position IS NULL").await.unwrap();
        assert!(self::sealer(room, 3).round().await.unwrap().forged.is_some());
    })
    .await;
}

/// Puts a block that fits together in the place of `number`, with none of its entries, under a key that is nowhere.
async fn made_up(room: &Room, number: i64) {
    type Row = (Vec<u8>, i64, i64, i64, i64, Vec<u8>);
    const READ: &str = "SELECT previous, first_position, last_position, sealed_at_ms, newest_ms, digests \
         FROM audit_blocks WHERE number = $1";
    const WRITE: &str = "UPDATE audit_blocks SET digests = $2, hash = $3, audit_key = 9 WHERE number = $1";
    let mut transaction = begin(room).await;
    let row = on_connection!(transaction, |connection| {
        sqlx::query_as(READ).bind(number).fetch_one(connection).await
    });
    let (previous, first, last, sealed_at_ms, newest_ms, digests): Row = row.unwrap();
    let digests = vec![0; digests.len()];
    let mut hash = Sha256::new().chain_update(b"keepwell audit block 1\0");
    for part in [number, first, last, sealed_at_ms, newest_ms, previous.len() as i64] {
        hash.update(part.to_be_bytes());
    }
    hash = hash.chain_update(previous).chain_update((digests.len() as u64).to_be_bytes());
    let hash = hash.chain_update(&digests).finalize().to_vec();
    let done = on_connection!(transaction, |connection| {
        sqlx::query(WRITE).bind(number).bind(digests).bind(hash).execute(connection).await.map(|_| ())
    });
    done.unwrap();
    transaction.commit().await.unwrap();
}

#[tokio::test]
async fn a_block_that_somebody_made_up_under_a_key_that_is_not_there_is_one_finding() {
    on_each_database(async |room| {
        write(room, 20).await;
        seal(room).await;
        lay_open(room).await;
        for number in [2, 7] {
            made_up(room, number).await;
        }
        let found = found(room).await;
        let named: Vec<_> = found.named().map(|finding| (finding.problem, finding.block)).collect();
        assert_eq!(named, [(Problem::BlockAltered, Some(2)), (Problem::BlockAltered, Some(7))], "{found:#?}");
    })
    .await;
}
