//! Grace periods whose end comes.

use keepwell_workers::{clock::UnixMs, database::Reader, on_connection};

/// A grace period that ends.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct DueGrace {
    /// Whose.
    pub customer: String,
    /// When.
    pub ends_ms: UnixMs,
}

/// At most `count_max` ends of open grace periods behind `after` and until `until_ms`, by end and person.
pub async fn graces_ending(
    reader: &mut Reader,
    after: &DueGrace,
    until_ms: UnixMs,
    count_max: u32,
) -> Result<Vec<DueGrace>, sqlx::Error> {
    const SQL: &str = "SELECT DISTINCT customer, ends_ms FROM grace_periods \
         WHERE NOT closed AND ends_ms >= $1 AND (ends_ms > $1 OR customer > $2) AND ends_ms <= $3 \
         ORDER BY ends_ms, customer LIMIT $4";
    on_connection!(reader, |connection| {
        sqlx::query_as(SQL)
            .bind(after.ends_ms)
            .bind(&after.customer)
            .bind(until_ms)
            .bind(i64::from(count_max))
            .fetch_all(connection)
            .await
    })
}
