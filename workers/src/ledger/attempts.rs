//! The history of runs that did not end in `done`.

use crate::{
    database::Transaction,
    id::{JobId, NodeId},
    on_connection,
};

/// Characters of an error that are kept; the rest is cut.
pub(crate) const ERROR_CHARACTERS_MAX: usize = 2_000;

/// Notes how run number `attempt` of a job ended.
pub(crate) async fn note_attempt(
    transaction: &mut Transaction,
    id: JobId,
    attempt: u32,
    outcome: &str,
    error: Option<&str>,
    node: NodeId,
) -> Result<(), sqlx::Error> {
    const SQL: &str = "INSERT INTO job_attempts (job_id, attempt, outcome, error, node, finished_at_ms) \
         VALUES ($1, $2, $3, $4, $5, $6)";
    let now_ms = transaction.now_ms();
    let error: Option<String> = error.map(|error| error.chars().take(ERROR_CHARACTERS_MAX).collect());
    on_connection!(transaction, |connection| {
        sqlx::query(SQL)
            .bind(id.0)
            .bind(i32::try_from(attempt).unwrap_or(i32::MAX))
            .bind(outcome)
            .bind(error)
            .bind(node.to_string())
            .bind(now_ms)
            .execute(connection)
            .await
            .map(|_| ())
    })
}
