//! How jobs stand that somebody else may have run, many at a time.

use sqlx::QueryBuilder;
use uuid::Uuid;

use super::{Ledger, bulk::padded};
use crate::{clock::UnixMs, database::turn::Urgency, id::JobId, on_connection, state::State};

impl Ledger {
    /// How those of `ids` stand that the ledger has, in no particular order.
    pub async fn states(&self, ids: &[JobId]) -> Result<Vec<(JobId, State)>, sqlx::Error> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let mut reader = self.database.reader(Urgency::General).await?;
        let rows: Vec<(Uuid, String)> = on_connection!(reader, |connection| {
            let mut statement = QueryBuilder::new("SELECT id, state FROM jobs WHERE id IN (");
            let mut list = statement.separated(", ");
            for id in padded(ids) {
                list.push_bind(id.0);
            }
            statement.push(")").build_query_as().fetch_all(connection).await
        })?;
        Ok(rows.into_iter().map(|(id, state)| (JobId(id), read(&state))).collect())
    }

    /// When the time had come, or will come, of those of `ids` that the ledger has, in no particular order: when they
    /// were recorded, or when they are to be tried again.
    pub async fn run_at_ms(&self, ids: &[JobId]) -> Result<Vec<(JobId, UnixMs)>, sqlx::Error> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let mut reader = self.database.reader(Urgency::General).await?;
        let rows: Vec<(Uuid, i64)> = on_connection!(reader, |connection| {
            let mut statement = QueryBuilder::new("SELECT id, run_at_ms FROM jobs WHERE id IN (");
            let mut list = statement.separated(", ");
            for id in padded(ids) {
                list.push_bind(id.0);
            }
            statement.push(")").build_query_as().fetch_all(connection).await
        })?;
        Ok(rows.into_iter().map(|(id, run_at_ms)| (JobId(id), run_at_ms)).collect())
    }

    /// How those stand that were recorded under `keys`, in no particular order.
    pub async fn states_of_keys(&self, keys: &[String]) -> Result<Vec<(String, State)>, sqlx::Error> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let mut reader = self.database.reader(Urgency::General).await?;
        let rows: Vec<(String, String)> = on_connection!(reader, |connection| {
            let mut statement = QueryBuilder::new("SELECT dedupe_key, state FROM jobs WHERE dedupe_key IN (");
            let mut list = statement.separated(", ");
            for key in padded(keys) {
                list.push_bind(key);
            }
            statement.push(")").build_query_as().fetch_all(connection).await
        })?;
        Ok(rows.into_iter().map(|(key, state)| (key, read(&state))).collect())
    }
}

/// The column's CHECK allows no other word.
fn read(state: &str) -> State {
    state.parse().unwrap_or(State::Owed)
}
