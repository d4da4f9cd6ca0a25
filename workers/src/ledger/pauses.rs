//! The lanes that operators hold up: a row for each, because Redis, which claims go by, forgets.

use super::Ledger;
use crate::{
    database::{Durability, Note, turn::Urgency},
    lane::Lane,
    on_connection,
};

/// A lane that is held up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LanePause {
    pub(crate) lane: Lane,
    /// Why; may be empty.
    pub(crate) reason: String,
}

impl Ledger {
    /// The lanes that are held up.
    pub(crate) async fn lane_pauses(&self, urgency: Urgency) -> Result<Vec<LanePause>, sqlx::Error> {
        const SQL: &str = "SELECT lane, reason FROM lane_pauses ORDER BY lane";
        let mut reader = self.database.reader(urgency).await?;
        let rows: Vec<(String, String)> =
            on_connection!(reader, |connection| sqlx::query_as(SQL).fetch_all(connection).await)?;
        // The column's CHECK allows no other names.
        let pauses = rows
            .into_iter()
            .filter_map(|(lane, reason)| Some(LanePause { lane: lane.parse().ok()?, reason }));
        Ok(pauses.collect())
    }

    /// Has `lane` held up from now on, and writes `note`. If it is held up already, only the reason changes.
    pub(crate) async fn pause_lane(
        &self,
        lane: Lane,
        reason: &str,
        note: Option<&dyn Note>,
    ) -> Result<(), sqlx::Error> {
        const SQL: &str = "INSERT INTO lane_pauses (lane, reason) VALUES ($1, $2) \
             ON CONFLICT (lane) DO UPDATE SET reason = excluded.reason";
        let now_ms = self.clock.now_ms();
        let mut transaction = self.database.begin(Urgency::General, Durability::Durable, now_ms).await?;
        on_connection!(transaction, |connection| {
            sqlx::query(SQL).bind(lane.name()).bind(reason).execute(connection).await.map(|_| ())
        })?;
        if let Some(note) = note {
            note.write(&mut transaction, 1).await?;
        }
        transaction.commit().await
    }

    /// Has `lane` held up no more, and writes `note`.
    pub(crate) async fn resume_lane(&self, lane: Lane, note: Option<&dyn Note>) -> Result<(), sqlx::Error> {
        const SQL: &str = "DELETE FROM lane_pauses WHERE lane = $1";
        let now_ms = self.clock.now_ms();
        let mut transaction = self.database.begin(Urgency::General, Durability::Durable, now_ms).await?;
        on_connection!(transaction, |connection| {
            sqlx::query(SQL).bind(lane.name()).execute(connection).await.map(|_| ())
        })?;
        if let Some(note) = note {
            note.write(&mut transaction, 1).await?;
        }
        transaction.commit().await
    }
}
