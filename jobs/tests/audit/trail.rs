//! What the tests of the trail share.

use keepwell_jobs::store::audit::{
    Actor, AuditEntry, AuditFilter, ChainEnd, EntryView, Finding, Report, Sealer, Verifier, append, list,
};
use keepwell_workers::{
    clock::{ManualClock, UnixMs},
    database::{Durability, Transaction, turn::Urgency},
    on_connection,
};
use serde_json::json;

use crate::support::{NOW_MS, Room};

/// Something that an operator did at `at_ms`.
pub fn entry(action: &'static str, subject: &str, at_ms: UnixMs) -> AuditEntry {
    AuditEntry {
        at_ms,
        actor: Actor::Operator { name: "uid 7".to_owned() },
        action,
        subject: Some(subject.to_owned()),
        reason: format!("because of {subject}"),
        before: None,
        after: Some(json!({ "paused": true })),
    }
}

pub async fn begin(room: &Room) -> Transaction {
    room.database.begin(Urgency::General, Durability::Relaxed, NOW_MS).await.unwrap()
}

/// Writes `count` entries about `lane_0`, `lane_1` …
pub async fn write(room: &Room, count: usize) {
    let mut transaction = begin(room).await;
    for number in 0..count {
        let entry = entry("lane.paused", &format!("lane_{number}"), NOW_MS + number as i64);
        append(&mut transaction, &entry).await.unwrap();
    }
    transaction.commit().await.unwrap();
}

pub fn sealer(room: &Room, entries_per_block: usize) -> Sealer {
    Sealer::new(room.database.clone(), room.care.keys.clone(), ManualClock::at(NOW_MS))
        .with_entries_per_block(entries_per_block)
}

/// Seals what is there into blocks of up to three; answers the end of the chain.
pub async fn seal(room: &Room) -> ChainEnd {
    sealer(room, 3).round().await.unwrap().end
}

pub async fn report(room: &Room, witness: Option<&ChainEnd>) -> Report {
    let verifier = Verifier::new(room.database.clone(), room.care.keys.clone());
    verifier.page(None, 200, witness, NOW_MS).await.unwrap()
}

pub async fn finding(room: &Room) -> Option<Finding> {
    report(room, None).await.findings.first
}

/// Every entry that matches, the oldest first.
pub async fn all(room: &Room, filter: &AuditFilter) -> Vec<EntryView> {
    let page = list(&room.database, &room.care.keys, filter, None, 500).await.unwrap();
    assert_eq!(page.items.len() as u64, page.total);
    page.items.into_iter().rev().collect()
}

/// Runs a statement as somebody would who has the database and nothing else.
pub async fn execute(room: &Room, sql: &str) -> Result<u64, String> {
    let mut transaction = begin(room).await;
    let done = on_connection!(transaction, |connection| {
        sqlx::query(sqlx::AssertSqlSafe(sql.to_owned()))
            .execute(connection)
            .await
            .map(|done| done.rows_affected())
    });
    let done = done.map_err(|error| error.to_string())?;
    transaction.commit().await.unwrap();
    Ok(done)
}
