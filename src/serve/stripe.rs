//! Whether and how Stripe is asked.

use std::sync::Arc;

use keepwell_config::Config;
use keepwell_jobs::outbound::stripe::{StripeClient, StripeOptions};
use keepwell_workers::clock::SharedClock;

use super::error::ServeError;

/// The most questions under way at a time.
const IN_FLIGHT_MAX: usize = 4;

/// A Stripe to ask, if `config` has a key for it.
pub(super) fn client(config: &Config, clock: &SharedClock) -> Result<Option<StripeClient>, ServeError> {
    let Some(api_key) = &config.stripe.api_key else { return Ok(None) };
    // A Stripe that hangs may hold at most a quarter of the slots.
    let slots = config.pool.slots.saturating_sub(config.pool.crisis_slots);
    let options = StripeOptions {
        api_base: config.stripe.api_base.as_str(),
        api_key: api_key.expose(),
        in_flight_max: (slots / 4).clamp(1, IN_FLIGHT_MAX),
        clock: Arc::clone(clock),
    };
    Ok(Some(StripeClient::new(&options)?))
}
