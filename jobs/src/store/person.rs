//! A person's facts: read, taught, kept.
//!
//! What is known about the people of the last minutes is kept in memory too. It cannot go stale: a person's row
//! carries a version that every change raises, it is read first (and by whoever changes something, locked), and what
//! is in memory counts only if it is of that very version. A server that dies may lose its last commits and give their
//! versions to others, so the instant of the change tells two changes of the same version apart.

use std::sync::Arc;

use keepwell_workers::{
    clock::UnixMs,
    database::{Reader, Transaction},
    on_connection,
};
use quick_cache::sync::{Cache, EntryAction, EntryResult};

use super::{
    alert_signs::sign,
    audit::{PersonChange, append_change, append_past_signal},
    changes::keep,
    connected::Connected,
    person_data::{PersonDataKind, is_stated},
    person_rows::PersonRows,
    rows::{self, CustomerRow, GraceRow, InvoiceRow, PersonAndSwitchRow, SignalRow, SubscriptionRow},
    switch_memory::SwitchMemory,
    switches::{seen, switches_in},
};
use crate::{
    Care,
    alerts::rules::EMERGENCY_ACCESS_ACTIVATED,
    care::{crisis::Signal, emergency::Switches, facts::Facts},
    follow_ups::follow_ups,
};

/// People that are remembered at once. Somebody's facts take a few hundred bytes.
const PEOPLE_REMEMBERED_MAX: usize = 20_000;

/// The facts read or kept last, by person, with the instant at which they were changed last.
#[derive(Debug, Clone)]
pub struct FactsMemory(Arc<Cache<String, Remembered>>);

/// When somebody's facts were changed last, and what they are.
type Remembered = Arc<(UnixMs, Facts)>;

impl Default for FactsMemory {
    fn default() -> Self {
        Self(Arc::new(Cache::new(PEOPLE_REMEMBERED_MAX)))
    }
}

impl FactsMemory {
    fn get(&self, customer: &str) -> Option<Remembered> {
        self.0.get(customer)
    }

    /// The facts that were `remembered` about `customer` before their row was read, if they are what `row` tells of.
    fn of(&self, customer: &str, remembered: Option<Remembered>, row: Option<&CustomerRow>) -> Option<Facts> {
        let remembered = remembered?;
        let (touched_ms, facts) = &*remembered;
        if row.is_none_or(|row| row.version < facts.version) {
            // What is remembered was committed before, so the database has lost it since.
            self.forget(customer);
        }
        let row = row?;
        (facts.version == row.version && *touched_ms == row.touched_ms).then(|| facts.clone())
    }

    /// What was known about `customer` last. Another process may know more by now.
    pub fn last(&self, customer: &str) -> Option<Facts> {
        self.0.get(customer).map(|remembered| remembered.1.clone())
    }

    /// Forgets what is remembered about `customer`: it is read again when it is needed.
    pub fn forget(&self, customer: &str) {
        self.0.remove(customer);
    }

    /// Remembers `facts`, unless later ones are known: of two commits, or of a commit and somebody who read before it,
    /// the older one may be heard of last.
    fn remember(&self, touched_ms: UnixMs, facts: Facts) {
        let facts = Facts { waived_until_ms: None, applied_ms: 0, ..facts };
        let heard = Arc::new((touched_ms, facts));
        let at = |remembered: &Remembered| (remembered.1.version, remembered.0);
        let known = self.0.entry(heard.1.customer.as_str(), None, |_, known| {
            if at(known) < at(&heard) {
                *known = Arc::clone(&heard);
            }
            EntryAction::Retain(())
        });
        if let EntryResult::Vacant(place) = known {
            // Somebody who has emptied the memory meanwhile has forgotten this as well.
            let _ = place.insert(Arc::clone(&heard));
        }
    }
}

