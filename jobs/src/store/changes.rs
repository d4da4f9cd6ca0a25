//! What has changed about a person, and nothing else: the rows that are to be written.

use std::collections::BTreeMap;

use keepwell_workers::clock::UnixMs;

use super::person_rows::PersonRows;
use crate::care::facts::Facts;

/// Adds the difference between `before` and `after` to what is written when the transaction commits.
pub(super) fn keep(rows: &mut PersonRows, before: &Facts, after: &Facts, marked_until_ms: Option<UnixMs>) {
    let customer = || after.customer.clone();
    for (_, subscription) in changed(&before.subscriptions, &after.subscriptions) {
        rows.subscriptions.push((customer(), subscription.clone()));
    }
    for (id, confirmation) in changed(&before.confirmations, &after.confirmations) {
        rows.confirmations.push((customer(), id.clone(), confirmation.clone()));
    }
    for (id, invoice) in changed(&before.invoices, &after.invoices) {
        rows.invoices.push((customer(), id.clone(), invoice.clone()));
    }
    for (key, grace) in changed(&before.graces, &after.graces) {
        rows.graces.push((customer(), key.clone(), grace.clone()));
    }
    for (id, signal) in changed(&before.signals, &after.signals) {
        rows.signals.push((customer(), id.clone(), signal.clone()));
    }
    let invoices = gone(&before.invoices, &after.invoices);
    rows.gone_invoices.extend(invoices.map(|id| (customer(), id.clone())));
    let graces = gone(&before.graces, &after.graces);
    rows.gone_graces.extend(graces.map(|key| (customer(), key.clone())));
    let signals = gone(&before.signals, &after.signals);
    rows.gone_signals.extend(signals.map(|id| (customer(), id.clone())));
    rows.customer(after, marked_until_ms);
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
