//! `keepwell serve`: the daemon.

use std::{
    io::{self, IsTerminal as _},
    time::Duration,
};

use clap::Args;
use keepwell_config::{Config, Loaded, Purpose};
use tokio::runtime::{Builder, Runtime};

use super::{Context, failure::Failure, say};
use crate::{
    api::BindError,
    serve::{self, ServeError, signals::Signals},
    telemetry::init_logs,
};

/// How long what is left on the runtime may take after the daemon has stopped: name look-ups and the like.
const LEFTOVERS_TIMEOUT: Duration = Duration::from_secs(2);

/// What the daemon does.
#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    /// Only these parts, separated by commas: receiver, workers, schedules, console
    #[arg(long, value_name = "ROLES")]
    roles: Option<String>,
}

pub(super) fn run(context: &Context, args: ServeArgs) -> Result<(), Failure> {
    let runtime = runtime()?;
    let signals = {
        let _inside = runtime.enter();
        Signals::catch().map_err(|error| explain(ServeError::Signals(error)))?
    };
    let sources = context.sources(Purpose::Serve).with_variable("KEEPWELL_ROLES", args.roles);
    let loaded = Config::load(&sources)?;
    announce(&loaded);
    init_logs(&loaded.config.log)
        .map_err(|error| Failure::misconfigured("the log cannot be set up", error))?;
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let served = runtime.block_on(serve::run(&loaded, signals));
    runtime.shutdown_timeout(LEFTOVERS_TIMEOUT);
    served.map_err(explain)
}

/// The runtime that the listeners run on.
pub(super) fn runtime() -> Result<Runtime, Failure> {
    let runtime = Builder::new_multi_thread().enable_all().thread_name("keepwell").build();
    runtime.map_err(|error| Failure::because("the system gave no runtime", error))
}

/// Tells of secrets that were made up: in full to a person, and only where they are to a log.
pub(super) fn announce(loaded: &Loaded) {
    let Some(announcement) = loaded.announcement() else { return };
    if io::stderr().is_terminal() {
        say(&announcement);
    } else if let Some(secrets) = &loaded.development_secrets {
        say(&format!("made up secrets for development; they are kept in {}", secrets.path.display()));
    }
}

/// Why the daemon could not start, and whether that is a matter of configuration.
pub(super) fn explain(error: ServeError) -> Failure {
    let misconfigured = matches!(
        error,
        ServeError::Secret(_)
            | ServeError::NoKey
            | ServeError::Tiers(_)
            | ServeError::TiersFile(..)
            | ServeError::Operators(BindError::NotLoopback(_))
    );
    let what = "the daemon cannot run";
    if misconfigured { Failure::misconfigured(what, error) } else { Failure::because(what, error) }
}
