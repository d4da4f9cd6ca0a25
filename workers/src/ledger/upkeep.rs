//! What keeps the ledger from growing for ever.

use super::Ledger;
use crate::{
    clock::UnixMs,
    database::{Durability, turn::Urgency},
    id::JobId,
    on_connection,
    state::State,
};

/// Rows deleted in one transaction: short enough that nobody waits for it.
const ROWS_PER_SWEEP: i64 = 500;

impl Ledger {
    /// Deletes a batch of jobs in `state` that finished before `before_ms`; says how many. Zero means that none are
    /// left.
    pub(crate) async fn prune(&self, state: State, before_ms: UnixMs) -> Result<u64, sqlx::Error> {
        const DOOMED: &str = "SELECT id FROM jobs WHERE id < $4 AND state = $1 AND finished_at_ms < $2 \
             ORDER BY id LIMIT $3";
        const STATEMENTS: [&str; 3] = [
            "DELETE FROM job_attempts WHERE job_id = $1",
            "DELETE FROM job_payloads WHERE job_id = $1",
            "DELETE FROM jobs WHERE id = $1",
        ];
        let now_ms = self.clock.now_ms();
        let mut transaction = self.database.begin(Urgency::General, Durability::Relaxed, now_ms).await?;
        let doomed: Vec<(uuid::Uuid,)> = on_connection!(transaction, |connection| {
            sqlx::query_as(DOOMED)
                .bind(state.name())
                .bind(before_ms)
                .bind(ROWS_PER_SWEEP)
                // Nothing finishes before it is created, so only ids born before then need looking at.
                .bind(JobId::earliest_at(before_ms).0)
                .fetch_all(connection)
                .await
        })?;
        for (id,) in &doomed {
            for sql in STATEMENTS {
                on_connection!(transaction, |connection| {
                    sqlx::query(sql).bind(id).execute(connection).await.map(|_| ())
                })?;
            }
        }
        transaction.commit().await?;
        Ok(doomed.len() as u64)
    }
}
