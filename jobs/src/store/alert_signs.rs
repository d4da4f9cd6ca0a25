//! Signs of what must not be missed, in the transaction of what they are about: a process that dies before it has
//! looked at its own counters leaves them to whoever looks next.

use keepwell_workers::{
    clock::UnixMs,
    database::{Database, Durability, Transaction, turn::Urgency},
    on_connection,
};

use crate::alerts::rule::Rule;

/// What `rule` is about has happened.
pub(super) async fn sign(transaction: &mut Transaction, rule: &Rule) -> Result<(), sqlx::Error> {
    const SQL: &str = "INSERT INTO alert_signs (rule, at_ms) VALUES ($1, $2)";
    let now_ms = transaction.now_ms();
    on_connection!(transaction, |connection| {
        sqlx::query(SQL).bind(rule.name).bind(now_ms).execute(connection).await.map(drop)
    })
}

/// The signs of one rule.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Signs {
    /// The rule's name.
    pub rule: String,
    /// How many there are.
    pub count: i64,
    /// When the oldest of them was written.
    pub oldest_ms: UnixMs,
}

/// Every rule of which there are signs.
pub async fn signs(database: &Database) -> Result<Vec<Signs>, sqlx::Error> {
    // One row for each rule that is ever signed.
    const SQL: &str =
        "SELECT rule, COUNT(*) AS count, MIN(at_ms) AS oldest_ms FROM alert_signs GROUP BY rule";
    let mut reader = database.reader(Urgency::General).await?;
    on_connection!(reader, |connection| sqlx::query_as(SQL).fetch_all(connection).await)
}

/// Lets those go that were written before `before_ms`.
pub async fn forget_signs(database: &Database, before_ms: UnixMs, now_ms: UnixMs) -> Result<(), sqlx::Error> {
    const SQL: &str = "DELETE FROM alert_signs WHERE at_ms < $1";
    let mut transaction = database.begin(Urgency::General, Durability::Relaxed, now_ms).await?;
    on_connection!(transaction, |connection| {
        sqlx::query(SQL).bind(before_ms).execute(connection).await.map(drop)
    })?;
    transaction.commit().await
}
