//! What the runs of one transaction have changed about people, written together: one statement for each table.

use async_trait::async_trait;
use keepwell_workers::{
    clock::UnixMs,
    database::{Together, Transaction, pieces},
    on_connection,
};
use sqlx::QueryBuilder;

use crate::care::{
    confirmation::Confirmation,
    crisis::Signal,
    facts::Facts,
    grace::{Grace, GraceKey},
    home::Home,
    invoice::Invoice,
    subscription::SubscriptionSnapshot,
};

use super::confirmations::keep_confirmations;

/// Rows about people, each person's at most once, by customer.
#[derive(Default)]
pub(super) struct PersonRows {
    customers: Vec<Customer>,
    pub(super) subscriptions: Vec<(String, SubscriptionSnapshot)>,
    /// By customer and subscription.
    pub(super) confirmations: Vec<(String, String, Confirmation)>,
    /// By customer and invoice.
    pub(super) invoices: Vec<(String, String, Invoice)>,
    pub(super) graces: Vec<(String, GraceKey, Grace)>,
    /// By customer and id.
    pub(super) signals: Vec<(String, String, Signal)>,
    /// Rows that are no longer there, by customer and id or key.
    pub(super) gone_invoices: Vec<(String, String)>,
    pub(super) gone_graces: Vec<(String, GraceKey)>,
    pub(super) gone_signals: Vec<(String, String)>,
}

struct Customer {
    id: String,
    version: i64,
    payment_method_on_file: bool,
    vulnerable: bool,
    resolved_ms: Option<UnixMs>,
    marked_until_ms: Option<UnixMs>,
    home: Home,
}

impl PersonRows {
    /// Whether something about `customer` is yet to be written, so that what the tables say about them is old.
    pub(super) fn are_about(&self, customer: &str) -> bool {
        self.customers.iter().any(|row| row.id == customer)
    }

    /// Adds the row of a customer itself.
    pub(super) fn customer(&mut self, facts: &Facts, marked_until_ms: Option<UnixMs>) {
        self.customers.push(Customer {
            id: facts.customer.clone(),
            version: facts.version,
            payment_method_on_file: facts.payment_method_on_file,
            vulnerable: facts.vulnerable,
            resolved_ms: facts.resolved_ms,
            marked_until_ms,
            home: facts.home.clone(),
        });
    }
}

#[async_trait]
impl Together for PersonRows {
    async fn write(self, transaction: &mut Transaction) -> Result<(), sqlx::Error> {
        for piece in pieces(&self.customers) {
            write_customers(transaction, piece).await?;
        }
        for piece in pieces(&self.subscriptions) {
            write_subscriptions(transaction, piece).await?;
        }
        for piece in pieces(&self.confirmations) {
            keep_confirmations(transaction, piece).await?;
        }
        for piece in pieces(&self.invoices) {
            write_invoices(transaction, piece).await?;
        }
        for piece in pieces(&self.graces) {
            write_graces(transaction, piece).await?;
        }
        for piece in pieces(&self.signals) {
            write_signals(transaction, piece).await?;
        }
        for piece in pieces(&self.gone_invoices) {
            forget(transaction, "DELETE FROM invoices WHERE (customer, id) IN (", piece).await?;
        }
        for piece in pieces(&self.gone_graces) {
            forget_graces(transaction, piece).await?;
        }
        for piece in pieces(&self.gone_signals) {
            forget(transaction, "DELETE FROM crisis_signals WHERE (customer, id) IN (", piece).await?;
        }
        Ok(())
    }
}

async fn write_customers(transaction: &mut Transaction, rows: &[Customer]) -> Result<(), sqlx::Error> {
    let now_ms = transaction.now_ms();
    on_connection!(transaction, |connection| {
        let mut statement = QueryBuilder::new(
            "INSERT INTO customers (id, version, payment_method_on_file, vulnerable, resolved_ms, marked, \
             marked_until_ms, touched_ms, locale, locale_stated_ms, time_zone, time_zone_stated_ms) ",
        );
        statement.push_values(rows, |mut values, row| {
            let (locale, time_zone) = (row.home.locale.as_ref(), row.home.time_zone.as_ref());
            values
                .push_bind(&row.id)
                .push_bind(row.version)
                .push_bind(row.payment_method_on_file)
                .push_bind(row.vulnerable)
                .push_bind(row.resolved_ms)
                .push_bind(row.marked_until_ms.is_some())
                .push_bind(row.marked_until_ms)
                .push_bind(now_ms)
                .push_bind(locale.map(|stated| stated.value.as_str()))
                .push_bind(locale.map(|stated| stated.stated_ms))
                .push_bind(time_zone.map(|stated| stated.value.as_str()))
                .push_bind(time_zone.map(|stated| stated.stated_ms));
        });
        statement.push(
            " ON CONFLICT (id) DO UPDATE SET version = excluded.version, \
             payment_method_on_file = excluded.payment_method_on_file, vulnerable = excluded.vulnerable, \
             resolved_ms = excluded.resolved_ms, marked = excluded.marked, \
             marked_until_ms = excluded.marked_until_ms, touched_ms = excluded.touched_ms, \
             locale = excluded.locale, locale_stated_ms = excluded.locale_stated_ms, \
             time_zone = excluded.time_zone, time_zone_stated_ms = excluded.time_zone_stated_ms",
        );
        statement.build().execute(connection).await.map(|_| ())
    })
}

