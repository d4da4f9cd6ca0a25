//! From the configuration to what the receiver serves.

use std::sync::Arc;

use keepwell_config::{
    Config,
    values::{Network, WebhookSecret},
};

use crate::receiver::{
    options::{ReceiverLimits, ReceiverOptions},
    scheme::secret::{Secret, SecretError, SecretSet},
    source::Source,
};

/// Where Stripe posts.
pub const STRIPE_PATH: &str = "/api/webhooks/stripe";

/// Where the app posts.
pub const APP_PATH: &str = "/api/webhooks/app";

/// The receiver's options as `config` says, and which of its sources is Stripe.
pub(super) fn receiver_options(config: &Config) -> Result<(ReceiverOptions, Arc<Source>), SecretError> {
    let mut stripe = Source::stripe(
        STRIPE_PATH,
        secrets(&config.stripe.webhook_secrets, |id, text| Secret::stripe(id, text))?,
    );
    stripe.tolerance_s = config.stripe.tolerance_seconds;
    stripe.livemode = config.stripe.livemode;
    stripe.account.clone_from(&config.stripe.account);
    stripe.published_only = config.stripe.published_addresses;
    stripe.replace_allowed_networks(networks(&config.stripe.allowed_networks));
    let mut app = Source::app(
        APP_PATH,
        secrets(&config.app.webhook_secrets, |id, text| Secret::standard_webhooks(id, text))?,
    );
    app.tolerance_s = config.app.tolerance_seconds;
    app.replace_allowed_networks(networks(&config.app.allowed_networks));
    let stripe = Arc::new(stripe);
    let options = ReceiverOptions {
        sources: vec![Arc::clone(&stripe), Arc::new(app)],
        trusted_proxies: networks(&config.server.trusted_proxies),
        limits: limits(config),
    };
    Ok((options, stripe))
}

/// Gives `sources` the secrets and networks that `config` has now. Either all of them change or none.
pub(super) fn refresh(config: &Config, sources: &[Arc<Source>]) -> Result<(), SecretError> {
    let fresh = receiver_options(config)?.0.sources;
    for source in sources {
        if let Some(fresh) = fresh.iter().find(|fresh| fresh.path == source.path) {
            source.replace_secrets(fresh.secrets().as_ref().clone());
            source.replace_allowed_networks(fresh.allowed_networks().as_ref().clone());
        }
    }
    Ok(())
}

fn networks(networks: &[Network]) -> Vec<ipnet::IpNet> {
    networks.iter().map(Network::as_ipnet).collect()
}

fn secrets(
    configured: &[WebhookSecret],
    read: impl Fn(&str, &str) -> Result<Secret, SecretError>,
) -> Result<SecretSet, SecretError> {
    let read_one = |configured: &WebhookSecret| {
        let id = configured.id.as_str();
        let mut secret = read(id, configured.expose())?;
        if let Some(from_ms) = configured.valid_from_ms() {
            secret = secret.valid_from_ms(from_ms);
        }
        if let Some(until_ms) = configured.valid_until_ms() {
            secret = secret.valid_until_ms(until_ms);
        }
        Ok(secret)
    };
    SecretSet::new(configured.iter().map(read_one).collect::<Result<_, _>>()?)
}

fn limits(config: &Config) -> ReceiverLimits {
    let limits = &config.limits;
    let reserved = limits.requests_in_flight_max * limits.crisis_reserved_percent as usize / 100;
    ReceiverLimits {
        body_bytes_max: limits.body_bytes_max,
        body_read_ms: limits.body_read_timeout_ms,
        requests_in_flight_max: limits.requests_in_flight_max,
        requests_in_flight_reserved: reserved.max(1),
        record_ms: limits.answer_timeout_ms,
        unverified_requests_max: limits.unverified_requests_max,
        unverified_window_ms: limits.unverified_window_ms,
        unverified_addresses_max: limits.unverified_addresses_max,
        connections_max: limits.connections_max,
        header_read_ms: limits.header_read_timeout_ms,
        idle_ms: limits.keep_alive_timeout_ms,
        header_bytes_max: limits.header_bytes_max,
        ..ReceiverLimits::default()
    }
}
