//! What is owed, page by page: from this the lanes can be rebuilt at any time. And the ways into it and out of it
//! that no run decides: an operator's retry, and the quarantine.
//!
//! What is owed is asked for in the order of its index, lane first, with the lane as a range. Asked for one lane in the
//! order of ids, PostgreSQL may go through the whole table in that order instead: it did, with a plan that it had made
//! while half of the table was owed, and read all that was ever done to find the crises that were due.

use uuid::Uuid;

use super::{Ledger, attempts::note_attempt, record::due_ms};
use crate::{
    clock::UnixMs,
    database::{Durability, turn::Urgency},
    id::{JobId, NodeId},
    lane::Lane,
    lanes::Placement,
    on_connection,
};

/// The error of a job that was quarantined.
pub(crate) const QUARANTINED: &str = "quarantined: its workers kept dying while running it";

impl Ledger {
    /// At most `limit` owed jobs of `lane` with ids after `after`, oldest first.
    pub(crate) async fn owed(
        &self,
        lane: Lane,
        after: Option<JobId>,
        limit: u32,
        urgency: Urgency,
    ) -> Result<Vec<Placement>, sqlx::Error> {
        const SQL: &str = "SELECT id, turn, run_at_ms, created_at_ms FROM jobs \
             WHERE state = 'owed' AND lane <= $1 AND (lane, id) > ($1, $2) ORDER BY lane, id LIMIT $3";
        let after = after.map_or(Uuid::nil(), |id| id.0);
        let mut reader = self.database.reader(urgency).await?;
        let rows: Vec<(Uuid, Option<i64>, i64, i64)> = on_connection!(reader, |connection| {
            sqlx::query_as(SQL)
                .bind(lane.name())
                .bind(after)
                .bind(i64::from(limit))
                .fetch_all(connection)
                .await
        })?;
        Ok(rows
            .into_iter()
            .map(|(id, turn, run_at_ms, created_at_ms)| {
                let run_at_ms = due_ms(run_at_ms, created_at_ms);
                Placement { id: JobId(id), lane, turn, run_at_ms }
            })
            .collect())
    }

    /// At most `limit` owed jobs of `lane` whose time has come, oldest first.
    pub(crate) async fn owed_due(
        &self,
        lane: Lane,
        now_ms: UnixMs,
        limit: u32,
    ) -> Result<Vec<JobId>, sqlx::Error> {
        const SQL: &str = "SELECT id FROM jobs \
             WHERE state = 'owed' AND lane BETWEEN $1 AND $1 AND (run_at_ms <= $2 OR run_at_ms = created_at_ms) \
             ORDER BY lane, id LIMIT $3";
        let mut reader = self.database.reader(Urgency::Crisis).await?;
        let rows: Vec<(Uuid,)> = on_connection!(reader, |connection| {
            sqlx::query_as(SQL)
                .bind(lane.name())
                .bind(now_ms)
                .bind(i64::from(limit))
                .fetch_all(connection)
                .await
        })?;
        Ok(rows.into_iter().map(|(id,)| JobId(id)).collect())
    }

    /// How many jobs are owed.
    pub(crate) async fn owed_count(&self) -> Result<u64, sqlx::Error> {
        const SQL: &str = "SELECT COUNT(*) FROM jobs WHERE state = 'owed'";
        let mut reader = self.database.reader(Urgency::General).await?;
        let (count,): (i64,) =
            on_connection!(reader, |connection| sqlx::query_as(SQL).fetch_one(connection).await)?;
        Ok(u64::try_from(count).unwrap_or(0))
    }

    /// Sets aside a job whose worker died too often: it is dead until an operator retries it. `false` if it is not
    /// owed, or is dead already.
    pub(crate) async fn quarantine(
        &self,
        id: JobId,
        node: NodeId,
        now_ms: UnixMs,
    ) -> Result<bool, sqlx::Error> {
        const SQL: &str = "UPDATE jobs SET state = 'dead', attempts = attempts + 1, last_error = $2, finished_at_ms = $3 \
             WHERE id = $1 AND state = 'owed'";
        let mut transaction = self.database.begin(Urgency::General, Durability::Durable, now_ms).await?;
        let changed = on_connection!(transaction, |connection| {
            sqlx::query(SQL)
                .bind(id.0)
                .bind(QUARANTINED)
                .bind(now_ms)
                .execute(connection)
                .await
                .map(|done| done.rows_affected())
        })?;
        if changed > 0 {
            note_attempt(&mut transaction, id, 0, "crashed", Some(QUARANTINED), node).await?;
        }
        transaction.commit().await?;
        Ok(changed > 0)
    }
}
