//! What was done, for reports: read in the order of ids, which carry the instant of recording, a stretch at a time.

use uuid::Uuid;

use super::Ledger;
use crate::{clock::UnixMs, database::Reader, id::JobId, lane::Lane, on_connection, state::State};

/// Jobs of one lane and state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaneCount {
    /// The lane.
    pub lane: Lane,
    /// What has become of them.
    pub state: State,
    /// How many.
    pub count: u64,
}

/// A job as the past knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastJob {
    /// Its identity.
    pub id: JobId,
    /// What it does.
    pub kind: String,
    /// What has become of it.
    pub state: State,
    /// Whom it concerns.
    pub subject: Option<String>,
    /// When it was recorded.
    pub created_at_ms: UnixMs,
    /// When it was finished, given up or cancelled.
    pub finished_at_ms: Option<UnixMs>,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    kind: String,
    state: String,
    subject: Option<String>,
    created_at_ms: i64,
    finished_at_ms: Option<i64>,
}

impl Ledger {
    /// When the oldest job was recorded that is still there; `None` if there is none.
    pub async fn oldest_ms(reader: &mut Reader) -> Result<Option<UnixMs>, sqlx::Error> {
        const SQL: &str = "SELECT id FROM jobs ORDER BY id LIMIT 1";
        let oldest: Option<(Uuid,)> =
            on_connection!(reader, |connection| sqlx::query_as(SQL).fetch_optional(connection).await)?;
        Ok(oldest.map(|(id,)| JobId(id).created_ms()))
    }

    /// How many jobs were recorded from `from_ms` up to `to_ms`, by lane and state, those of the kind `except` not
    /// counted. Looks at each of them.
    pub async fn counts_between(
        reader: &mut Reader,
        from_ms: UnixMs,
        to_ms: UnixMs,
        except: &str,
    ) -> Result<Vec<LaneCount>, sqlx::Error> {
        const SQL: &str = "SELECT lane, state, COUNT(*) FROM jobs \
             WHERE id >= $1 AND id < $2 AND kind <> $3 GROUP BY lane, state";
        let (from, to) = (JobId::earliest_at(from_ms).0, JobId::earliest_at(to_ms).0);
        let rows: Vec<(String, String, i64)> = on_connection!(reader, |connection| {
            sqlx::query_as(SQL).bind(from).bind(to).bind(except).fetch_all(connection).await
        })?;
        // The columns' CHECKs allow no other words.
        let count = |(lane, state, count): (String, String, i64)| {
            let count = u64::try_from(count).unwrap_or(0);
            Some(LaneCount { lane: lane.parse().ok()?, state: state.parse().ok()?, count })
        };
        Ok(rows.into_iter().filter_map(count).collect())
    }

    /// At most `limit` jobs of `lane` behind `after` that were recorded before `to_ms`, oldest first. Looks at each job
    /// in between, so the stretch should be a short one.
    pub async fn past_of_lane(
        reader: &mut Reader,
        lane: Lane,
        after: JobId,
        to_ms: UnixMs,
        limit: u32,
    ) -> Result<Vec<PastJob>, sqlx::Error> {
        // Written so that no index of another order is taken for it.
        const SQL: &str = "SELECT id, kind, state, subject, created_at_ms, finished_at_ms FROM jobs \
             WHERE id > $1 AND id < $2 AND lane || '' = $3 ORDER BY id LIMIT $4";
        let rows: Vec<Row> = on_connection!(reader, |connection| {
            sqlx::query_as(SQL)
                .bind(after.0)
                .bind(JobId::earliest_at(to_ms).0)
                .bind(lane.name())
                .bind(i64::from(limit))
                .fetch_all(connection)
                .await
        })?;
        let past = |row: Row| {
            Some(PastJob {
                id: JobId(row.id),
                kind: row.kind,
                state: row.state.parse().ok()?,
                subject: row.subject,
                created_at_ms: row.created_at_ms,
                finished_at_ms: row.finished_at_ms,
            })
        };
        Ok(rows.into_iter().filter_map(past).collect())
    }
}
