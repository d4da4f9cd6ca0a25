//! Writing what has changed about a person, and nothing else.

use std::collections::BTreeMap;

use keepwell_workers::{clock::UnixMs, database::Transaction, on_connection};

use super::confirmations::keep_confirmations;
use crate::care::{
    crisis::Signal,
    facts::Facts,
    grace::{Grace, GraceKey},
    invoice::Invoice,
    subscription::SubscriptionSnapshot,
};

/// Writes the difference between `before` and `after`.
pub(super) async fn keep(
    transaction: &mut Transaction,
    before: &Facts,
    after: &Facts,
    marked_until_ms: Option<UnixMs>,
) -> Result<(), sqlx::Error> {
    let customer = after.customer.as_str();
    for subscription in changed(&before.subscriptions, &after.subscriptions) {
        keep_subscription(transaction, customer, subscription.1).await?;
    }
    keep_confirmations(transaction, before, after).await?;
    for (id, invoice) in changed(&before.invoices, &after.invoices) {
        keep_invoice(transaction, customer, id, invoice).await?;
    }
    for (key, grace) in changed(&before.graces, &after.graces) {
        keep_grace(transaction, customer, key, grace).await?;
    }
    for (id, signal) in changed(&before.signals, &after.signals) {
        keep_signal(transaction, customer, id, signal).await?;
    }
    forget(transaction, before, after).await?;
    keep_customer(transaction, after, marked_until_ms).await
}

/// What is new or different.
fn changed<'f, K: Ord, V: PartialEq>(
    before: &'f BTreeMap<K, V>,
    after: &'f BTreeMap<K, V>,
) -> impl Iterator<Item = (&'f K, &'f V)> {
    after.iter().filter(|(key, value)| before.get(key) != Some(value))
}

/// What is gone.
fn gone<'f, K: Ord, V>(before: &'f BTreeMap<K, V>, after: &'f BTreeMap<K, V>) -> impl Iterator<Item = &'f K> {
    before.keys().filter(|key| !after.contains_key(key))
}

async fn keep_customer(
    transaction: &mut Transaction,
    facts: &Facts,
    marked_until_ms: Option<UnixMs>,
) -> Result<(), sqlx::Error> {
    const SQL: &str = "UPDATE customers SET version = $2, payment_method_on_file = $3, vulnerable = $4, \
         resolved_ms = $5, marked = $6, marked_until_ms = $7, touched_ms = $8, locale = $9, locale_stated_ms = $10, \
         time_zone = $11, time_zone_stated_ms = $12 WHERE id = $1";
    let now_ms = transaction.now_ms();
    let (locale, time_zone) = (facts.home.locale.as_ref(), facts.home.time_zone.as_ref());
    on_connection!(transaction, |connection| {
        sqlx::query(SQL)
            .bind(&facts.customer)
            .bind(facts.version)
            .bind(facts.payment_method_on_file)
            .bind(facts.vulnerable)
            .bind(facts.resolved_ms)
            .bind(marked_until_ms.is_some())
            .bind(marked_until_ms)
            .bind(now_ms)
            .bind(locale.map(|stated| stated.value.as_str()))
            .bind(locale.map(|stated| stated.stated_ms))
            .bind(time_zone.map(|stated| stated.value.as_str()))
            .bind(time_zone.map(|stated| stated.stated_ms))
            .execute(connection)
            .await
            .map(|_| ())
    })
}

async fn keep_subscription(
    transaction: &mut Transaction,
    customer: &str,
    subscription: &SubscriptionSnapshot,
) -> Result<(), sqlx::Error> {
    const SQL: &str = "INSERT INTO subscriptions \
         (customer, id, status, prices, period_end_s, latest_invoice, event_created_s, event_id, cancel_at_s) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (customer, id) DO UPDATE SET \
         status = excluded.status, prices = excluded.prices, period_end_s = excluded.period_end_s, \
         latest_invoice = excluded.latest_invoice, event_created_s = excluded.event_created_s, \
         event_id = excluded.event_id, cancel_at_s = excluded.cancel_at_s";
    let prices =
        serde_json::to_string(&subscription.prices).map_err(|error| sqlx::Error::Encode(error.into()))?;
    on_connection!(transaction, |connection| {
        sqlx::query(SQL)
            .bind(customer)
            .bind(&subscription.id)
            .bind(subscription.status.name())
            .bind(&prices)
            .bind(subscription.period_end_s)
            .bind(subscription.latest_invoice.as_deref())
            .bind(subscription.event_created_s)
            .bind(&subscription.event_id)
            .bind(subscription.cancel_at_s)
            .execute(connection)
            .await
            .map(|_| ())
    })
}

