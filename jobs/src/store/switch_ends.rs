//! That a switch has come to its end by itself, because its time was over: nobody does that, so nobody else writes it
//! down.

use keepwell_workers::{
    clock::UnixMs,
    database::{Database, Transaction},
};
use serde_json::json;

use super::{
    audit::{Actor, AuditEntry, append_once},
    switches::locked,
};
use crate::care::emergency::{Switch, SwitchName, Switches};

/// How long ago a switch may have ended that a process finds which has just begun, in milliseconds: 30 days. Older
/// entries may be let go at any time, and would be written again.
const FOUND_WITHIN_MS: i64 = 30 * 24 * 60 * 60 * 1_000;

/// The switches of `switches` that had ended by themselves at `now_ms`, not long ago, and when.
pub fn ended_by_itself(switches: &Switches, now_ms: UnixMs) -> Vec<(SwitchName, UnixMs)> {
    let ended = |switch: &Switch| {
        switch.is_on && !switch.is_on_at(now_ms) && now_ms.saturating_sub(switch.until_ms) < FOUND_WITHIN_MS
    };
    let found = switches.known.iter().filter(|(_, switch)| ended(switch));
    found.map(|(name, switch)| (*name, switch.until_ms)).collect()
}

/// Audits every switch that has ended by itself, once, however many processes look and however often. Answers with
/// those and when, as the database has them.
pub async fn audit_ended(
    database: &Database,
    now_ms: UnixMs,
) -> Result<Vec<(SwitchName, UnixMs)>, sqlx::Error> {
    let (mut transaction, switches) = locked(database, now_ms).await?;
    let ended = ended_by_itself(&switches, now_ms);
    for (name, _) in &ended {
        said_ended(&mut transaction, *name, &switches).await?;
    }
    transaction.commit().await?;
    Ok(ended)
}

/// Audits that `name`, which is one of those that have ended by themselves, has.
pub(super) async fn said_ended(
    transaction: &mut Transaction,
    name: SwitchName,
    switches: &Switches,
) -> Result<(), sqlx::Error> {
    let Some(switch) = switches.get(name) else { return Ok(()) };
    let state = |on: bool| json!({ "on": on, "since_ms": switch.since_ms, "until_ms": switch.until_ms });
    let entry = AuditEntry {
        at_ms: switch.until_ms,
        actor: Actor::System { job: "the switch's own time".to_owned() },
        action: "emergency.ended",
        subject: Some(name.name().to_owned()),
        reason: switch.reason.clone(),
        before: Some(state(true)),
        after: Some(state(false)),
    };
    if append_once(transaction, &entry, &format!("emergency ended {}", name.name())).await? {
        let (at_ms, switch) = (switch.until_ms, name.name());
        transaction.after_commit(move || {
            tracing::warn!(target: "keepwell::audit", at_ms, action = "emergency.ended", switch, "audited");
        });
    }
    Ok(())
}
