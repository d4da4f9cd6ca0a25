//! Where events come from: a path, a scheme, secrets that can be swapped while the receiver runs, and what to expect.

use std::{net::IpAddr, sync::Arc};

use arc_swap::{ArcSwap, ArcSwapOption};
use ipnet::IpNet;
use keepwell_workers::clock::UnixMs;

use super::{
    door::Intake,
    scheme::{Scheme, secret::SecretSet, standard_webhooks, stripe},
};

/// Who sends to a source, which decides how its events are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SourceKind {
    /// Stripe: snapshot and thin events.
    Stripe,
    /// The app's own backend: crisis and assessment signals.
    App,
}

impl SourceKind {
    /// The name used in metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            SourceKind::Stripe => "stripe",
            SourceKind::App => "app",
        }
    }

    /// Whether its requests may use the share of the receiver that is reserved for crises.
    pub const fn is_crisis_source(self) -> bool {
        matches!(self, SourceKind::App)
    }
}

/// The networks that a sender says it sends from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedNetworks {
    /// When they were fetched.
    pub fetched_ms: UnixMs,
    /// They.
    pub networks: Vec<IpNet>,
}

/// One configured source.
#[derive(Debug)]
pub struct Source {
    /// Who sends to it.
    pub kind: SourceKind,
    /// The exact path it posts to.
    pub path: String,
    /// How it signs.
    pub scheme: Scheme,
    /// How old a signature may be, in seconds.
    pub tolerance_s: u64,
    /// The mode its events must be of. An event that states the other one is set aside; one that states none is not.
    pub livemode: Option<bool>,
    /// The account its events must belong to. An event of another account, or of none, is set aside.
    pub account: Option<String>,
    /// Whether only the networks that the sender publishes may send, beside those that are allowed. Until it is known
    /// which those are, any may.
    pub published_only: bool,
    secrets: ArcSwap<SecretSet>,
    allowed_networks: ArcSwap<Vec<IpNet>>,
    published_networks: ArcSwapOption<PublishedNetworks>,
}

impl Source {
    /// Stripe posting to `path`: scheme `stripe`, its default tolerance, any address, any mode, any account.
    pub fn stripe(path: impl Into<String>, secrets: SecretSet) -> Self {
        Self::new(SourceKind::Stripe, path.into(), Scheme::Stripe, stripe::TOLERANCE_S, secrets)
    }

    /// The app posting to `path`: scheme `standard-webhooks`, its default tolerance, any address.
    pub fn app(path: impl Into<String>, secrets: SecretSet) -> Self {
        let tolerance_s = standard_webhooks::TOLERANCE_S;
        Self::new(SourceKind::App, path.into(), Scheme::StandardWebhooks, tolerance_s, secrets)
    }

    fn new(kind: SourceKind, path: String, scheme: Scheme, tolerance_s: u64, secrets: SecretSet) -> Self {
        Self {
            kind,
            path,
            scheme,
            tolerance_s,
            livemode: None,
            account: None,
            published_only: false,
            secrets: ArcSwap::from_pointee(secrets),
            allowed_networks: ArcSwap::default(),
            published_networks: ArcSwapOption::empty(),
        }
    }

    /// The secrets in force.
    pub fn secrets(&self) -> Arc<SecretSet> {
        self.secrets.load_full()
    }

    /// Replaces the secrets for every request verified from now on.
    pub fn replace_secrets(&self, secrets: SecretSet) {
        self.secrets.store(Arc::new(secrets));
    }

    /// The networks that the sender publishes are `published` from now on.
    pub fn replace_published_networks(&self, published: PublishedNetworks) {
        self.published_networks.store(Some(Arc::new(published)));
    }

    /// The networks that the sender publishes, as far as they are known.
    pub fn published_networks(&self) -> Option<Arc<PublishedNetworks>> {
        self.published_networks.load_full()
    }

    /// Takes requests only from `networks` from now on; from anywhere if there are none.
    pub fn replace_allowed_networks(&self, networks: Vec<IpNet>) {
        self.allowed_networks.store(Arc::new(networks));
    }

    /// The networks in force; none means any.
    pub fn allowed_networks(&self) -> Arc<Vec<IpNet>> {
        self.allowed_networks.load_full()
    }

    /// Whether requests from `address` are taken.
    pub fn allows(&self, address: IpAddr) -> bool {
        let is_in = |networks: &[IpNet]| networks.iter().any(|network| network.contains(&address));
        let allowed = self.allowed_networks.load();
        if !self.published_only {
            return allowed.is_empty() || is_in(&allowed);
        }
        let published = self.published_networks.load();
        published.as_ref().is_none_or(|published| is_in(&published.networks) || is_in(&allowed))
    }

    /// Whether the event is of the mode and the account that this source is for.
    pub fn expects(&self, intake: &Intake) -> bool {
        let other_mode =
            self.livemode.zip(intake.livemode).is_some_and(|(expected, stated)| expected != stated);
        let other_account = self.account.is_some() && self.account != intake.account;
        !other_mode && !other_account
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_networks_that_a_sender_publishes_count_beside_those_that_are_allowed() {
        let mut source = Source::stripe("/", SecretSet::new(vec![]).unwrap());
        let [published, allowed, other] =
            ["192.0.2.1", "10.0.0.7", "203.0.113.1"].map(|text| text.parse().unwrap());
        let allows = |source: &Source| [published, allowed, other].map(|address| source.allows(address));
        assert_eq!(allows(&source), [true; 3]);
        source.replace_allowed_networks(vec!["10.0.0.0/8".parse().unwrap()]);
        assert_eq!(allows(&source), [false, true, false]);
        source.published_only = true;
        assert_eq!(allows(&source), [true; 3], "nobody is locked out for want of a list");
        let networks = vec!["192.0.2.0/24".parse().unwrap()];
        source.replace_published_networks(PublishedNetworks { fetched_ms: 0, networks });
        assert_eq!(allows(&source), [true, true, false]);
        source.replace_allowed_networks(vec![]);
        assert_eq!(allows(&source), [true, false, false], "an empty list of others lets nobody else in");
    }
}
