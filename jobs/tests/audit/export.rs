//! An exported trail is verified far from the database.

use std::collections::BTreeMap;

use keepwell_jobs::store::audit::{AuditFilter, FileReport, Manifest, Problem, export, verify_file};
use keepwell_workers::seal::{KeyRing, SealingKey};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::{
    support::{Room, on_each_database},
    trail::{seal, write},
};

/// The file that `keepwell audit export` writes.
async fn file(room: &Room, filter: &AuditFilter, asked: &[(&str, &str)]) -> String {
    let (mut body, mut from) = (String::new(), None);
    loop {
        let page = export(&room.database, &room.care.keys, filter, from).await.unwrap();
        for line in page.lines {
            body.push_str(&line);
            body.push('\n');
        }
        from = page.next;
        if from.is_some() {
            continue;
        }
        let manifest = Manifest {
            format: 1,
            exported_at: "2027-01-31T12:00:00.000Z".to_owned(),
            filter: asked.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            lines: body.lines().count() as u64,
            sha256: hex::encode(Sha256::digest(&body)),
            end: page.end,
            keys: page.keys,
        };
        return format!("{body}{}\n", manifest.line());
    }
}

/// The same file with another body, its manifest made to fit.
fn patched(file: &str, patch: impl Fn(Vec<&str>) -> Vec<String>) -> String {
    let mut lines: Vec<&str> = file.lines().collect();
    let manifest = lines.pop().unwrap();
    let body = patch(lines).join("\n") + "\n";
    let mut manifest: serde_json::Value = serde_json::from_str(manifest).unwrap();
    manifest["manifest"]["sha256"] = hex::encode(Sha256::digest(&body)).into();
    manifest["manifest"]["lines"] = body.lines().count().into();
    format!("{body}{manifest}\n")
}

fn problem(file: &str, keys: Option<&KeyRing>) -> Option<Problem> {
    verify_file(file, keys).finding.map(|finding| finding.problem)
}

#[tokio::test]
async fn an_export_is_whole_until_somebody_touches_it() {
    on_each_database(async |room| {
        write(room, 70).await;
        seal(room).await;
        let keys = &room.care.keys;
        let whole = file(room, &AuditFilter::default(), &[]).await;
        let FileReport { finding, blocks, entries, authenticated, .. } = verify_file(&whole, Some(keys));
        assert_eq!((finding, blocks, entries, authenticated), (None, 24, 70, true));
        assert!(!verify_file(&whole, None).authenticated);
        assert_eq!(problem(&whole, None), None);

        let altered = whole.replacen("because of lane_7\"", "because of lane_8\"", 1);
        assert_ne!(altered, whole);
        assert_eq!(problem(&altered, None), Some(Problem::EntryAltered));
        let own = |lines: Vec<&str>| lines.into_iter().map(str::to_owned).collect::<Vec<_>>();
        let removed = |at: usize| {
            patched(&whole, |lines| {
                let mut lines = own(lines);
                lines.remove(at);
                lines
            })
        };
        // Each block has three entries behind it.
        assert_eq!(problem(&removed(5), None), Some(Problem::EntryRemoved));
        assert_eq!(problem(&removed(4), None), Some(Problem::EntryInserted));
        let without_block = patched(&whole, |lines| own([&lines[..4], &lines[8..]].concat()));
        assert_eq!(problem(&without_block, None), Some(Problem::BlockRemoved));
        let cut = patched(&whole, |lines| own(lines[..40].to_vec()));
        assert_eq!(problem(&cut, None), Some(Problem::Truncated));
        let swapped = patched(&whole, |mut lines| {
            lines.swap(5, 6);
            own(lines)
        });
        assert_eq!(problem(&swapped, None), Some(Problem::EntryRemoved));
        let without_manifest = whole.lines().take(20).collect::<Vec<_>>().join("\n");
        assert_eq!(problem(&without_manifest, None), Some(Problem::Truncated));
    })
    .await;
}

#[tokio::test]
async fn an_export_of_some_entries_is_checked_against_their_blocks() {
    on_each_database(async |room| {
        write(room, 10).await;
        seal(room).await;
        let filter = AuditFilter { subject: Some("lane_4".to_owned()), ..AuditFilter::default() };
        let some = file(room, &filter, &[("subject", "lane_4")]).await;
        let report = verify_file(&some, Some(&room.care.keys));
        assert_eq!((report.finding, report.blocks, report.entries), (None, 1, 1));
        assert_eq!(report.filter, BTreeMap::from([("subject".to_owned(), "lane_4".to_owned())]));
        let altered = patched(&some, |lines| {
            lines.iter().map(|line| line.replace("lane.paused", "lane.resumed")).collect()
        });
        assert_eq!(problem(&altered, None), Some(Problem::EntryAltered));
    })
    .await;
}

#[tokio::test]
async fn a_file_that_somebody_made_up_does_not_pass_before_whoever_has_the_keys() {
    on_each_database(async |room| {
        write(room, 3).await;
        seal(room).await;
        let whole = file(room, &AuditFilter::default(), &[]).await;
        let forged = patched(&whole, |lines| {
            let mut block: serde_json::Value = serde_json::from_str(lines[0]).unwrap();
            block["block"]["code"] = "00".repeat(32).into();
            [vec![block.to_string()], lines[1..].iter().map(|line| (*line).to_owned()).collect()].concat()
        });
        assert_eq!(problem(&forged, None), None, "without keys nobody can tell");
        assert_eq!(problem(&forged, Some(&room.care.keys)), Some(Problem::BlockAltered));
        let stranger = KeyRing::new(SealingKey::new("test", &Zeroizing::new([8; 32])), []);
        assert_eq!(problem(&whole, Some(&stranger)), Some(Problem::KeyMissing));
    })
    .await;
}