async fn write_subscriptions(
    transaction: &mut Transaction,
    rows: &[(String, SubscriptionSnapshot)],
) -> Result<(), sqlx::Error> {
    let prices = rows.iter().map(|(_, row)| serde_json::to_string(&row.prices));
    let prices: Vec<String> =
        prices.collect::<Result<_, _>>().map_err(|error| sqlx::Error::Encode(error.into()))?;
    on_connection!(transaction, |connection| {
        let mut statement = QueryBuilder::new(
            "INSERT INTO subscriptions \
             (customer, id, status, prices, period_end_s, latest_invoice, event_created_s, event_id, cancel_at_s) ",
        );
        statement.push_values(rows.iter().zip(&prices), |mut values, ((customer, row), prices)| {
            values
                .push_bind(customer)
                .push_bind(&row.id)
                .push_bind(row.status.name())
                .push_bind(prices)
                .push_bind(row.period_end_s)
                .push_bind(row.latest_invoice.as_deref())
                .push_bind(row.event_created_s)
                .push_bind(&row.event_id)
                .push_bind(row.cancel_at_s);
        });
        statement.push(
            " ON CONFLICT (customer, id) DO UPDATE SET \
             status = excluded.status, prices = excluded.prices, period_end_s = excluded.period_end_s, \
             latest_invoice = excluded.latest_invoice, event_created_s = excluded.event_created_s, \
             event_id = excluded.event_id, cancel_at_s = excluded.cancel_at_s",
        );
        statement.build().execute(connection).await.map(|_| ())
    })
}

async fn write_invoices(
    transaction: &mut Transaction,
    rows: &[(String, String, Invoice)],
) -> Result<(), sqlx::Error> {
    on_connection!(transaction, |connection| {
        let mut statement = QueryBuilder::new(
            "INSERT INTO invoices (customer, id, subscription, paid_s, failed_s, learned_ms) ",
        );
        statement.push_values(rows, |mut values, (customer, id, row)| {
            values
                .push_bind(customer)
                .push_bind(id)
                .push_bind(row.subscription.as_deref())
                .push_bind(row.paid_s)
                .push_bind(row.failed_s)
                .push_bind(row.learned_ms);
        });
        statement.push(
            " ON CONFLICT (customer, id) DO UPDATE SET \
             subscription = excluded.subscription, paid_s = excluded.paid_s, failed_s = excluded.failed_s, \
             learned_ms = excluded.learned_ms",
        );
        statement.build().execute(connection).await.map(|_| ())
    })
}

async fn write_graces(
    transaction: &mut Transaction,
    rows: &[(String, GraceKey, Grace)],
) -> Result<(), sqlx::Error> {
    on_connection!(transaction, |connection| {
        let mut statement = QueryBuilder::new(
            "INSERT INTO grace_periods \
             (customer, reason, cause, started_ms, ends_ms, closed, subscription, trouble_s) ",
        );
        statement.push_values(rows, |mut values, (customer, key, row)| {
            values
                .push_bind(customer)
                .push_bind(key.reason.name())
                .push_bind(&key.cause)
                .push_bind(row.started_ms)
                .push_bind(row.ends_ms)
                .push_bind(row.closed)
                .push_bind(row.subscription.as_deref())
                .push_bind(row.trouble_s);
        });
        statement.push(
            " ON CONFLICT (customer, reason, cause) DO UPDATE SET \
             started_ms = excluded.started_ms, ends_ms = excluded.ends_ms, closed = excluded.closed, \
             subscription = excluded.subscription, trouble_s = excluded.trouble_s",
        );
        statement.build().execute(connection).await.map(|_| ())
    })
}

async fn write_signals(
    transaction: &mut Transaction,
    rows: &[(String, String, Signal)],
) -> Result<(), sqlx::Error> {
    on_connection!(transaction, |connection| {
        let mut statement = QueryBuilder::new(
            "INSERT INTO crisis_signals (customer, id, source, severity, at_ms, only_in_crisis) ",
        );
        statement.push_values(rows, |mut values, (customer, id, row)| {
            values
                .push_bind(customer)
                .push_bind(id)
                .push_bind(row.source.name())
                .push_bind(row.severity.name())
                .push_bind(row.at_ms)
                .push_bind(row.only_in_crisis);
        });
        statement.push(" ON CONFLICT (customer, id) DO NOTHING");
        statement.build().execute(connection).await.map(|_| ())
    })
}

/// Deletes `rows`, by customer and id, with a statement that begins with `delete`.
async fn forget(
    transaction: &mut Transaction,
    delete: &'static str,
    rows: &[(String, String)],
) -> Result<(), sqlx::Error> {
    on_connection!(transaction, |connection| {
        let mut statement = QueryBuilder::new(delete);
        statement.push_values(rows, |mut values, (customer, id)| {
            values.push_bind(customer).push_bind(id);
        });
        statement.push(")");
        statement.build().execute(connection).await.map(|_| ())
    })
}

async fn forget_graces(
    transaction: &mut Transaction,
    rows: &[(String, GraceKey)],
) -> Result<(), sqlx::Error> {
    on_connection!(transaction, |connection| {
        let mut statement =
            QueryBuilder::new("DELETE FROM grace_periods WHERE (customer, reason, cause) IN (");
        statement.push_values(rows, |mut values, (customer, key)| {
            values.push_bind(customer).push_bind(key.reason.name()).push_bind(&key.cause);
        });
        statement.push(")");
        statement.build().execute(connection).await.map(|_| ())
    })
}
