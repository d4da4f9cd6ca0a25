//! Alerts and silences. Every change names what it changes it from, so that of two nodes that decide the same one
//! finds it done, and nothing of its decision is kept.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use async_trait::async_trait;
use keepwell_workers::{
    clock::UnixMs,
    database::{Database, Durability, Note, Transaction, turn::Urgency},
    on_connection,
};

use super::audit::{AuditEntry, append};
use crate::alerts::{
    plan::{Move, OpenAlert, Silence},
    rule::{Rule, Severity},
    telling::ToldAlert,
};

/// Alerts that are looked at, at most: there are fewer rules, and each has a bounded number of causes.
const ALERTS_MAX: i64 = 1_000;

/// How long alerts that are over are kept, in milliseconds (90 days).
const KEPT_MS: i64 = 90 * 24 * 60 * 60 * 1_000;

const COLUMNS: &str = "id, rule, cause, severity, summary, runbook, source, figure, opened_ms, seen_ms, tell_at_ms, \
     times_told, acknowledged_ms, acknowledged_by, escalated, resolved_ms";

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    rule: String,
    cause: String,
    severity: String,
    summary: String,
    runbook: String,
    source: String,
    figure: Option<f64>,
    opened_ms: i64,
    seen_ms: i64,
    tell_at_ms: Option<i64>,
    times_told: i64,
    acknowledged_ms: Option<i64>,
    acknowledged_by: Option<String>,
    escalated: bool,
    resolved_ms: Option<i64>,
}

/// Which alerts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// Those that are open.
    Open,
    /// The one with this id.
    Id(String),
    /// Those that were open at this instant or later.
    Since(UnixMs),
    /// Those that are open, and those that are over and no digest has said so.
    Undigested,
}

/// Alerts, the newest first.
pub async fn alerts(database: &Database, which: &Which) -> Result<Vec<OpenAlert>, sqlx::Error> {
    let mut reader = database.reader(Urgency::General).await?;
    let condition = match which {
        Which::Open => "resolved_ms IS NULL",
        Which::Id(_) => "id = $2",
        Which::Since(_) => "(resolved_ms IS NULL OR resolved_ms >= $2)",
        Which::Undigested => "(resolved_ms IS NULL OR tell_at_ms IS NOT NULL)",
    };
    let sql =
        format!("SELECT {COLUMNS} FROM alerts WHERE {condition} ORDER BY opened_ms DESC, id DESC LIMIT $1");
    let rows: Vec<Row> = on_connection!(reader, |connection| {
        let query = sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(ALERTS_MAX);
        match which {
            Which::Open | Which::Undigested => query.fetch_all(connection).await,
            Which::Id(id) => query.bind(id).fetch_all(connection).await,
            Which::Since(since_ms) => query.bind(since_ms).fetch_all(connection).await,
        }
    })?;
    Ok(rows.into_iter().map(read).collect())
}

fn read(row: Row) -> OpenAlert {
    OpenAlert {
        told: ToldAlert {
            id: row.id,
            rule: row.rule,
            cause: row.cause,
            // The column's CHECK allows no other word.
            severity: Severity::from_name(&row.severity).unwrap_or(Severity::Critical),
            summary: row.summary,
            runbook: row.runbook,
            value: row.figure,
            source: row.source,
            opened_ms: row.opened_ms,
            resolved_ms: row.resolved_ms,
            acknowledged_by: row.acknowledged_by,
        },
        seen_ms: row.seen_ms,
        tell_at_ms: row.tell_at_ms,
        times_told: row.times_told,
        acknowledged_ms: row.acknowledged_ms,
        escalated: row.escalated,
    }
}

/// When any node saw what `rule` is about last, as far as the alerts are kept that say so.
pub async fn last_seen_ms(database: &Database, rule: &Rule) -> Result<Option<UnixMs>, sqlx::Error> {
    const SQL: &str = "SELECT MAX(seen_ms) FROM alerts WHERE rule = $1";
    let mut reader = database.reader(Urgency::General).await?;
    let (last_ms,): (Option<i64>,) =
        on_connection!(reader, |connection| sqlx::query_as(SQL).bind(rule.name).fetch_one(connection).await)?;
    Ok(last_ms)
}

/// The silences that hold at `now_ms`.
pub async fn silences(database: &Database, now_ms: UnixMs) -> Result<Vec<Silence>, sqlx::Error> {
    const SQL: &str =
        "SELECT rule, until_ms, reason, made_by FROM alert_silences WHERE until_ms > $1 ORDER BY rule";
    let mut reader = database.reader(Urgency::General).await?;
    let rows: Vec<(String, i64, String, String)> =
        on_connection!(reader, |connection| sqlx::query_as(SQL).bind(now_ms).fetch_all(connection).await)?;
    let silence = |(rule, until_ms, reason, by)| Silence { rule, until_ms, reason, by };
    Ok(rows.into_iter().map(silence).collect())
}

/// Changes of alerts, with what the audit trail says of them. Written together with the jobs that tell of them, or not
/// at all.
#[derive(Debug, Default)]
pub struct AlertChanges {
    moves: Vec<Move>,
    silence: Option<Silence>,
    entries: Vec<AuditEntry>,
    raced: AtomicBool,
}

impl AlertChanges {
    /// These, with nothing for the audit trail.
    pub fn new(moves: Vec<Move>) -> Self {
        Self { moves, ..Self::default() }
    }

    /// The same, and a silence that begins (again), or ends with its `until_ms`.
    #[must_use]
    pub fn silencing(self, silence: Silence) -> Self {
        Self { silence: Some(silence), ..self }
    }

    /// The same, with `entries` for the audit trail.
    #[must_use]
    pub fn noting(self, entries: Vec<AuditEntry>) -> Self {
        Self { entries, ..self }
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.moves.is_empty() && self.silence.is_none() && self.entries.is_empty()
    }

