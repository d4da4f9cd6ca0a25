//! Forgetting what is noted beside the facts about people and that nobody reads any more. What is noted about somebody
//! anew takes what is old along; this is for those about whom nothing more is noted.

use keepwell_workers::{
    clock::UnixMs,
    database::{Database, Durability, turn::Urgency},
    on_connection,
};

use crate::care::facts::REMEMBERED_MS;

/// Rows deleted in one transaction.
const ROWS_PER_SWEEP: u64 = 100;

/// Forgets a batch of what became of emergency contacts more than [`REMEMBERED_MS`] ago, and of the crises that were
/// noticed before `late_before_ms` to be answered late; whether there may be more. The audit trail keeps both for as
/// long as it keeps anything.
pub async fn forget(
    database: &Database,
    late_before_ms: UnixMs,
    now_ms: UnixMs,
) -> Result<bool, sqlx::Error> {
    // Whoever holds a row is about to change it; nobody waits for anybody else here.
    let skipping = database.dialect().skipping_locked();
    let statements = [
        format!(
            "DELETE FROM contact_notices WHERE (customer, cause, contact) IN (SELECT customer, cause, contact \
             FROM contact_notices WHERE at_ms < $1 ORDER BY at_ms LIMIT $2{skipping})"
        ),
        format!(
            "DELETE FROM crisis_violations WHERE id IN (SELECT id FROM crisis_violations WHERE at_ms < $1 \
             ORDER BY at_ms LIMIT $2{skipping})"
        ),
    ];
    let mut more = false;
    for (sql, before_ms) in statements.into_iter().zip([now_ms - REMEMBERED_MS, late_before_ms]) {
        let mut transaction = database.begin(Urgency::General, Durability::Relaxed, now_ms).await?;
        let forgotten = on_connection!(transaction, |connection| {
            sqlx::query(sqlx::AssertSqlSafe(sql))
                .bind(before_ms)
                .bind(ROWS_PER_SWEEP as i64)
                .execute(connection)
                .await
                .map(|done| done.rows_affected())
        })?;
        transaction.commit().await?;
        more |= forgotten >= ROWS_PER_SWEEP;
    }
    Ok(more)
}
