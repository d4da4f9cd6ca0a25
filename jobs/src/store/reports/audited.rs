//! What the audit trail says of a period.

use std::collections::HashSet;

use keepwell_workers::{
    clock::UnixMs,
    database::{Database, Reader, turn::Urgency},
    seal::KeyRing,
};

use super::{
    super::audit::{ChainEnd, Findings, Verifier, stretch},
    responses::STRETCH_MS,
};
use crate::care::report::{
    facts::{AuditFacts, ChainFacts},
    period::Period,
    safeguards::BACKUP_CHECKED,
};

/// Changes of access that are looked at for one report.
const CHANGES_MAX: u64 = 200_000;

/// Blocks that are verified for one report; each has up to 64 entries.
const BLOCKS_MAX: i64 = 4_000;

/// Blocks that are verified at once.
const BLOCKS_PER_PAGE: i64 = 100;

/// Counts and checks what the trail holds of `period`. Answers with who made crises known from a stretch before it up
/// to `until_ms`, too: an answer is audited when it is given, and by the clock of whoever gives it.
pub(super) async fn read(
    reader: &mut Reader,
    keys: &KeyRing,
    period: Period,
    until_ms: UnixMs,
) -> Result<(AuditFacts, HashSet<String>), sqlx::Error> {
    let (mut facts, mut actors, mut backed_up) = (AuditFacts::default(), HashSet::new(), HashSet::new());
    for Period { from_ms, to_ms } in period.cut(STRETCH_MS) {
        for counted in stretch::count_actions(reader, from_ms, to_ms).await? {
            let count = u64::try_from(counted.count).unwrap_or(0);
            if counted.actor_kind == "operator" {
                facts.by_operators += count;
                facts.by_nobody += u64::try_from(counted.nameless).unwrap_or(0);
            }
            match counted.action.as_str() {
                "lane.paused" => facts.crisis_pauses += u64::try_from(counted.of_crisis_lane).unwrap_or(0),
                BACKUP_CHECKED => {
                    backed_up.insert(period.day_of(from_ms));
                    facts.backups.last_ms = facts.backups.last_ms.max(Some(counted.newest_ms));
                }
                _ => {}
            }
            *facts.actions.entry(counted.action).or_default() += count;
        }
        let access = &mut facts.access;
        stretch::check_access(reader, keys, (from_ms, to_ms), CHANGES_MAX, access).await?;
    }
    facts.backups.days = backed_up.len() as u64;
    // Whoever answered the first of them may have a clock that is behind that of whoever recorded it.
    let answered =
        Period { from_ms: period.from_ms.saturating_sub(STRETCH_MS), to_ms: until_ms.max(period.to_ms) };
    for Period { from_ms, to_ms } in answered.cut(STRETCH_MS) {
        actors.extend(stretch::crisis_actors(reader, from_ms, to_ms).await?);
    }
    Ok((facts, actors))
}

/// Verifies the blocks of `period`, and where the chain ends; `witness` is an end that was noted outside the database.
pub(super) async fn verify(
    database: &Database,
    keys: &KeyRing,
    period: Period,
    witness: Option<&ChainEnd>,
    now_ms: UnixMs,
) -> Result<ChainFacts, sqlx::Error> {
    // A connection is given back before the verifier takes its own.
    let reader = async || database.reader(Urgency::General).await;
    let mut from = Some(stretch::block_at(&mut reader().await?, keys, period.from_ms).await?);
    let verifier = Verifier::new(database.clone(), keys.clone());
    let (mut facts, mut findings, mut looked_at) = (ChainFacts::default(), Findings::default(), 0);
    while let Some(first) = from {
        let report = verifier.page(Some(first), BLOCKS_PER_PAGE, witness, now_ms).await?;
        facts.blocks += report.blocks;
        facts.entries += report.entries;
        findings.join(report.findings);
        facts.finding = told(&findings);
        looked_at += BLOCKS_PER_PAGE;
        from = report.next;
        let last_ms = match report.next {
            Some(next) => stretch::newest_in(&mut reader().await?, next - 1).await?,
            None => None,
        };
        if last_ms.is_some_and(|last_ms| last_ms >= period.to_ms) {
            break;
        }
        if looked_at >= BLOCKS_MAX && from.is_some() {
            return Ok(facts);
        }
    }
    facts.complete = true;
    Ok(facts)
}

/// The first thing that is wrong, and how many others are. Who reads a report is told of what was acknowledged as well:
/// a trail does not become whole because somebody has looked into what is wrong with it.
fn told(findings: &Findings) -> Option<String> {
    let first = findings.first.as_ref().or(findings.acknowledged.first())?;
    let block = first.block.map(|block| format!("block {block}: ")).unwrap_or_default();
    let since = first.acknowledged.as_ref().map(|known| format!(", acknowledged on {}", known.at));
    let others = match findings.count() + findings.acknowledged_count() - 1 {
        0 => String::new(),
        others => format!("; and {others} more, which `keepwell audit verify` names"),
    };
    Some(format!("{block}{}{}{others}", first.detail, since.unwrap_or_default()))
}