async fn keep_invoice(
    transaction: &mut Transaction,
    customer: &str,
    id: &str,
    invoice: &Invoice,
) -> Result<(), sqlx::Error> {
    const SQL: &str = "INSERT INTO invoices (customer, id, subscription, paid_s, failed_s, learned_ms) \
         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (customer, id) DO UPDATE SET \
         subscription = excluded.subscription, paid_s = excluded.paid_s, failed_s = excluded.failed_s, \
         learned_ms = excluded.learned_ms";
    on_connection!(transaction, |connection| {
        sqlx::query(SQL)
            .bind(customer)
            .bind(id)
            .bind(invoice.subscription.as_deref())
            .bind(invoice.paid_s)
            .bind(invoice.failed_s)
            .bind(invoice.learned_ms)
            .execute(connection)
            .await
            .map(|_| ())
    })
}

async fn keep_grace(
    transaction: &mut Transaction,
    customer: &str,
    key: &GraceKey,
    grace: &Grace,
) -> Result<(), sqlx::Error> {
    const SQL: &str = "INSERT INTO grace_periods \
         (customer, reason, cause, started_ms, ends_ms, closed, subscription, trouble_s) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (customer, reason, cause) DO UPDATE SET \
         started_ms = excluded.started_ms, ends_ms = excluded.ends_ms, closed = excluded.closed, \
         subscription = excluded.subscription, trouble_s = excluded.trouble_s";
    on_connection!(transaction, |connection| {
        sqlx::query(SQL)
            .bind(customer)
            .bind(key.reason.name())
            .bind(&key.cause)
            .bind(grace.started_ms)
            .bind(grace.ends_ms)
            .bind(grace.closed)
            .bind(grace.subscription.as_deref())
            .bind(grace.trouble_s)
            .execute(connection)
            .await
            .map(|_| ())
    })
}

async fn keep_signal(
    transaction: &mut Transaction,
    customer: &str,
    id: &str,
    signal: &Signal,
) -> Result<(), sqlx::Error> {
    const SQL: &str = "INSERT INTO crisis_signals (customer, id, source, severity, at_ms, only_in_crisis) \
         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (customer, id) DO NOTHING";
    on_connection!(transaction, |connection| {
        sqlx::query(SQL)
            .bind(customer)
            .bind(id)
            .bind(signal.source.name())
            .bind(signal.severity.name())
            .bind(signal.at_ms)
            .bind(signal.only_in_crisis)
            .execute(connection)
            .await
            .map(|_| ())
    })
}

async fn forget(transaction: &mut Transaction, before: &Facts, after: &Facts) -> Result<(), sqlx::Error> {
    const INVOICE: &str = "DELETE FROM invoices WHERE customer = $1 AND id = $2";
    const GRACE: &str = "DELETE FROM grace_periods WHERE customer = $1 AND reason = $2 AND cause = $3";
    const SIGNAL: &str = "DELETE FROM crisis_signals WHERE customer = $1 AND id = $2";
    let ids = gone(&before.invoices, &after.invoices).map(|id| (INVOICE, id));
    for (sql, id) in ids.chain(gone(&before.signals, &after.signals).map(|id| (SIGNAL, id))) {
        on_connection!(transaction, |connection| {
            sqlx::query(sql).bind(&after.customer).bind(id).execute(connection).await.map(|_| ())
        })?;
    }
    for key in gone(&before.graces, &after.graces) {
        on_connection!(transaction, |connection| {
            sqlx::query(GRACE)
                .bind(&after.customer)
                .bind(key.reason.name())
                .bind(&key.cause)
                .execute(connection)
                .await
                .map(|_| ())
        })?;
    }
    Ok(())
}
