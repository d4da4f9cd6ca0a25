//! Reading what a report is made of.

use std::collections::BTreeMap;

use keepwell_workers::{
    clock::UnixMs,
    database::{Database, Reader, turn::Urgency},
    id::JobId,
    ledger::Ledger,
    on_connection,
    seal::KeyRing,
};
use sqlx::types::Uuid;

use super::{
    super::{
        audit::{AUDIT_RETENTION_DAYS, ChainEnd, stretch},
        rotation::key_use,
    },
    audited,
    responses::{CrisisResponse, STRETCH_MS, catch_up},
};
use crate::{
    care::{
        grace::GraceReason,
        report::{
            facts::{
                Answer, CrisisFact, GraceFact, LaneFact, ReportFacts, RetentionFacts, SealingFacts,
                VIOLATIONS, ViolationFact,
            },
            period::Period,
        },
        severity::Severity,
    },
    kinds,
    watch::CrisisWatch,
};

/// Crises in one report, at most.
const CRISES_MAX: i64 = 200_000;

/// Violations in one report, at most.
const VIOLATIONS_MAX: i64 = 20_000;

/// Grace periods in one report, at most.
const GRACES_MAX: i64 = 200_000;

/// What a report has to know of how the daemon is set up.
#[derive(Debug, Clone)]
pub struct ReportSettings {
    /// The watch, which knows the limits.
    pub watch: CrisisWatch,
    /// For how many days the audit trail is kept.
    pub audit_days: i64,
    /// For how long finished jobs are kept, in milliseconds.
    pub done_ms: i64,
    /// How many names of an event are dropped before it is kept.
    pub dropped_paths: u64,
    /// The schedules that are configured.
    pub schedules: Vec<ReportedSchedule>,
}

/// A schedule as far as reports tell of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportedSchedule {
    /// What it is called.
    pub name: String,
    /// Whether it leaves out a tick that comes while the job of an earlier one is owed.
    pub leaves_out: bool,
}

/// Reads what there is to know of `period` at `now_ms`. What the ledger knows of crises and nobody has noted is noted
/// first.
pub async fn read_facts(
    database: &Database,
    keys: &KeyRing,
    settings: &ReportSettings,
    period: Period,
    witness: Option<&ChainEnd>,
    now_ms: UnixMs,
) -> Result<ReportFacts, sqlx::Error> {
    let owed = catch_up(database, keys, &settings.watch, period, now_ms).await?;
    let chain = audited::verify(database, keys, period, witness, now_ms).await?;
    let sealing = sealing(database, keys).await?;
    // From here on one connection does, and nothing that needs another is asked: of several reports that are made at
    // once, each would hold what the next one waits for.
    let mut reader = database.reader(Urgency::General).await?;
    let (mut crises, left_out) = crises(&mut reader, period, &owed).await?;
    let violations = violations(&mut reader, period).await?;
    let answered_ms = |crisis: &CrisisFact| {
        let took_ms = crisis.took_us().map_or(0, |us| i64::try_from(us / 1_000).unwrap_or(0));
        crisis.came_ms.saturating_add(took_ms)
    };
    let noticed_ms = violations.iter().map(|violation| violation.at_ms);
    // An entry carries the instant of its transaction, which may be a little later than what was measured from.
    let last_ms = crises.iter().map(answered_ms).chain(noticed_ms).max().unwrap_or(0);
    let until_ms = last_ms.saturating_add(STRETCH_MS);
    let (mut audit, actors) = audited::read(&mut reader, keys, period, until_ms).await?;
    for crisis in &mut crises {
        // What else is in the crisis lane, a payment of somebody marked, may change nothing.
        if crisis.took_us().is_some() && crisis.kind == kinds::CRISIS_SIGNALLED {
            crisis.audited = Some(actors.contains(&format!("{} {}", crisis.kind, crisis.job)));
        }
    }
    let has_entry = |it: &&ViolationFact| actors.contains(&format!("watch over {}", it.job));
    let with_entry = violations.iter().filter(has_entry).count();
    audit.violations_without_entry = (violations.len() - with_entry) as u64;
    audit.chain = Some(chain);
    let graces = graces(&mut reader, period).await?;
    let full = |is_full: bool, what| is_full.then_some(what);
    let cut = [
        full(violations.len() as i64 == VIOLATIONS_MAX, VIOLATIONS),
        full(graces.len() as i64 == GRACES_MAX, "grace periods"),
    ];
    Ok(ReportFacts {
        crises,
        crises_left_out: left_out,
        violations,
        graces,
        cut: cut.into_iter().flatten().collect(),
        retention: RetentionFacts {
            required_days: AUDIT_RETENTION_DAYS,
            kept_days: settings.audit_days,
            refuses_deletion: stretch::refuses_deletion(&mut reader, database.dialect()).await?,
        },
        sealing,
        lanes: lanes(&mut reader, period).await?,
        ledger_since_ms: now_ms.saturating_sub(settings.done_ms),
        contacts: contacts(&mut reader, period).await?,
        dropped_paths: settings.dropped_paths,
        audit,
        period,
        as_of_ms: now_ms,
    })
}

