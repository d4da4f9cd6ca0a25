//! A crisis that is only rehearsed: everything is written, read back and judged as for a person, and then taken away
//! again in the same transaction.

use keepwell_workers::{database::Transaction, on_connection};

use super::{changes::keep, person};
use crate::{
    Care,
    care::{
        access::access_with,
        crisis::{Severity, Signal, Source},
        document::AccessDocument,
        facts::Facts,
    },
};

/// The access document of somebody called `customer`, who does not exist, in a critical crisis.
pub(crate) async fn rehearsed(
    transaction: &mut Transaction,
    care: &Care,
    customer: &str,
) -> Result<AccessDocument, sqlx::Error> {
    let now_ms = transaction.now_ms();
    person::take(transaction, customer).await?;
    let before = Facts { definitions: care.definitions, ..Facts::about(customer) };
    let mut after = Facts { version: 1, ..before.clone() };
    let signal =
        Signal { source: Source::Button, severity: Severity::Critical, at_ms: now_ms, only_in_crisis: false };
    after.signalled(customer.to_owned(), signal, now_ms);
    keep(transaction.together(), &before, &after, after.marked_until_ms(now_ms));
    let kept = person::kept(transaction, customer).await?;
    for sql in [
        "DELETE FROM crisis_signals WHERE customer = $1",
        "DELETE FROM grace_periods WHERE customer = $1",
        "DELETE FROM customers WHERE id = $1",
    ] {
        on_connection!(transaction, |connection| {
            sqlx::query(sql).bind(customer).execute(connection).await.map(|_| ())
        })?;
    }
    Ok(access_with(&kept, &care.tiers, &care.resources, now_ms))
}
