//! The history of runs that did not end in `done`.

use crate::{
    database::Transaction,
    id::{JobId, NodeId},
    on_connection,
};

/// Bytes of an error that are kept; the rest is cut.
pub(crate) const ERROR_BYTES_MAX: usize = 2_000;

/// What both databases can keep of an error: PostgreSQL takes no NUL, and nobody reads more than this.
pub(crate) fn fit(mut text: String) -> String {
    let mut end = text.len().min(ERROR_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text.retain(|character| character != '\0');
    text.shrink_to_fit();
    text
}

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
    if outcome == "snooze" {
        // A job may be snoozed for ever; of each attempt only the last snooze is history.
        const FORGET: &str =
            "DELETE FROM job_attempts WHERE job_id = $1 AND attempt = $2 AND outcome = 'snooze'";
        on_connection!(transaction, |connection| {
            sqlx::query(FORGET)
                .bind(id.0)
                .bind(i32::try_from(attempt).unwrap_or(i32::MAX))
                .execute(connection)
                .await
                .map(|_| ())
        })?;
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_kept_as_both_databases_can_keep_it() {
        assert_eq!(fit("a\0b".to_owned()), "ab");
        assert_eq!(fit("x".repeat(3_000)).len(), ERROR_BYTES_MAX);
        // Three bytes each: the last one that does not fit whole is left out.
        assert_eq!(fit("\u{20ac}".repeat(3_000)).len(), 1_998);
    }
}
