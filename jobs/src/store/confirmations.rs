//! What Stripe has confirmed of subscriptions, or is to be asked: columns of a subscription's row.

use keepwell_workers::{database::Transaction, on_connection};
use serde::{Deserialize, Serialize};

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

/// Writes `confirmation` into the row of the subscription `id`, which is there.
pub(super) async fn keep_confirmation(
    transaction: &mut Transaction,
    customer: &str,
    id: &str,
    confirmation: &Confirmation,
) -> Result<(), sqlx::Error> {
    const SQL: &str = "UPDATE subscriptions SET confirmed_s = $3, told_ms = $4, claim = $5 \
         WHERE customer = $1 AND id = $2";
    let claim = confirmation.claim.as_ref().map(write_claim).transpose();
    let claim = claim.map_err(|error| sqlx::Error::Encode(error.into()))?;
    on_connection!(transaction, |connection| {
        sqlx::query(SQL)
            .bind(customer)
            .bind(id)
            .bind(confirmation.confirmed_s)
            .bind(confirmation.told_ms)
            .bind(claim.as_deref())
            .execute(connection)
            .await
            .map(|_| ())
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
