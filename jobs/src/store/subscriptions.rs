//! What is known of many people's subscriptions at once.

use keepwell_workers::{database::Transaction, on_connection};
use sqlx::QueryBuilder;

use super::rows::{self, SubscriptionRow};
use crate::care::subscription::SubscriptionSnapshot;

/// What is known of a subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownSubscription {
    /// Whose it is.
    pub customer: String,
    /// What counts.
    pub snapshot: SubscriptionSnapshot,
    /// Whether something that was told of it waits to be confirmed.
    pub claimed: bool,
}

#[derive(sqlx::FromRow)]
struct Row {
    customer: String,
    #[sqlx(flatten)]
    subscription: SubscriptionRow,
}

/// What is known of the subscriptions in `wanted`, customers and ids: at most a page of them.
pub async fn known_subscriptions(
    transaction: &mut Transaction,
    wanted: &[(&str, &str)],
) -> Result<Vec<KnownSubscription>, sqlx::Error> {
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    // What other runs of this transaction have learned is known here too.
    transaction.write_together().await?;
    let found: Vec<Row> = on_connection!(transaction, |connection| {
        let mut statement = QueryBuilder::new(
            "SELECT customer, id, status, prices, period_end_s, latest_invoice, event_created_s, event_id, \
             cancel_at_s, confirmed_s, told_ms, claim FROM subscriptions WHERE (customer, id) IN (",
        );
        // Both databases know pairs like this, and look them up by their key.
        statement.push_values(wanted, |mut pair, (customer, id)| {
            pair.push_bind(*customer).push_bind(*id);
        });
        statement.push(")");
        statement.build_query_as().fetch_all(connection).await
    })?;
    let read = |Row { customer, subscription }: Row| {
        let claimed =
            subscription.confirmation().is_some_and(|(_, confirmation)| confirmation.claim.is_some());
        let snapshot = rows::subscriptions(vec![subscription]).into_values().next()?;
        Some(KnownSubscription { customer, snapshot, claimed })
    };
    Ok(found.into_iter().filter_map(read).collect())
}