/// The crises of `period`: those that were noted, and those that are still owed. And how many there are beyond
/// [`CRISES_MAX`].
async fn crises(
    reader: &mut Reader,
    period: Period,
    owed: &[CrisisResponse],
) -> Result<(Vec<CrisisFact>, u64), sqlx::Error> {
    type Row = (Uuid, String, String, i64, i64, Option<i64>, bool);
    const SQL: &str = "SELECT job_id, kind, severity, came_ms, limit_ms, took_us, measured FROM crisis_responses \
         WHERE came_ms >= $1 AND came_ms < $2 ORDER BY came_ms, job_id LIMIT $3";
    const COUNT: &str = "SELECT COUNT(*) FROM crisis_responses WHERE came_ms >= $1 AND came_ms < $2";
    let rows: Vec<Row> = on_connection!(reader, |connection| {
        sqlx::query_as(SQL)
            .bind(period.from_ms)
            .bind(period.to_ms)
            .bind(CRISES_MAX)
            .fetch_all(connection)
            .await
    })?;
    let mut left_out = 0;
    if rows.len() as i64 == CRISES_MAX {
        let (count,): (i64,) = on_connection!(reader, |connection| {
            sqlx::query_as(COUNT).bind(period.from_ms).bind(period.to_ms).fetch_one(connection).await
        })?;
        left_out = u64::try_from(count - CRISES_MAX).unwrap_or(0);
    }
    let noted = rows.into_iter().filter_map(|(job, kind, severity, came_ms, limit_ms, took_us, measured)| {
        Some(CrisisFact {
            job: job.as_hyphenated().to_string(),
            kind,
            // The column's CHECK allows no other word.
            severity: Severity::from_name(&severity)?,
            came_ms,
            limit_ms,
            answer: took_us.map_or(Answer::Failed, |us| Answer::Given {
                took_us: u64::try_from(us).unwrap_or(0),
                measured,
            }),
            audited: None,
        })
    });
    let mut found: Vec<CrisisFact> = noted.collect();
    for response in owed {
        let job = response.job.to_string();
        // One that was given up on and is tried again was noted as failed.
        found.retain(|known| known.job != job);
        found.push(CrisisFact {
            job,
            kind: response.kind.clone(),
            severity: response.severity,
            came_ms: response.came_ms,
            limit_ms: response.limit_ms,
            answer: Answer::Owed,
            audited: None,
        });
    }
    Ok((found, left_out))
}

