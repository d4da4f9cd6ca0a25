//! Why the daemon could not start.

use std::{error::Error, io, net::SocketAddr, path::PathBuf};

use keepwell_jobs::{
    care::{lines::CrisisLinesError, templates::TemplatesError, tiers::TiersError},
    intake::{event_types::EventTypeError, privacy::DropPathError},
    outbound::{http::CertificatesError, notify::NotifierError, stripe::StripeError},
};
use keepwell_workers::{
    database::{ConnectError, MigrateError, Trouble},
    engine::StartError,
    managed_redis::ManagedRedisError,
};

use super::{schedules::SchedulesError, state_dir::StateDirError};
use crate::{alerts::AlertsError, api::BindError, receiver::scheme::secret::SecretError};

/// The daemon could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The state directory.
    #[error(transparent)]
    StateDir(#[from] StateDirError),
    /// The database.
    #[error("the database (`database.url`) cannot be used")]
    Database(#[from] ConnectError),
    /// The tables.
    #[error(transparent)]
    Migrate(#[from] MigrateError),
    /// It does not even say that.
    #[error("the database does not say whether its tables are up to date")]
    Silent,
    /// The private Redis.
    #[error(transparent)]
    Redis(#[from] ManagedRedisError),
    /// The engine.
    #[error("the engine cannot start")]
    Engine(#[from] StartError),
    /// One of the engine's loops has ended before its time.
    #[error(
        "a part of the engine failed (the log says which); what it held was given back, and the next start goes on"
    )]
    Broken,
    /// The rules' state cannot be read.
    #[error("what stands cannot be read from the database")]
    Marks(#[source] Box<dyn Error + Send + Sync>),
    /// The tiers.
    #[error("the tiers (`care.tiers_file`) cannot be used")]
    Tiers(#[from] TiersError),
    /// The tiers' file.
    #[error("the file {0} (`care.tiers_file`) cannot be read")]
    TiersFile(PathBuf, #[source] io::Error),
    /// Stripe's API.
    #[error("Stripe's API (`stripe.api_base`, `stripe.api_key`) cannot be used")]
    Stripe(#[from] StripeError),
    /// Stripe's list of addresses.
    #[error("Stripe's list of addresses (`stripe.addresses_url`) cannot be fetched")]
    Addresses(#[source] CertificatesError),
    /// The types of events that change something.
    #[error("`stripe.event_types` cannot be used")]
    EventTypes(#[from] EventTypeError),
    /// The fields that are dropped.
    #[error("`privacy.drop_paths` cannot be used")]
    DropPaths(#[from] DropPathError),
    /// The receiver of reports.
    #[error(
        "the receiver of reports (`reports.url`, `reports.token`, `reports.authorities_file`) cannot be used"
    )]
    Courier(#[source] NotifierError),
    /// The authorities of the receiver of reports.
    #[error("the file {0} (`reports.authorities_file`) cannot be read")]
    ReportsAuthoritiesFile(PathBuf, #[source] io::Error),
    /// The crisis lines.
    #[error("the crisis lines (`crisis_resources.lines_file`) cannot be used")]
    Lines(#[from] CrisisLinesError),
    /// The crisis lines' file.
    #[error("the file {0} (`crisis_resources.lines_file`) cannot be read")]
    LinesFile(PathBuf, #[source] io::Error),
    /// The messages.
    #[error("the messages (`care.messages_dir`) cannot be used")]
    Messages(#[from] TemplatesError),
    /// The messages' files.
    #[error("{0} (in `care.messages_dir`) cannot be read")]
    MessagesFile(PathBuf, #[source] io::Error),
    /// The notification gateway.
    #[error("the notification gateway (`notify`) cannot be used")]
    Notifier(#[from] NotifierError),
    /// The certificates for it.
    #[error("the file {0} (`notify.authorities_file`) cannot be read")]
    AuthoritiesFile(PathBuf, #[source] io::Error),
    /// The alerts.
    #[error("`alerts` cannot be used")]
    Alerts(#[from] AlertsError),
    /// The schedules.
    #[error("`schedules` cannot be used")]
    Schedules(#[from] SchedulesError),
    /// A secret.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// There is no key to seal with; the configuration makes sure that there is one.
    #[error("`encryption.keys` is empty; it needs at least one key")]
    NoKey,
    /// The public listener.
    #[error("`server.listen` ({0}) cannot be listened on")]
    Listen(SocketAddr, #[source] io::Error),
    /// The operators' listener.
    #[error(transparent)]
    Operators(#[from] BindError),
    /// Signals.
    #[error("signals cannot be waited for")]
    Signals(#[source] io::Error),
}

impl ServeError {
    /// Whether it is only that the database is away: the same may well work later.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::Database(error) => error.is_passing(),
            Self::Migrate(error) => error.is_passing(),
            Self::Marks(error) => Trouble::passes(&**error),
            Self::Silent => true,
            _ => false,
        }
    }
}
