//! What a copy of the ledger holds, for whoever makes or restores one.

use crate::{clock::UnixMs, database::SqliteCopy, on_connection};

/// How much of the ledger is in a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LedgerExtent {
    /// Jobs that are owed.
    pub owed: i64,
    /// When the job was recorded that was recorded last; `None` if there is none.
    pub newest_ms: Option<UnixMs>,
}

impl LedgerExtent {
    /// Of the ledger in `copy`. An error if there is none.
    pub async fn of(copy: &mut SqliteCopy) -> Result<Self, sqlx::Error> {
        const OWED: &str = "SELECT count(*) FROM jobs WHERE state = 'owed'";
        const NEWEST: &str = "SELECT created_at_ms FROM jobs ORDER BY id DESC LIMIT 1";
        let owed = on_connection!(copy, |connection| sqlx::query_scalar(OWED).fetch_one(connection).await)?;
        let newest_ms =
            on_connection!(copy, |connection| sqlx::query_scalar(NEWEST).fetch_optional(connection).await)?;
        Ok(Self { owed, newest_ms })
    }
}
