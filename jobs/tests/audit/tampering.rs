//! Whoever has the database and not the keys: whatever they do to the trail is found, and named.

use keepwell_jobs::store::audit::{ChainEnd, Problem};
use keepwell_workers::database::Dialect;
use proptest::{
    prelude::*,
    strategy::ValueTree as _,
    test_runner::{Config, TestRunner},
};

use crate::{
    support::{Room, on_each_database},
    trail::{execute, finding, report, seal, sealer, write},
};

/// Entries of the trail that is tampered with, in blocks of three.
const ENTRIES: i64 = 20;

/// Blocks of it.
pub const BLOCKS: i64 = 7;

/// Tamperings that are tried on each database.
const TRIES: usize = 120;

/// Something that is done to the trail.
#[derive(Debug, Clone)]
pub enum Tampering {
    Alter { position: i64, column: &'static str, value: &'static str },
    Remove { position: i64 },
    Swap { one: i64, other: i64 },
    Copy { from: i64, position: Option<i64> },
    AlterBlock { number: i64, column: &'static str, value: &'static str },
    RemoveBlock { number: i64, with_entries: bool },
    CutTail { last_block: i64 },
    AlterHead { column: &'static str, value: &'static str },
}

/// What makes a value of a column another one that its table takes.
const ENTRY_VALUES: [(&str, &str); 8] = [
    ("at_ms", "at_ms + 1"),
    ("actor_kind", "'source'"),
    ("actor", "'somebody'"),
    ("action", "'lane.resumed'"),
    ("subject", "NULL"),
    ("details_digest", "(SELECT previous FROM audit_blocks WHERE number = 2)"),
    ("key_id", "'other'"),
    ("sealed", "details_digest"),
];
const BLOCK_VALUES: [(&str, &str); 9] = [
    ("previous", "code"),
    ("sealed_at_ms", "sealed_at_ms + 1"),
    ("newest_ms", "0"),
    ("hash", "code"),
    ("audit_key", "audit_key + 1"),
    ("code", "hash"),
    // The table refuses a block whose positions and digests are not as many.
    ("first_position", "first_position + 1, last_position = last_position + 1"),
    ("last_position", "last_position - 1, digests = substr(digests, 1, length(digests) - 32)"),
    ("digests", "substr(digests, 33), first_position = first_position + 1"),
];
const HEAD_VALUES: [(&str, &str); 4] =
    [("last_block", "last_block - 1"), ("last_position", "0"), ("hash", "code"), ("first_block", "2")];

pub fn tampering() -> impl Strategy<Value = Tampering> {
    let position = || 1..=ENTRIES;
    prop_oneof![
        4 => (position(), prop::sample::select(ENTRY_VALUES.to_vec()))
            .prop_map(|(position, (column, value))| Tampering::Alter { position, column, value }),
        2 => position().prop_map(|position| Tampering::Remove { position }),
        2 => (position(), 1..ENTRIES).prop_map(|(one, by)| {
            Tampering::Swap { one, other: (one - 1 + by) % ENTRIES + 1 }
        }),
        2 => (position(), prop::option::of(ENTRIES + 1..ENTRIES + 3))
            .prop_map(|(from, position)| Tampering::Copy { from, position }),
        2 => (1..=BLOCKS, prop::sample::select(BLOCK_VALUES.to_vec()))
            .prop_map(|(number, (column, value))| Tampering::AlterBlock { number, column, value }),
        2 => (1..=BLOCKS, any::<bool>())
            .prop_map(|(number, with_entries)| Tampering::RemoveBlock { number, with_entries }),
        2 => (0..BLOCKS).prop_map(|last_block| Tampering::CutTail { last_block }),
        1 => prop::sample::select(HEAD_VALUES.to_vec())
            .prop_map(|(column, value)| Tampering::AlterHead { column, value }),
    ]
}

/// The block that the entry at `position` is in.
pub fn block_of(position: i64) -> i64 {
    (position - 1) / 3 + 1
}