/// What is known about `customer`.
pub async fn facts(reader: &mut Reader, customer: &str, memory: &FactsMemory) -> Result<Facts, sqlx::Error> {
    // First, so that whatever is remembered is in the row that is read then.
    let remembered = memory.get(customer);
    let row = customer_row(reader, customer).await?;
    facts_of(reader, customer, memory, remembered, row).await
}

/// What operators have switched on and what is known about `customer`: one question, for an app that waits for it.
pub async fn switches_and_facts(
    reader: &mut Reader,
    customer: &str,
    switches: &SwitchMemory,
    memory: &FactsMemory,
) -> Result<(Switches, Facts), sqlx::Error> {
    const SQL: &str = "SELECT version, touched_ms, payment_method_on_file, vulnerable, resolved_ms, \
         locale, locale_stated_ms, time_zone, time_zone_stated_ms, \
         name, changes, is_on, reason, since_ms, until_ms, switched_ms \
         FROM customers LEFT JOIN emergency_switches ON TRUE WHERE id = $1 ORDER BY name";
    let look = switches.look();
    let remembered = memory.get(customer);
    let rows: Vec<PersonAndSwitchRow> = on_connection!(reader, |connection| {
        sqlx::query_as(SQL).bind(customer).fetch_all(connection).await
    })?;
    let (people, rows): (Vec<_>, Vec<_>) = rows.into_iter().map(PersonAndSwitchRow::split).unzip();
    let row = people.into_iter().next();
    let stand = match row {
        Some(_) => seen(switches, look, rows.into_iter().flatten()),
        // Nobody is known by that name: there was nothing to join the switches to.
        None => switches_in(reader, switches).await?,
    };
    Ok((stand, facts_of(reader, customer, memory, remembered, row).await?))
}

/// The facts that go with the `row` of `customer`: those that were `remembered` before it was read, if they are what it
/// tells of.
async fn facts_of(
    reader: &mut Reader,
    customer: &str,
    memory: &FactsMemory,
    remembered: Option<Remembered>,
    row: Option<CustomerRow>,
) -> Result<Facts, sqlx::Error> {
    if let Some(remembered) = memory.of(customer, remembered, row.as_ref()) {
        return Ok(remembered);
    }
    if row.is_none() {
        return Ok(Facts::about(customer));
    }
    let Some((touched_ms, facts)) = whole(reader, customer).await? else { return Ok(Facts::about(customer)) };
    memory.remember(touched_ms, facts.clone());
    Ok(facts)
}

/// What the database knows about `customer`, whatever is remembered.
pub async fn facts_afresh(reader: &mut Reader, customer: &str) -> Result<Facts, sqlx::Error> {
    let whole = whole(reader, customer).await?;
    Ok(whole.map_or_else(|| Facts::about(customer), |(_, facts)| facts))
}

/// All rows about `customer` as they were at one moment, and when they were changed last.
async fn whole(reader: &mut Reader, customer: &str) -> Result<Option<(UnixMs, Facts)>, sqlx::Error> {
    let mut snapshot = reader.snapshot().await?;
    let Some(row) = customer_row(&mut snapshot, customer).await? else { return Ok(None) };
    let facts = read(&mut snapshot, customer, &row).await?;
    Ok(Some((row.touched_ms, facts)))
}

async fn customer_row(
    connected: &mut impl Connected,
    customer: &str,
) -> Result<Option<CustomerRow>, sqlx::Error> {
    const SQL: &str = "SELECT version, touched_ms, payment_method_on_file, vulnerable, resolved_ms, \
         locale, locale_stated_ms, time_zone, time_zone_stated_ms FROM customers WHERE id = $1";
    on_connection!(connected, |connection| {
        sqlx::query_as(SQL).bind(customer).fetch_optional(connection).await
    })
}

/// Takes the row of `customer`, so that two transactions about one person wait for each other.
pub async fn take(transaction: &mut Transaction, customer: &str) -> Result<(), sqlx::Error> {
    row(transaction, customer).await.map(|_| ())
}

