//! The addresses that Stripe publishes: fetched twice a day, kept in the state directory, and put into the receiver
//! while it runs. Whatever is wrong with a new list, the last good one stays; before there ever was one, anybody may
//! try, as without this. It is a defence beside the signatures, and must never be what keeps an event out.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use ipnet::IpNet;
use keepwell_config::Config;
use keepwell_jobs::{
    outbound::stripe_addresses::{ADDRESSES_MAX, AddressList},
    store::audit::{Actor, AuditEntry},
};
use keepwell_workers::clock::SharedClock;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::error::ServeError;
use crate::{
    new_file,
    receiver::source::{PublishedNetworks, Source},
    trail::Trail,
};

/// How often the list is fetched. Changes are announced a week before.
const REFRESH_EVERY: Duration = Duration::from_secs(12 * 60 * 60);

/// How soon it is tried again after it could not be fetched.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(15 * 60);

/// The file in the state directory.
const FILE: &str = "stripe-addresses.json";

/// A list as it is kept.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    fetched_ms: i64,
    networks: Vec<IpNet>,
}

/// Keeps the addresses of one source.
#[derive(Debug)]
pub(super) struct Addresses {
    list: AddressList,
    file: PathBuf,
    source: Arc<Source>,
    trail: Trail,
    clock: SharedClock,
}

impl Addresses {
    /// Those of `source`, if `config` asks for them; the last good ones in `state_dir` count from now on.
    pub(super) fn of(
        config: &Config,
        state_dir: &Path,
        source: &Arc<Source>,
        (trail, clock): (&Trail, &SharedClock),
    ) -> Result<Option<Self>, ServeError> {
        if !config.stripe.published_addresses {
            return Ok(None);
        }
        let list = AddressList::at(config.stripe.addresses_url.as_str()).map_err(ServeError::Addresses)?;
        let (source, trail, clock) = (Arc::clone(source), trail.clone(), Arc::clone(clock));
        let addresses = Self { list, file: state_dir.join(FILE), source, trail, clock };
        if let Some(Kept { fetched_ms, networks }) = addresses.read() {
            addresses.source.replace_published_networks(PublishedNetworks { fetched_ms, networks });
        }
        Ok(Some(addresses))
    }

    /// Fetches the list again and again until `stop`.
    pub(super) async fn run(self, stop: CancellationToken) {
        loop {
            let refreshed = tokio::select! {
                () = stop.cancelled() => return,
                refreshed = self.refresh() => refreshed,
            };
            let rest = if refreshed { REFRESH_EVERY } else { TRY_AGAIN_AFTER };
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(rest) => {}
            }
        }
    }

    /// Whether there is a list of now.
    async fn refresh(&self) -> bool {
        let known = self.source.published_networks();
        let networks = match self.list.fetch().await {
            Ok(networks) => networks,
            Err(error) => {
                let kept = known.as_ref().map(|known| known.networks.len());
                tracing::warn!(error = %error, kept, "Stripe's list of addresses was not renewed; the last good one stays");
                return false;
            }
        };
        let fetched_ms = self.clock.now_ms();
        // The file first: what is in force here is in force after a restart too.
        if let Err(error) = self.keep(&Kept { fetched_ms, networks: networks.clone() }) {
            tracing::warn!(error = %error, "Stripe's list of addresses cannot be kept; it counts until a restart");
        }
        let (before, after) = (known.map(|known| shown(&known.networks)), shown(&networks));
        self.source.replace_published_networks(PublishedNetworks { fetched_ms, networks });
        if before.as_ref() != Some(&after) {
            tracing::info!(addresses = after.len(), "Stripe's list of addresses has changed");
            self.note(fetched_ms, before, after).await;
        }
        true
    }

    async fn note(&self, at_ms: i64, before: Option<Vec<String>>, after: Vec<String>) {
        let entry = AuditEntry {
            at_ms,
            actor: Actor::System { job: "stripe.addresses".to_owned() },
            action: "stripe.addresses_changed",
            subject: None,
            reason: "the list that Stripe publishes is another one".to_owned(),
            before: before.map(|before| json!(before)),
            after: Some(json!(after)),
        };
        if let Err(error) = self.trail.record(&entry).await {
            tracing::error!(error, "that Stripe's addresses have changed is not in the audit trail");
        }
    }

    /// The last good list; `None` if there is none, or none that can be read.
    fn read(&self) -> Option<Kept> {
        let kept: Kept = serde_json::from_slice(&fs::read(&self.file).ok()?).ok()?;
        (1..=ADDRESSES_MAX).contains(&kept.networks.len()).then_some(kept)
    }

    /// Keeps `list` in the place of the one before.
    fn keep(&self, list: &Kept) -> io::Result<()> {
        new_file::replace(&self.file, &serde_json::to_vec(list)?)
    }
}

/// `networks` as they are read, in an order of their own.
fn shown(networks: &[IpNet]) -> Vec<String> {
    let mut shown: Vec<String> = networks.iter().map(ToString::to_string).collect();
    shown.sort();
    shown
}