impl Tampering {
    /// The statements of somebody who does it, the triggers gone.
    pub fn statements(&self) -> Vec<String> {
        match self {
            Tampering::Alter { position, column, value } => {
                vec![format!("UPDATE audit_entries SET {column} = {value} WHERE position = {position}")]
            }
            Tampering::Remove { position } => {
                vec![format!("DELETE FROM audit_entries WHERE position = {position}")]
            }
            Tampering::Swap { one, other } => vec![
                format!("UPDATE audit_entries SET position = 1000000 WHERE position = {one}"),
                format!("UPDATE audit_entries SET position = {one} WHERE position = {other}"),
                format!("UPDATE audit_entries SET position = {other} WHERE position = 1000000"),
            ],
            Tampering::Copy { from, position } => {
                let position = position.map_or("NULL".to_owned(), |position| position.to_string());
                let columns = "at_ms, actor_kind, actor, action, subject, details_digest, key_id, sealed";
                // An id that nothing else has, of the type that ids have here.
                let id = "(SELECT id FROM spare_ids)";
                vec![format!(
                    "INSERT INTO audit_entries (id, position, {columns}) \
                     SELECT {id}, {position}, {columns} FROM audit_entries WHERE position = {from}"
                )]
            }
            Tampering::AlterBlock { number, column, value } => {
                vec![format!("UPDATE audit_blocks SET {column} = {value} WHERE number = {number}")]
            }
            Tampering::RemoveBlock { number, with_entries } => {
                let last = number * 3;
                let first = last - 2;
                let mut statements = vec![format!("DELETE FROM audit_blocks WHERE number = {number}")];
                if *with_entries {
                    let entries =
                        format!("DELETE FROM audit_entries WHERE position BETWEEN {first} AND {last}");
                    statements.push(entries);
                }
                statements
            }
            Tampering::CutTail { last_block } => {
                let last = last_block * 3;
                vec![
                    format!("DELETE FROM audit_blocks WHERE number > {last_block}"),
                    format!("DELETE FROM audit_entries WHERE position > {last}"),
                    // The best that can be done without the key: what the head said, without its code.
                    format!("UPDATE audit_head SET last_block = {last_block}, last_position = {last}"),
                ]
            }
            Tampering::AlterHead { column, value } => {
                vec![format!("UPDATE audit_head SET {column} = {value}")]
            }
        }
    }

    /// Whether the finding names what was done and where.
    pub fn is_named_by(&self, problem: Problem, block: Option<i64>, position: Option<i64>) -> bool {
        match self {
            Tampering::Alter { position: at, column, .. } => {
                // What names a key that is not there may be somebody else's too.
                let expected = if *column == "key_id" { Problem::KeyUnknown } else { Problem::EntryAltered };
                problem == expected && position == Some(*at)
            }
            Tampering::Remove { position: at } => problem == Problem::EntryRemoved && position == Some(*at),
            Tampering::Swap { one, other } => {
                problem == Problem::EntryMoved && position == Some(*one.min(other))
            }
            Tampering::Copy { position: at, .. } => {
                let expected = if at.is_some() { Problem::EntryInserted } else { Problem::EntryAltered };
                problem == expected && position == *at
            }
            Tampering::AlterBlock { number, .. } => {
                matches!(problem, Problem::BlockAltered | Problem::KeyMissing) && block == Some(*number)
            }
            Tampering::RemoveBlock { number, .. } => {
                problem == Problem::BlockRemoved && block == Some(*number)
            }
            Tampering::CutTail { .. } | Tampering::AlterHead { .. } => problem == Problem::HeadAltered,
        }
    }
}

const TABLES: [&str; 3] = ["audit_entries", "audit_blocks", "audit_head"];

/// Takes away what would refuse, and keeps a copy of everything.
pub async fn lay_open(room: &Room) {
    if room.database.dialect() == Dialect::Postgres {
        for table in TABLES {
            execute(room, &format!("ALTER TABLE {table} DISABLE TRIGGER ALL")).await.unwrap();
        }
        execute(room, "CREATE TABLE spare_ids AS SELECT gen_random_uuid() AS id").await.unwrap();
    } else {
        for trigger in [
            "audit_entries_new",
            "audit_entries_unchanged",
            "audit_entries_in_place",
            "audit_entries_resealed",
            "audit_entries_kept",
            "audit_blocks_new",
            "audit_blocks_unchanged",
            "audit_blocks_kept",
            "audit_head_kept",
        ] {
            execute(room, &format!("DROP TRIGGER {trigger}")).await.unwrap();
        }
        execute(room, "CREATE TABLE spare_ids AS SELECT randomblob(16) AS id").await.unwrap();
    }
    for table in TABLES {
        execute(room, &format!("CREATE TABLE copy_of_{table} AS SELECT * FROM {table}")).await.unwrap();
    }
}

pub async fn restore(room: &Room) {
    for table in TABLES {
        execute(room, &format!("DELETE FROM {table}")).await.unwrap();
        execute(room, &format!("INSERT INTO {table} SELECT * FROM copy_of_{table}")).await.unwrap();
    }
}