async fn row(transaction: &mut Transaction, customer: &str) -> Result<CustomerRow, sqlx::Error> {
    const SQL: &str = "INSERT INTO customers \
         (id, version, payment_method_on_file, vulnerable, resolved_ms, marked, touched_ms) \
         VALUES ($1, 0, $2, $2, NULL, $2, $3) ON CONFLICT (id) DO UPDATE SET touched_ms = customers.touched_ms \
         RETURNING version, touched_ms, payment_method_on_file, vulnerable, resolved_ms, \
         locale, locale_stated_ms, time_zone, time_zone_stated_ms";
    let now_ms = transaction.now_ms();
    if transaction.together::<PersonRows>().are_about(customer) {
        transaction.write_together().await?;
    }
    on_connection!(transaction, |connection| {
        sqlx::query_as(SQL).bind(customer).bind(false).bind(now_ms).fetch_one(connection).await
    })
}

/// Has `teach` change what is known about `customer`, and keeps it. The customer's row is taken first, so that two
/// transactions about one person wait for each other.
pub async fn taught(
    transaction: &mut Transaction,
    customer: &str,
    care: &Care,
    teach: impl FnOnce(&mut Facts),
) -> Result<(), sqlx::Error> {
    let now_ms = transaction.now_ms();
    let remembered = care.memory.get(customer);
    let row = row(transaction, customer).await?;
    let before = match care.memory.of(customer, remembered, Some(&row)) {
        Some(remembered) => remembered,
        None => read(transaction, customer, &row).await?,
    };
    // Nothing is closed on the word of a memory: another node may have switched since. What is learned now begins now,
    // so nothing ends that was not known before.
    let ends = before.graces.values().any(|grace| !grace.closed && grace.ends_ms <= now_ms);
    let switches = if ends { switches_in(transaction, &care.switches).await? } else { care.switches.last() };
    let waived_until_ms = switches.waives_payment(now_ms).map(|switch| switch.until_ms);
    let before = Facts { definitions: care.definitions, waived_until_ms, applied_ms: now_ms, ..before };
    let mut after = before.clone();
    teach(&mut after);
    after.close_ended_graces(now_ms);
    after.forget_old(now_ms);
    if after == before && before.version > 0 {
        return Ok(());
    }
    after.version = before.version + 1;
    let marked_until_ms = after.marked_until_ms(now_ms);
    let at_risk_until_ms = after.at_risk_until_ms(now_ms);
    keep(transaction.together(), &before, &after, marked_until_ms);
    let change = PersonChange { before: &before, before_ms: row.touched_ms, after: &after };
    let opens = change.opens_crisis(now_ms);
    append_change(transaction, care, &change)?;
    // Where nobody is told, nobody would let it go either.
    if opens && care.alerts.is_some() {
        sign(transaction, &EMERGENCY_ACCESS_ACTIVATED).await?;
    }
    let learned_ms = transaction.job().map_or(now_ms, |job| job.created_ms);
    for job in follow_ups(care, &before, &after, learned_ms, now_ms) {
        // Without a gateway there is something to record only about those who have named somebody.
        if care.outreach.is_some()
            || is_stated(transaction, &after.customer, PersonDataKind::Contacts).await?
        {
            transaction.enqueue(job);
        }
    }
    if marked_until_ms.is_some() {
        // Wrongly marked costs a place in the crisis lane; wrongly unmarked could cost the person one.
        let (marks, customer, version) = (care.marks.clone(), after.customer.clone(), after.version);
        transaction.when_in_doubt(move || marks.set(&customer, version, marked_until_ms));
    }
    let graces = after.graces.keys().filter(|key| !before.graces.contains_key(*key)).count();
    let before_at_risk = before.at_risk_until_ms(now_ms).is_some();
    let care = care.clone();
    transaction.after_commit(move || {
        let Care { marks, memory, tallies, .. } = care;
        tallies.graces_begun(graces as u64);
        if opens {
            tallies.emergency_activated();
        }
        marks.set(&after.customer, after.version, marked_until_ms);
        if before_at_risk || at_risk_until_ms.is_some() {
            marks.set_at_risk(&after.customer, after.version, at_risk_until_ms);
        }
        memory.remember(now_ms, after);
    });
    Ok(())
}

