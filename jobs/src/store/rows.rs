//! Between rows and facts.

use std::collections::BTreeMap;

use super::confirmations::read_claim;
use crate::care::{
    confirmation::Confirmation,
    crisis::{Severity, Signal, Source},
    grace::{Grace, GraceKey, GraceReason},
    home::{Home, Stated},
    invoice::Invoice,
    subscription::{SubscriptionSnapshot, SubscriptionStatus},
};

#[derive(sqlx::FromRow)]
pub(super) struct CustomerRow {
    pub(super) version: i64,
    pub(super) touched_ms: i64,
    pub(super) payment_method_on_file: bool,
    pub(super) vulnerable: bool,
    pub(super) resolved_ms: Option<i64>,
    pub(super) locale: Option<String>,
    pub(super) locale_stated_ms: Option<i64>,
    pub(super) time_zone: Option<String>,
    pub(super) time_zone_stated_ms: Option<i64>,
}

impl CustomerRow {
    pub(super) fn home(&self) -> Home {
        let stated = |value: &Option<String>, stated_ms: Option<i64>| {
            Some(Stated { value: value.clone()?, stated_ms: stated_ms? })
        };
        Home {
            locale: stated(&self.locale, self.locale_stated_ms),
            time_zone: stated(&self.time_zone, self.time_zone_stated_ms),
        }
    }
}

/// The row of a switch: its name, changes, whether it is on, the reason, since, until and when it was switched.
pub(super) type SwitchRow = (String, i64, bool, String, i64, i64, i64);

/// The row of a person beside that of a switch, if any was ever switched.
#[derive(sqlx::FromRow)]
pub(super) struct PersonAndSwitchRow {
    #[sqlx(flatten)]
    person: CustomerRow,
    name: Option<String>,
    changes: Option<i64>,
    is_on: Option<bool>,
    reason: Option<String>,
    since_ms: Option<i64>,
    until_ms: Option<i64>,
    switched_ms: Option<i64>,
}

impl PersonAndSwitchRow {
    pub(super) fn split(self) -> (CustomerRow, Option<SwitchRow>) {
        let switch = || {
            let (name, changes, is_on) = (self.name?, self.changes?, self.is_on?);
            Some((name, changes, is_on, self.reason?, self.since_ms?, self.until_ms?, self.switched_ms?))
        };
        (self.person, switch())
    }
}

#[derive(sqlx::FromRow)]
pub(super) struct SubscriptionRow {
    id: String,
    status: String,
    prices: String,
    period_end_s: Option<i64>,
    latest_invoice: Option<String>,
    event_created_s: i64,
    event_id: String,
    cancel_at_s: Option<i64>,
    confirmed_s: Option<i64>,
    told_ms: Option<i64>,
    claim: Option<String>,
}

impl SubscriptionRow {
    /// What Stripe has confirmed or is to be asked, if either.
    pub(super) fn confirmation(&self) -> Option<(String, Confirmation)> {
        let (confirmed_s, told_ms) = (self.confirmed_s, self.told_ms);
        let claim = self.claim.as_deref().and_then(|claim| read_claim(&self.id, claim));
        let confirmation = Confirmation { confirmed_s, told_ms, claim };
        (confirmation != Confirmation::default()).then(|| (self.id.clone(), confirmation))
    }
}

#[derive(sqlx::FromRow)]
pub(super) struct InvoiceRow {
    id: String,
    subscription: Option<String>,
    paid_s: Option<i64>,
    failed_s: Option<i64>,
    learned_ms: i64,
}

#[derive(sqlx::FromRow)]
pub(super) struct GraceRow {
    reason: String,
    cause: String,
    started_ms: i64,
    ends_ms: i64,
    closed: bool,
    subscription: Option<String>,
    trouble_s: Option<i64>,
}

#[derive(sqlx::FromRow)]
pub(super) struct SignalRow {
    id: String,
    source: String,
    severity: String,
    at_ms: i64,
    only_in_crisis: bool,
}

pub(super) fn subscriptions(rows: Vec<SubscriptionRow>) -> BTreeMap<String, SubscriptionSnapshot> {
    let read = |row: SubscriptionRow| {
        let snapshot = SubscriptionSnapshot {
            id: row.id.clone(),
            status: SubscriptionStatus::from_name(&row.status),
            // Written by us; a row that somebody spoilt by hand counts as one that bought nothing known.
            prices: serde_json::from_str(&row.prices).unwrap_or_default(),
            period_end_s: row.period_end_s,
            cancel_at_s: row.cancel_at_s,
            latest_invoice: row.latest_invoice,
            event_created_s: row.event_created_s,
            event_id: row.event_id,
        };
        (row.id, snapshot)
    };
    rows.into_iter().map(read).collect()
}

pub(super) fn invoices(rows: Vec<InvoiceRow>) -> BTreeMap<String, Invoice> {
    let read = |row: InvoiceRow| {
        let invoice = Invoice {
            subscription: row.subscription,
            paid_s: row.paid_s,
            failed_s: row.failed_s,
            learned_ms: row.learned_ms,
        };
        (row.id, invoice)
    };
    rows.into_iter().map(read).collect()
}

pub(super) fn graces(rows: Vec<GraceRow>) -> BTreeMap<GraceKey, Grace> {
    let read = |row: GraceRow| {
        // The column's CHECK allows no other word.
        let key = GraceKey { reason: GraceReason::from_name(&row.reason)?, cause: row.cause };
        let grace = Grace {
            started_ms: row.started_ms,
            ends_ms: row.ends_ms,
            closed: row.closed,
            subscription: row.subscription,
            trouble_s: row.trouble_s,
        };
        Some((key, grace))
    };
    rows.into_iter().filter_map(read).collect()
}

pub(super) fn signals(rows: Vec<SignalRow>) -> BTreeMap<String, Signal> {
    let read = |row: SignalRow| {
        let signal = Signal {
            source: Source::from_name(&row.source),
            // The column's CHECK allows no other word.
            severity: Severity::from_name(&row.severity)?,
            at_ms: row.at_ms,
            only_in_crisis: row.only_in_crisis,
        };
        Some((row.id, signal))
    };
    rows.into_iter().filter_map(read).collect()
}