#[tokio::test]
async fn whatever_is_altered_removed_reordered_inserted_or_cut_off_is_found_and_named() {
    on_each_database(async |room| {
        write(room, ENTRIES as usize).await;
        assert_eq!(seal(room).await.block, BLOCKS);
        lay_open(room).await;
        let mut runner = TestRunner::new_with_rng(
            Config::default(),
            proptest::test_runner::TestRng::deterministic_rng(proptest::test_runner::RngAlgorithm::ChaCha),
        );
        for _ in 0..TRIES {
            assert_eq!(finding(room).await, None);
            let tampering = tampering().new_tree(&mut runner).unwrap().current();
            for statement in tampering.statements() {
                execute(room, &statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
            }
            let found = finding(room).await.unwrap_or_else(|| panic!("{tampering:?} was not found"));
            assert!(
                tampering.is_named_by(found.problem, found.block, found.position),
                "{tampering:?} was found as {found:?}"
            );
            restore(room).await;
        }
    })
    .await;
}

#[tokio::test]
async fn one_altered_block_is_one_finding() {
    on_each_database(async |room| {
        write(room, ENTRIES as usize).await;
        seal(room).await;
        lay_open(room).await;
        for (column, value) in BLOCK_VALUES {
            for number in [1, 4, BLOCKS] {
                let tampering = Tampering::AlterBlock { number, column, value };
                execute(room, &tampering.statements()[0]).await.unwrap();
                let found = report(room, None).await.findings;
                let first = found.first.as_ref().unwrap();
                assert!(
                    tampering.is_named_by(first.problem, first.block, None) && found.count() == 1,
                    "{tampering:?}: {found:#?}"
                );
                restore(room).await;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn an_older_state_of_the_trail_does_not_pass_for_the_present_one() {
    on_each_database(async |room| {
        write(room, 6).await;
        let early = seal(room).await;
        lay_open(room).await;
        write(room, 3).await;
        let late = seal(room).await;
        assert_eq!(report(room, Some(&late)).await.findings.first, None);
        assert_eq!(report(room, Some(&early)).await.findings.first, None);
        restore(room).await;
        // Inside the database everything fits together: only what was noted outside tells.
        let found = report(room, Some(&late)).await.findings.first.unwrap();
        assert_eq!((found.problem, found.block), (Problem::Truncated, Some(3)));
        write(room, 3).await;
        // Whoever knows better adds nothing to it, neither while it is shorter nor once it is as long.
        let unwilling = async || sealer(room, 3).round_behind(&late).await.unwrap_err().to_string();
        assert!(unwilling().await.contains("nothing more is sealed"));
        seal(room).await;
        write(room, 3).await;
        assert!(unwilling().await.contains("nothing more is sealed"));
        assert!(sealer(room, 3).round_behind(&early).await.unwrap().entries > 0);
        let found = report(room, Some(&late)).await.findings.first.unwrap();
        assert_eq!((found.problem, found.block), (Problem::BlockAltered, Some(3)));
        let forged = ChainEnd { block: 1, hash: "00".repeat(32) };
        assert!(report(room, Some(&forged)).await.findings.first.is_some());
    })
    .await;
}

#[tokio::test]
async fn nothing_is_added_to_a_chain_that_somebody_changed() {
    on_each_database(async |room| {
        write(room, 3).await;
        seal(room).await;
        execute(room, "UPDATE audit_head SET last_position = 2").await.unwrap();
        write(room, 1).await;
        assert!(sealer(room, 3).round().await.is_err());
        assert_eq!(finding(room).await.unwrap().problem, Problem::HeadAltered);
        execute(room, "UPDATE audit_head SET last_position = 3").await.unwrap();
        assert_eq!(seal(room).await.block, 2);
        assert_eq!(finding(room).await, None);
    })
    .await;
}

#[tokio::test]
async fn an_entry_without_a_block_cannot_be_changed_unnoticed_either() {
    on_each_database(async |room| {
        write(room, 2).await;
        lay_open(room).await;
        execute(room, "UPDATE audit_entries SET action = 'lane.resumed' WHERE subject = 'lane_1'")
            .await
            .unwrap();
        let found = finding(room).await.unwrap();
        assert_eq!((found.problem, found.position), (Problem::EntryAltered, None));
        // It is not sealed, which would vouch for it; everything else is.
        let round = sealer(room, 3).round().await.unwrap();
        assert!(round.entries == 1 && round.forged.is_some(), "{round:?}");
        let found = finding(room).await.unwrap();
        assert_eq!((found.problem, found.position), (Problem::EntryAltered, None));
    })
    .await;
}

#[tokio::test]
async fn entries_that_somebody_inserted_by_hand_get_no_block_and_hold_up_no_other() {
    on_each_database(async |room| {
        write(room, 1).await;
        seal(room).await;
        lay_open(room).await;
        // The oldest of ids, so that they stand in front of everything.
        let id = |number: u8| match room.database.dialect() {
            Dialect::Postgres => format!("CAST('00000000-0000-0000-0000-0000000000{number:02}' AS UUID)"),
            Dialect::Sqlite => format!("x'000000000000000000000000000000{number:02}'"),
        };
        for number in 1..=5 {
            let columns = "at_ms, actor_kind, actor, action, subject, details_digest, key_id, sealed";
            let forge = format!(
                "INSERT INTO audit_entries (id, {columns}) SELECT {}, {columns} FROM audit_entries \
                 WHERE position = 1",
                id(number)
            );
            execute(room, &forge).await.unwrap();
        }
        write(room, 4).await;
        let round = sealer(room, 3).round().await.unwrap();
        assert!(round.entries == 4 && round.forged.is_some(), "{round:?}");
        let found = finding(room).await.unwrap();
        assert_eq!((found.problem, found.block, found.position), (Problem::EntryAltered, None, None));
        // What is behind them is still looked at.
        execute(room, "UPDATE audit_entries SET subject = 'lane_9' WHERE position = 4").await.unwrap();
        assert_eq!(finding(room).await.unwrap().position, Some(4));
    })
    .await;
}
