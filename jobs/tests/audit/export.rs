//! An exported trail is verified far from the database.

use std::collections::BTreeMap;

use keepwell_jobs::{
    signature::{Document, public_key, sign},
    store::audit::{AuditFilter, ExportError, FileReport, Problem, export, verify_file},
};
use keepwell_workers::seal::{KeyRing, SealingKey};
use serde_json::{Value, value::to_raw_value};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::{
    support::{NOW_MS, Room, on_each_database},
    tampering::lay_open,
    trail::{execute, report, seal, write},
};

/// The file that `keepwell audit export` writes.
async fn file(room: &Room, filter: &AuditFilter) -> String {
    let (mut text, mut cursor) = (String::new(), None::<String>);
    loop {
        let page = export(&room.database, &room.care.keys, filter, cursor.as_deref(), NOW_MS).await.unwrap();
        for line in page.lines {
            text.push_str(&line);
            text.push('\n');
        }
        cursor = page.next;
        if cursor.is_none() {
            return text;
        }
    }
}

/// The same file with other lines, its manifest made to fit and signed with `keys`, or as well as can be without.
fn forged(file: &str, keys: Option<&KeyRing>, patch: impl Fn(Vec<&str>) -> Vec<String>) -> String {
    let mut lines: Vec<&str> = file.lines().collect();
    let mut last: Value = serde_json::from_str(lines.pop().unwrap()).unwrap();
    let lines = patch(lines);
    let digest = lines.iter().fold([0; 32], |digest: [u8; 32], line| {
        Sha256::new().chain_update(digest).chain_update(line).finalize().into()
    });
    let manifest = &mut last["manifest"];
    manifest["digest"] = hex::encode(digest).into();
    manifest["lines"] = lines.len().into();
    if manifest["filter"] == serde_json::json!({}) {
        let blocks: Vec<Value> = lines.iter().filter_map(|line| block(line)).collect();
        let (first, last) = (&blocks[0], &blocks[blocks.len() - 1]);
        manifest["begin"]["block"] = (first["number"].as_i64().unwrap() - 1).into();
        manifest["begin"]["hash"] = first["previous"].clone();
        (manifest["end"]["block"], manifest["end"]["hash"]) = (last["number"].clone(), last["hash"].clone());
    }
    if let Some(keys) = keys {
        let bytes = to_raw_value(manifest).unwrap();
        last["signature"] =
            serde_json::to_value(sign(keys, Document::AuditExport, bytes.get().as_bytes()).unwrap()).unwrap();
    }
    format!("{}\n{last}\n", lines.join("\n"))
}

fn block(line: &str) -> Option<Value> {
    serde_json::from_str::<Value>(line).unwrap().get("block").cloned()
}

fn own(lines: &[&str]) -> Vec<String> {
    lines.iter().map(|line| (*line).to_owned()).collect()
}

fn problem(file: &str, keys: Option<&KeyRing>) -> Option<Problem> {
    verify_file(file, keys, None).findings.first.map(|finding| finding.problem)
}

fn stranger() -> KeyRing {
    KeyRing::new(SealingKey::new("test", &Zeroizing::new([8; 32])), [])
}

#[tokio::test]
async fn an_export_is_whole_until_somebody_touches_it() {
    on_each_database(async |room| {
        write(room, 70).await;
        seal(room).await;
        let keys = &room.care.keys;
        let whole = file(room, &AuditFilter::default()).await;
        let FileReport { findings, blocks, entries, authenticated, .. } =
            verify_file(&whole, Some(keys), None);
        assert_eq!((findings.first, blocks, entries, authenticated), (None, 24, 70, true));
        assert!(!verify_file(&whole, None, None).authenticated);
        assert_eq!(problem(&whole, None), None);

        let altered = whole.replacen("because of lane_7\"", "because of lane_8\"", 1);
        assert_ne!(altered, whole);
        assert_eq!(problem(&altered, None), Some(Problem::EntryAltered));
        let twice = altered.replacen("because of lane_33\"", "because of lane_3\"", 1);
        let findings = verify_file(&twice, None, None).findings;
        let named: Vec<_> = findings.named().map(|finding| (finding.problem, finding.position)).collect();
        let entries = [8, 34].map(|position| (Problem::EntryAltered, Some(position)));
        assert_eq!(named, [&entries[..], &[(Problem::ManifestAltered, None)]].concat());
        let removed = |at: usize| {
            forged(&whole, None, |mut lines| {
                lines.remove(at);
                own(&lines)
            })
        };
        // Each block has three entries behind it.
        assert_eq!(problem(&removed(5), None), Some(Problem::EntryRemoved));
        assert_eq!(problem(&removed(4), None), Some(Problem::EntryInserted));
        let without_block = forged(&whole, None, |lines| own(&[&lines[..4], &lines[8..]].concat()));
        assert_eq!(problem(&without_block, None), Some(Problem::BlockRemoved));
        let swapped = forged(&whole, None, |mut lines| {
            lines.swap(5, 6);
            own(&lines)
        });
        assert_eq!(problem(&swapped, None), Some(Problem::EntryRemoved));
        let without_manifest = whole.lines().take(20).collect::<Vec<_>>().join("\n");
        assert_eq!(problem(&without_manifest, None), Some(Problem::Truncated));
    })
    .await;
}

