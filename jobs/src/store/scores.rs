//! The scores of the last weeks, sealed: one row for each person.

use keepwell_workers::{
    database::Transaction,
    on_connection,
    seal::{KeyRing, SealError},
};

use super::person_data::{context, encode};
use crate::care::scores::Scores;

/// What binds sealed scores to their row.
const KIND: &str = "scores";

/// The scores of `customer`; `None` if there are some and the key that opens them is not in the ring: another process
/// has it, so they must not be overwritten. The customer's row must have been taken before.
pub async fn scores(
    transaction: &mut Transaction,
    keys: &KeyRing,
    customer: &str,
) -> Result<Option<Scores>, sqlx::Error> {
    const SQL: &str = "SELECT key_id, sealed FROM assessment_scores WHERE customer = $1 AND kind = $2";
    let row: Option<(String, Vec<u8>)> = on_connection!(transaction, |connection| {
        sqlx::query_as(SQL).bind(customer).bind(KIND).fetch_optional(connection).await
    })?;
    let Some((key_id, sealed)) = row else { return Ok(Some(Scores::default())) };
    // Whatever cannot be opened must not keep the next assessment from being a crisis.
    let opened = match keys.open(&context(customer, KIND), &key_id, &sealed) {
        Err(error @ SealError::UnknownKey(_)) => {
            tracing::error!(%error, "remembered scores cannot be opened here; an assessment is judged by itself");
            return Ok(None);
        }
        opened => opened.ok(),
    };
    let scores = opened.and_then(|plain| serde_json::from_slice(&plain).ok());
    if scores.is_none() {
        tracing::error!("remembered scores were altered and are lost; they begin anew");
    }
    Ok(Some(scores.unwrap_or_default()))
}

/// Keeps the scores of `customer`. The customer's row must have been taken before.
pub async fn keep_scores(
    transaction: &mut Transaction,
    keys: &KeyRing,
    customer: &str,
    scores: &Scores,
) -> Result<(), sqlx::Error> {
    const SQL: &str = "INSERT INTO assessment_scores (customer, kind, key_id, sealed) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (customer, kind) DO UPDATE SET key_id = excluded.key_id, sealed = excluded.sealed";
    let plain = serde_json::to_vec(scores).map_err(|error| sqlx::Error::Encode(error.into()))?;
    let sealed = keys.seal(&context(customer, KIND), &plain).map_err(encode)?;
    on_connection!(transaction, |connection| {
        sqlx::query(SQL)
            .bind(customer)
            .bind(KIND)
            .bind(&*sealed.key_id)
            .bind(&sealed.bytes)
            .execute(connection)
            .await
            .map(|_| ())
    })
}