/// Audits that the sign `signal` of a crisis of `customer`, which `id` tells of, was told and changes nothing any more
/// ([`Facts::is_past`]); `active` is whether there is a crisis all the same.
pub(crate) fn note_past_signal(
    transaction: &mut Transaction,
    care: &Care,
    customer: &str,
    told: (&str, &Signal),
    active: bool,
) -> Result<(), sqlx::Error> {
    append_past_signal(transaction, &care.keys, customer, told, active)
}

/// What the transaction has kept about `customer`.
pub(super) async fn kept(transaction: &mut Transaction, customer: &str) -> Result<Facts, sqlx::Error> {
    let row = row(transaction, customer).await?;
    read(transaction, customer, &row).await
}

async fn read(
    connected: &mut impl Connected,
    customer: &str,
    row: &CustomerRow,
) -> Result<Facts, sqlx::Error> {
    const SUBSCRIPTIONS: &str = "SELECT id, status, prices, period_end_s, latest_invoice, event_created_s, event_id, \
         cancel_at_s, confirmed_s, told_ms, claim FROM subscriptions WHERE customer = $1";
    const INVOICES: &str =
        "SELECT id, subscription, paid_s, failed_s, learned_ms FROM invoices WHERE customer = $1";
    const GRACES: &str = "SELECT reason, cause, started_ms, ends_ms, closed, subscription, trouble_s \
         FROM grace_periods WHERE customer = $1";
    const SIGNALS: &str =
        "SELECT id, source, severity, at_ms, only_in_crisis FROM crisis_signals WHERE customer = $1";
    let mut facts = Facts {
        version: row.version,
        payment_method_on_file: row.payment_method_on_file,
        vulnerable: row.vulnerable,
        resolved_ms: row.resolved_ms,
        home: row.home(),
        ..Facts::about(customer)
    };
    // Somebody who was never taught anything has nothing in the other tables.
    if row.version == 0 {
        return Ok(facts);
    }
    let found: Vec<SubscriptionRow> = on_connection!(connected, |connection| {
        sqlx::query_as(SUBSCRIPTIONS).bind(customer).fetch_all(connection).await
    })?;
    facts.confirmations = found.iter().filter_map(SubscriptionRow::confirmation).collect();
    facts.subscriptions = rows::subscriptions(found);
    let found: Vec<InvoiceRow> = on_connection!(connected, |connection| {
        sqlx::query_as(INVOICES).bind(customer).fetch_all(connection).await
    })?;
    facts.invoices = rows::invoices(found);
    let found: Vec<GraceRow> = on_connection!(connected, |connection| {
        sqlx::query_as(GRACES).bind(customer).fetch_all(connection).await
    })?;
    facts.graces = rows::graces(found);
    let found: Vec<SignalRow> = on_connection!(connected, |connection| {
        sqlx::query_as(SIGNALS).bind(customer).fetch_all(connection).await
    })?;
    facts.signals = rows::signals(found);
    Ok(facts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(version: i64) -> Facts {
        Facts { version, ..Facts::about("cus_1") }
    }

    #[test]
    fn of_two_commits_the_older_one_that_is_heard_of_last_hides_nothing() {
        let memory = FactsMemory::default();
        for (touched_ms, version, known) in [(20, 2, 2), (10, 1, 2), (30, 1, 2), (15, 2, 2), (5, 3, 3)] {
            memory.remember(touched_ms, facts(version));
            assert_eq!(memory.last("cus_1").map(|facts| facts.version), Some(known));
        }
        // The same version again, given after the first one was lost, is the one that counts.
        memory.remember(9, Facts { vulnerable: true, ..facts(3) });
        assert!(memory.last("cus_1").is_some_and(|facts| facts.vulnerable));
    }
}