/// The violations of the crises that came in `period`, whenever they were noticed: a violation has the id of the job
/// that should have answered, which carries when that came. Ids are hexadecimal digits and hyphens, each in its place,
/// and every collation has these in one order.
async fn violations(reader: &mut Reader, period: Period) -> Result<Vec<ViolationFact>, sqlx::Error> {
    const SQL: &str = "SELECT id, severity, at_ms, limit_ms, took_ms FROM crisis_violations \
         WHERE id >= $1 AND id < $2 ORDER BY id LIMIT $3";
    let rows: Vec<(String, String, i64, i64, i64)> = on_connection!(reader, |connection| {
        sqlx::query_as(SQL)
            .bind(JobId::earliest_at(period.from_ms).to_string())
            .bind(JobId::earliest_at(period.to_ms).to_string())
            .bind(VIOLATIONS_MAX)
            .fetch_all(connection)
            .await
    })?;
    let violation = |(job, severity, at_ms, limit_ms, took_ms): (String, String, i64, i64, i64)| {
        Some(ViolationFact { job, severity: Severity::from_name(&severity)?, at_ms, limit_ms, took_ms })
    };
    Ok(rows.into_iter().filter_map(violation).collect())
}

async fn graces(reader: &mut Reader, period: Period) -> Result<Vec<GraceFact>, sqlx::Error> {
    const SQL: &str = "SELECT reason, started_ms, ends_ms, closed FROM grace_periods \
         WHERE started_ms >= $1 AND started_ms < $2 LIMIT $3";
    let rows: Vec<(String, i64, i64, bool)> = on_connection!(reader, |connection| {
        sqlx::query_as(SQL)
            .bind(period.from_ms)
            .bind(period.to_ms)
            .bind(GRACES_MAX)
            .fetch_all(connection)
            .await
    })?;
    let grace = |(reason, started_ms, ends_ms, closed): (String, i64, i64, bool)| {
        Some(GraceFact { reason: GraceReason::from_name(&reason)?, started_ms, ends_ms, closed })
    };
    Ok(rows.into_iter().filter_map(grace).collect())
}

async fn contacts(reader: &mut Reader, period: Period) -> Result<BTreeMap<String, u64>, sqlx::Error> {
    const SQL: &str = "SELECT result, COUNT(*) FROM contact_notices \
         WHERE at_ms >= $1 AND at_ms < $2 GROUP BY result ORDER BY result";
    let rows: Vec<(String, i64)> = on_connection!(reader, |connection| {
        sqlx::query_as(SQL).bind(period.from_ms).bind(period.to_ms).fetch_all(connection).await
    })?;
    Ok(rows.into_iter().map(|(result, count)| (result, u64::try_from(count).unwrap_or(0))).collect())
}

async fn lanes(reader: &mut Reader, period: Period) -> Result<Vec<LaneFact>, sqlx::Error> {
    let Some(oldest_ms) = Ledger::oldest_ms(reader).await? else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for (part, stretch) in stretches(period, oldest_ms) {
        found.extend(lane_facts(reader, part, stretch).await?);
    }
    Ok(found)
}

/// The stretches of `period` that may have something of `oldest_ms` or later, each with the part of the period that it
/// lies in.
pub(super) fn stretches(period: Period, oldest_ms: UnixMs) -> impl Iterator<Item = (usize, Period)> {
    let parts = period.parts().into_iter().enumerate();
    let stretches = parts.flat_map(|(part, of)| of.cut(STRETCH_MS).map(move |stretch| (part, stretch)));
    stretches.filter(move |(_, stretch)| stretch.to_ms > oldest_ms)
}

/// How much each lane was given in `stretch`, which lies in `part`. Canaries, which do not stay, count nowhere.
pub(super) async fn lane_facts(
    reader: &mut Reader,
    part: usize,
    stretch: Period,
) -> Result<impl Iterator<Item = LaneFact>, sqlx::Error> {
    let Period { from_ms, to_ms } = stretch;
    let counts = Ledger::counts_between(reader, from_ms, to_ms, kinds::CRISIS_CANARY).await?;
    Ok(counts.into_iter().map(move |counted| LaneFact {
        part,
        lane: counted.lane.name(),
        state: counted.state.name(),
        count: counted.count,
    }))
}

async fn sealing(database: &Database, keys: &KeyRing) -> Result<SealingFacts, sqlx::Error> {
    let mut facts = SealingFacts::default();
    for used in key_use(database).await? {
        if keys.ids().any(|id| id == used.key_id) {
            facts.sealed += used.rows;
        } else {
            facts.by_unknown_key += used.rows;
        }
    }
    Ok(facts)
}
