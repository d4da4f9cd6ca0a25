//! Whether and how Stripe is asked, and what it is asked for by itself.

use std::sync::Arc;

use keepwell_config::{
    Config,
    values::{MissedTicks, ScheduleEntry},
};
use keepwell_jobs::{
    backfill::{KEPT_S, LOOK_BACK_S},
    kinds,
    outbound::stripe::{StripeClient, StripeOptions},
};
use keepwell_workers::clock::SharedClock;
use serde_json::json;

use super::error::ServeError;

/// The most questions under way at a time.
const IN_FLIGHT_MAX: usize = 4;

/// A Stripe to ask, if `config` has a key for it.
pub(super) fn client(config: &Config, clock: &SharedClock) -> Result<Option<StripeClient>, ServeError> {
    tracing::info!(asked = asked_in_words(config), "Stripe's API");
    let Some(api_key) = &config.stripe.api_key else { return Ok(None) };
    // A Stripe that hangs may hold at most a quarter of the slots.
    let slots = config.pool.slots.saturating_sub(config.pool.crisis_slots);
    let options = StripeOptions {
        api_base: config.stripe.api_base.as_str(),
        api_key: api_key.expose(),
        account: config.stripe.account.as_deref(),
        in_flight_max: (slots / 4).clamp(1, IN_FLIGHT_MAX),
        clock: Arc::clone(clock),
    };
    Ok(Some(StripeClient::new(&options)?))
}

/// What is asked of Stripe beside the confirmation of claims, in words.
pub(crate) fn asked_in_words(config: &Config) -> &'static str {
    if config.stripe.api_key.is_some() {
        "asked every hour for events that it could not deliver, and every night for all events of thirty days and all \
         subscriptions"
    } else {
        "no `stripe.api_key`: nothing is confirmed with Stripe, and what no webhook brings stays unknown"
    }
}

/// The schedule that has events fetched which no webhook has brought.
pub(crate) const BACKFILL_SCHEDULE: &str = "stripe-backfill";

/// The schedule that has all of Stripe's events fetched that are not in the ledger, whoever has answered them.
pub(crate) const BACKFILL_ALL_SCHEDULE: &str = "stripe-backfill-all";

/// The schedule that has what is known of subscriptions compared with what Stripe knows.
pub(crate) const RECONCILE_SCHEDULE: &str = "stripe-reconcile";

/// What is asked for by itself if there is a key. Every hour for what was not delivered in the three hours before;
/// every hour of an absence is made up for, as far back as Stripe keeps events. Every night for all events that it
/// keeps, because what it takes for delivered somebody else may have answered, and for all subscriptions.
pub(super) fn built_in(config: &Config) -> Vec<ScheduleEntry> {
    if config.stripe.api_key.is_none() {
        return Vec::new();
    }
    let payload = |look_back_s: i64, undelivered: bool| {
        let payload = [("look_back_s", json!(look_back_s)), ("undelivered", json!(undelivered))];
        payload.map(|(name, value)| (name.to_owned(), value)).into_iter().collect()
    };
    vec![
        ScheduleEntry {
            // Not at the full hour, when everybody asks.
            cron: Some("0 17 * * * *".to_owned()),
            missed: MissedTicks::All,
            window: "30d".to_owned(),
            payload: payload(LOOK_BACK_S, true),
            ..ScheduleEntry::new(BACKFILL_SCHEDULE, kinds::STRIPE_BACKFILL)
        },
        ScheduleEntry {
            cron: Some("0 41 1 * * *".to_owned()),
            payload: payload(KEPT_S, false),
            ..ScheduleEntry::new(BACKFILL_ALL_SCHEDULE, kinds::STRIPE_BACKFILL)
        },
        ScheduleEntry {
            cron: Some("0 23 3 * * *".to_owned()),
            ..ScheduleEntry::new(RECONCILE_SCHEDULE, kinds::STRIPE_RECONCILE)
        },
    ]
}