    /// Whether writing them failed because somebody else had done one of them.
    pub fn raced(&self) -> bool {
        self.raced.load(Relaxed)
    }

    /// Writes them in a transaction of their own.
    pub async fn write_alone(&self, database: &Database, now_ms: UnixMs) -> Result<(), sqlx::Error> {
        let mut transaction = database.begin(Urgency::General, Durability::Durable, now_ms).await?;
        self.write(&mut transaction, 1).await?;
        transaction.commit().await
    }
}

#[async_trait]
impl Note for AlertChanges {
    async fn write(&self, transaction: &mut Transaction, _: u64) -> Result<(), sqlx::Error> {
        for change in &self.moves {
            let done = make(transaction, change).await?;
            // That it was seen is no news, and may come too late.
            if done == 0 && !matches!(change, Move::Seen { .. }) {
                self.raced.store(true, Relaxed);
                return Err(sqlx::Error::RowNotFound);
            }
        }
        if let Some(silence) = &self.silence {
            keep_silence(transaction, silence).await?;
        }
        for entry in &self.entries {
            append(transaction, entry).await?;
        }
        Ok(())
    }
}

async fn make(transaction: &mut Transaction, change: &Move) -> Result<u64, sqlx::Error> {
    const OPEN: &str = "INSERT INTO alerts (id, rule, cause, severity, summary, runbook, source, figure, opened_ms, \
         seen_ms, tell_at_ms, times_told, escalated) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) \
         ON CONFLICT DO NOTHING";
    const SEEN: &str = "UPDATE alerts SET seen_ms = $2, figure = COALESCE($3, figure) \
         WHERE id = $1 AND resolved_ms IS NULL AND seen_ms < $2";
    const TOLD: &str = "UPDATE alerts SET times_told = $4, tell_at_ms = $3 \
         WHERE id = $1 AND times_told = $2 AND acknowledged_ms IS NULL AND resolved_ms IS NULL";
    const ESCALATED: &str = "UPDATE alerts SET escalated = TRUE \
         WHERE id = $1 AND NOT escalated AND acknowledged_ms IS NULL AND resolved_ms IS NULL";
    const ACKNOWLEDGED: &str = "UPDATE alerts SET acknowledged_ms = $2, acknowledged_by = $3 \
         WHERE id = $1 AND acknowledged_ms IS NULL AND resolved_ms IS NULL";
    // What is told of it next is the digest.
    const RESOLVED: &str =
        "UPDATE alerts SET resolved_ms = $2, tell_at_ms = $2 WHERE id = $1 AND resolved_ms IS NULL";
    const DIGESTED: &str = "UPDATE alerts SET tell_at_ms = NULL \
         WHERE id = $1 AND resolved_ms IS NOT NULL AND tell_at_ms IS NOT NULL";
    on_connection!(transaction, |connection| {
        let done = match change {
            Move::Open(alert) => {
                let OpenAlert { told, seen_ms, tell_at_ms, times_told, escalated, .. } = &**alert;
                sqlx::query(OPEN)
                    .bind(&told.id)
                    .bind(&told.rule)
                    .bind(&told.cause)
                    .bind(told.severity.name())
                    .bind(&told.summary)
                    .bind(&told.runbook)
                    .bind(&told.source)
                    .bind(told.value)
                    .bind(told.opened_ms)
                    .bind(seen_ms)
                    .bind(tell_at_ms)
                    .bind(times_told)
                    .bind(escalated)
                    .execute(connection)
            }
            Move::Seen { id, value, at_ms } => {
                sqlx::query(SEEN).bind(id).bind(at_ms).bind(value).execute(connection)
            }
            Move::Told { id, before, times, next_ms } => {
                sqlx::query(TOLD).bind(id).bind(before).bind(next_ms).bind(times).execute(connection)
            }
            Move::Escalated { id } => sqlx::query(ESCALATED).bind(id).execute(connection),
            Move::Acknowledged { id, at_ms, by } => {
                sqlx::query(ACKNOWLEDGED).bind(id).bind(at_ms).bind(by).execute(connection)
            }
            Move::Resolved { id, at_ms } => sqlx::query(RESOLVED).bind(id).bind(at_ms).execute(connection),
            Move::Digested { id } => sqlx::query(DIGESTED).bind(id).execute(connection),
        };
        done.await.map(|done| done.rows_affected())
    })
}

async fn keep_silence(transaction: &mut Transaction, silence: &Silence) -> Result<(), sqlx::Error> {
    const SQL: &str = "INSERT INTO alert_silences (rule, until_ms, reason, made_by) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (rule) DO UPDATE SET until_ms = excluded.until_ms, reason = excluded.reason, \
         made_by = excluded.made_by";
    on_connection!(transaction, |connection| {
        sqlx::query(SQL)
            .bind(&silence.rule)
            .bind(silence.until_ms)
            .bind(&silence.reason)
            .bind(&silence.by)
            .execute(connection)
            .await
            .map(|_| ())
    })
}

/// Lets alerts go that have long been over, and silences.
pub async fn forget_alerts(database: &Database, now_ms: UnixMs) -> Result<(), sqlx::Error> {
    const ALERTS: &str = "DELETE FROM alerts WHERE resolved_ms < $1";
    const SILENCES: &str = "DELETE FROM alert_silences WHERE until_ms < $1";
    let mut transaction = database.begin(Urgency::General, Durability::Relaxed, now_ms).await?;
    for sql in [ALERTS, SILENCES] {
        on_connection!(transaction, |connection| {
            sqlx::query(sql).bind(now_ms - KEPT_MS).execute(connection).await.map(|_| ())
        })?;
    }
    transaction.commit().await
}