#[tokio::test]
async fn an_export_that_was_cut_in_front_or_at_its_end_is_found_out_by_its_signature() {
    on_each_database(async |room| {
        write(room, 70).await;
        seal(room).await;
        let keys = &room.care.keys;
        let whole = file(room, &AuditFilter::default()).await;
        let filed = public_key(keys, "test").unwrap();
        for (place, cut) in [
            ("front", forged(&whole, None, |lines| own(&lines[8..]))),
            ("end", forged(&whole, None, |lines| own(&lines[..40]))),
        ] {
            // Every block and the chain fit, and so does the manifest: only who signed it tells.
            assert_eq!(problem(&cut, Some(keys)), Some(Problem::ManifestAltered), "{place}");
            let found = verify_file(&cut, None, Some(&filed)).findings.first.map(|finding| finding.problem);
            assert_eq!(found, Some(Problem::ManifestAltered), "{place}");
            assert_eq!(
                problem(&cut, None),
                Some(Problem::ManifestAltered),
                "{place}, not even without a key"
            );
        }
        // Cut without a thought for the manifest, it is named.
        let lines: Vec<&str> = whole.lines().collect();
        let cut = |kept: Vec<&str>| format!("{}\n{}\n", kept.join("\n"), lines[lines.len() - 1]);
        assert_eq!(problem(&cut(lines[8..lines.len() - 1].to_vec()), None), Some(Problem::BlockRemoved));
        assert_eq!(problem(&cut(lines[..40].to_vec()), None), Some(Problem::Truncated));
        // Signed by somebody else it passes before those who know nobody.
        let foreign = forged(&whole, Some(&stranger()), |lines| own(&lines[..40]));
        assert_eq!(problem(&foreign, None), None);
        assert!(!verify_file(&foreign, None, None).authenticated);
        assert_eq!(problem(&foreign, Some(keys)), Some(Problem::ManifestAltered));
        let found = verify_file(&foreign, None, Some(&filed)).findings.first.map(|finding| finding.problem);
        assert_eq!(found, Some(Problem::ManifestAltered));
        assert!(verify_file(&whole, None, Some(&filed)).authenticated);
        let unsigned = whole.replace("\"signature\":{", "\"nothing\":{");
        assert_ne!(unsigned, whole);
        assert_eq!(problem(&unsigned, Some(keys)), Some(Problem::ManifestAltered));
    })
    .await;
}

#[tokio::test]
async fn an_export_of_some_entries_is_checked_against_their_blocks() {
    on_each_database(async |room| {
        write(room, 70).await;
        seal(room).await;
        let filter = AuditFilter { text: Some("lane_6".to_owned()), ..AuditFilter::default() };
        let some = file(room, &filter).await;
        let keys = &room.care.keys;
        let report = verify_file(&some, Some(keys), None);
        // lane_6, lane_60 to lane_69.
        assert_eq!((report.findings.first, report.blocks, report.entries), (None, 5, 11));
        assert_eq!(report.filter, BTreeMap::from([("q".to_owned(), "lane_6".to_owned())]));
        let altered = forged(&some, None, |lines| {
            lines.iter().map(|line| line.replace("lane.paused", "lane.resumed")).collect()
        });
        assert_eq!(problem(&altered, None), Some(Problem::EntryAltered));
        // Blocks may be missing between those with a match, so only the signature tells of one that was left out.
        for cut in [
            forged(&some, None, |lines| own(&lines[2..])),
            forged(&some, None, |lines| own(&lines[..lines.len() - 1])),
            forged(&some, None, |lines| own(&[&lines[..2], &lines[6..]].concat())),
        ] {
            assert_eq!(problem(&cut, Some(keys)), Some(Problem::ManifestAltered));
        }
    })
    .await;
}

