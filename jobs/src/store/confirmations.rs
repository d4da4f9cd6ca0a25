//! What Stripe has confirmed of subscriptions, or is to be asked: columns of a subscription's row.

use keepwell_workers::{database::Transaction, on_connection};
use serde::{Deserialize, Serialize};
use sqlx::QueryBuilder;

use crate::care::{
    confirmation::Confirmation,
    subscription::{SubscriptionSnapshot, SubscriptionStatus},
};

/// A claim as it is kept.
#[derive(Serialize, Deserialize)]
struct ClaimRow {
    status: String,
    prices: Vec<String>,
    period_end_s: Option<i64>,
    cancel_at_s: Option<i64>,
    latest_invoice: Option<String>,
    event_created_s: i64,
    event_id: String,
}

/// Writes confirmations into the rows of their subscriptions, which are there; by customer and subscription.
pub(super) async fn keep_confirmations(
    transaction: &mut Transaction,
    rows: &[(String, String, Confirmation)],
) -> Result<(), sqlx::Error> {
    let claims = rows.iter().map(|(.., row)| row.claim.as_ref().map(write_claim).transpose());
    let claims: Vec<Option<String>> =
        claims.collect::<Result<_, _>>().map_err(|error| sqlx::Error::Encode(error.into()))?;
    on_connection!(transaction, |connection| {
        let mut statement = QueryBuilder::new("WITH stated (customer, id, confirmed_s, told_ms, claim) AS (");
        statement.push_values(rows.iter().zip(&claims), |mut values, ((customer, id, row), claim)| {
            values
                .push_bind(customer)
                .push_bind(id)
                .push_bind(row.confirmed_s)
                .push_bind(row.told_ms)
                .push_bind(claim.as_deref());
        });
        statement.push(
            ") UPDATE subscriptions SET confirmed_s = stated.confirmed_s, told_ms = stated.told_ms, \
             claim = stated.claim FROM stated \
             WHERE subscriptions.customer = stated.customer AND subscriptions.id = stated.id",
        );
        statement.build().execute(connection).await.map(|_| ())
    })
}

fn write_claim(claim: &SubscriptionSnapshot) -> Result<String, serde_json::Error> {
    serde_json::to_string(&ClaimRow {
        status: claim.status.name().to_owned(),
        prices: claim.prices.clone(),
        period_end_s: claim.period_end_s,
        cancel_at_s: claim.cancel_at_s,
        latest_invoice: claim.latest_invoice.clone(),
        event_created_s: claim.event_created_s,
        event_id: claim.event_id.clone(),
    })
}

/// The claim about the subscription `id`. Written by us; one that somebody spoilt by hand takes nothing away.
pub(super) fn read_claim(id: &str, text: &str) -> Option<SubscriptionSnapshot> {
    let row: ClaimRow = serde_json::from_str(text).ok()?;
    Some(SubscriptionSnapshot {
        id: id.to_owned(),
        status: SubscriptionStatus::from_name(&row.status),
        prices: row.prices,
        period_end_s: row.period_end_s,
        cancel_at_s: row.cancel_at_s,
        latest_invoice: row.latest_invoice,
        event_created_s: row.event_created_s,
        event_id: row.event_id,
    })
}
