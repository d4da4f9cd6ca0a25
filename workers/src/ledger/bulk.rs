//! What operators do to many jobs at once. Finding them only reads, however long it takes; changing them takes one
//! short transaction for each batch, so nobody else waits for the database.

use std::collections::HashSet;

use sqlx::QueryBuilder;
use uuid::Uuid;

use super::{
    IS_OWED, Ledger,
    query::{JobFilter, narrow},
};
use crate::{
    database::{Durability, Note, turn::Urgency},
    id::JobId,
    lane::Lane,
    lanes::{Placement, PlacementQueue},
    on_connection,
    state::State,
};

/// Jobs found, and changed in one transaction, at once.
pub(crate) const JOBS_PER_STEP: u32 = 1_000;

/// What the history of a job says that an operator cancelled.
const CANCELLED: &str = "cancelled by an operator";

impl Ledger {
    /// How many jobs match.
    pub async fn count(&self, filter: &JobFilter) -> Result<u64, sqlx::Error> {
        let mut reader = self.database.reader(Urgency::General).await?;
        let (count,): (i64,) = on_connection!(reader, |connection| {
            let mut statement = QueryBuilder::new("SELECT COUNT(*) FROM jobs WHERE id <= ");
            statement.push_bind(Uuid::max());
            narrow(&mut statement, filter);
            statement.build_query_as().fetch_one(connection).await
        })?;
        Ok(u64::try_from(count).unwrap_or(0))
    }

    /// The next [`JOBS_PER_STEP`] jobs in `state` that match, oldest first, with ids after `after`. What `filter`
    /// says of the state does not count.
    pub(crate) async fn matching(
        &self,
        state: State,
        filter: &JobFilter,
        after: Option<JobId>,
    ) -> Result<Vec<JobId>, sqlx::Error> {
        // Written out, or neither database would use the indexes that hold only the owed or the dead.
        let sql = format!("SELECT id FROM jobs WHERE state = '{}' AND id > ", state.name());
        let filter = JobFilter { state: None, ..filter.clone() };
        let mut reader = self.database.reader(Urgency::General).await?;
        let rows: Vec<(Uuid,)> = on_connection!(reader, |connection| {
            let mut statement = QueryBuilder::new(sql);
            statement.push_bind(after.map_or(Uuid::nil(), |id| id.0));
            narrow(&mut statement, &filter);
            statement.push(" ORDER BY id LIMIT ").push_bind(i64::from(JOBS_PER_STEP));
            statement.build_query_as().fetch_all(connection).await
        })?;
        Ok(rows.into_iter().map(|(id,)| JobId(id)).collect())
    }

    /// Cancels those of `ids` that are owed; says how many they were. `note` is written in the same transaction, unless
    /// there was none.
    pub(crate) async fn cancel(&self, ids: &[JobId], note: Option<&dyn Note>) -> Result<u64, sqlx::Error> {
        if ids.is_empty() {
            return Ok(0);
        }
        let now_ms = self.clock.now_ms();
        let mut transaction = self.database.begin(Urgency::General, Durability::Durable, now_ms).await?;
        let cancelled = on_connection!(transaction, |connection| {
            let mut statement = QueryBuilder::new("UPDATE jobs SET state = 'cancelled', finished_at_ms = ");
            statement.push_bind(now_ms).push(", last_error = ").push_bind(CANCELLED);
            statement.push(" WHERE ").push(IS_OWED).push(" AND id IN (");
            let mut list = statement.separated(", ");
            for id in padded(ids) {
                list.push_bind(id.0);
            }
            statement.push(")");
            statement.build().execute(connection).await.map(|done| done.rows_affected())
        })?;
        if let Some(note) = note.filter(|_| cancelled > 0) {
            note.write(&mut transaction, cancelled).await?;
        }
        transaction.commit().await?;
        Ok(cancelled)
    }

    /// Owes those of `ids` again that are dead or cancelled, their attempts counted from zero, and has them placed,
    /// oldest first; says how many. `note` is written in the same transaction, unless there was none.
    pub(crate) async fn revive(
        &self,
        ids: &[JobId],
        note: Option<&dyn Note>,
        placements: &PlacementQueue,
    ) -> Result<u64, sqlx::Error> {
        if ids.is_empty() {
            return Ok(0);
        }
        let now_ms = self.clock.now_ms();
        let mut transaction = self.database.begin(Urgency::General, Durability::Durable, now_ms).await?;
        let rows: Vec<(Uuid, String, Option<i64>)> = on_connection!(transaction, |connection| {
            let mut statement = QueryBuilder::new(
                "UPDATE jobs SET state = 'owed', attempts = 0, finished_at_ms = NULL, run_at_ms = ",
            );
            statement.push_bind(now_ms);
            statement.push(" WHERE state IN ('dead', 'cancelled') AND id IN (");
            let mut list = statement.separated(", ");
            for id in padded(ids) {
                list.push_bind(id.0);
            }
            statement.push(") RETURNING id, lane, turn");
            statement.build_query_as().fetch_all(connection).await
        })?;
        if let Some(note) = note.filter(|_| !rows.is_empty()) {
            note.write(&mut transaction, rows.len() as u64).await?;
        }
        let doubtful = placements.clone();
        transaction.when_in_doubt(move || doubtful.doubt());
        transaction.commit().await?;
        let mut revived: Vec<Placement> = rows
            .into_iter()
            .map(|(id, lane, turn)| Placement {
                id: JobId(id),
                // The column's CHECK allows no other word.
                lane: lane.parse().unwrap_or(Lane::Standard),
                turn,
                run_at_ms: now_ms,
            })
            .collect();
        revived.sort_unstable_by_key(|placement| placement.id);
        let count = revived.len() as u64;
        placements.push(revived);
        Ok(count)
    }

    /// Those of `ids` that are owed.
    pub(crate) async fn still_owed(&self, ids: &[JobId]) -> Result<HashSet<JobId>, sqlx::Error> {
        if ids.is_empty() {
            return Ok(HashSet::new());
        }
        let mut reader = self.database.reader(Urgency::General).await?;
        let rows: Vec<(Uuid,)> = on_connection!(reader, |connection| {
            let mut statement = QueryBuilder::new("SELECT id FROM jobs WHERE ");
            statement.push(IS_OWED).push(" AND id IN (");
            let mut list = statement.separated(", ");
            for id in padded(ids) {
                list.push_bind(id.0);
            }
            statement.push(")");
            statement.build_query_as().fetch_all(connection).await
        })?;
        Ok(rows.into_iter().map(|(id,)| JobId(id)).collect())
    }
}

/// `values`, the last of them repeated up to a power of two, so that few distinct statements exist.
pub(super) fn padded<T>(values: &[T]) -> impl Iterator<Item = &T> {
    let padding = values.len().next_power_of_two() - values.len();
    values.iter().chain(std::iter::repeat_n(values.last(), padding).flatten())
}
