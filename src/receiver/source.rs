//! Where events come from: a path, a scheme, secrets that can be swapped while the receiver runs, and what to expect.

use std::{net::IpAddr, sync::Arc};

use arc_swap::ArcSwap;
use ipnet::IpNet;

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
    secrets: ArcSwap<SecretSet>,
    allowed_networks: ArcSwap<Vec<IpNet>>,
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
            secrets: ArcSwap::from_pointee(secrets),
            allowed_networks: ArcSwap::default(),
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
        let networks = self.allowed_networks.load();
        networks.is_empty() || networks.iter().any(|network| network.contains(&address))
    }

    /// Whether the event is of the mode and the account that this source is for.
    pub fn expects(&self, intake: &Intake) -> bool {
        let other_mode =
            self.livemode.zip(intake.livemode).is_some_and(|(expected, stated)| expected != stated);
        let other_account = self.account.is_some() && self.account != intake.account;
        !other_mode && !other_account
    }
}