#[tokio::test]
async fn nobody_begins_an_export_in_its_middle() {
    on_each_database(async |room| {
        write(room, 70).await;
        seal(room).await;
        let keys = &room.care.keys;
        let everything = AuditFilter::default();
        let first = export(&room.database, keys, &everything, None, NOW_MS).await.unwrap();
        let cursor = first.next.expect("there are more blocks");
        let goes_on = async |filter: &AuditFilter, cursor: &str| {
            export(&room.database, keys, filter, Some(cursor), NOW_MS).await
        };
        assert!(goes_on(&everything, &cursor).await.is_ok());
        let other = AuditFilter { subject: Some("lane_1".to_owned()), ..AuditFilter::default() };
        let altered = cursor.replacen(&cursor[60..62], "zz", 1);
        for (filter, cursor) in [(&other, cursor.as_str()), (&everything, &altered), (&everything, "1")] {
            assert!(matches!(goes_on(filter, cursor).await, Err(ExportError::Cursor)), "{cursor}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_file_that_somebody_made_up_does_not_pass_before_whoever_has_the_keys() {
    on_each_database(async |room| {
        write(room, 3).await;
        seal(room).await;
        let whole = file(room, &AuditFilter::default()).await;
        let made_up = forged(&whole, Some(&stranger()), |lines| {
            let mut block: Value = serde_json::from_str(lines[0]).unwrap();
            block["block"]["code"] = "00".repeat(32).into();
            [vec![block.to_string()], own(&lines[1..])].concat()
        });
        assert_eq!(problem(&made_up, None), None, "without keys nobody can tell");
        assert_eq!(problem(&made_up, Some(&room.care.keys)), Some(Problem::BlockAltered));
        assert_eq!(problem(&whole, Some(&stranger())), Some(Problem::KeyMissing));
        let newcomer = KeyRing::new(SealingKey::new("new", &Zeroizing::new([8; 32])), []);
        assert_eq!(problem(&whole, Some(&newcomer)), Some(Problem::KeyUnknown));
    })
    .await;
}

#[tokio::test]
async fn entries_that_no_key_opens_are_one_finding_of_an_export_and_their_chain_is_checked() {
    on_each_database(async |room| {
        write(room, 9).await;
        seal(room).await;
        lay_open(room).await;
        execute(room, "UPDATE audit_entries SET key_id = 'lost' WHERE position IN (2, 3, 7)").await.unwrap();
        let keys = Some(&room.care.keys);
        let exported = file(room, &AuditFilter::default()).await;
        let findings = verify_file(&exported, keys, None).findings;
        let first = findings.first.as_ref().unwrap();
        let said = (findings.count(), first.problem, first.block, first.entries);
        assert_eq!(said, (1, Problem::KeyUnknown, Some(1), Some(3)), "{findings:#?}");
        assert!(first.detail.contains("`lost`") && first.detail.contains("digests are those"), "{first:?}");
        let database = report(room, None).await.findings;
        assert_eq!((database.count(), database.first.unwrap().entries), (1, Some(3)));
        // What such an entry says in the clear is bound by the chain all the same.
        let altered = exported.replacen("\"lane_1\"", "\"lane_x\"", 1);
        assert_eq!(problem(&altered, keys), Some(Problem::EntryAltered));
        // One that was altered is told from one for which a key is missing.
        execute(room, "UPDATE audit_entries SET sealed = details_digest WHERE position = 5").await.unwrap();
        let exported = file(room, &AuditFilter::default()).await;
        let findings = verify_file(&exported, keys, None).findings;
        let named: Vec<_> = findings.named().map(|finding| (finding.problem, finding.position)).collect();
        assert_eq!(
            named,
            [(Problem::KeyUnknown, Some(2)), (Problem::EntryAltered, Some(5))],
            "{findings:#?}"
        );
    })
    .await;
}
