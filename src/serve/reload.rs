//! SIGHUP: the webhooks' secrets and the networks that may send them are read again and take effect at once;
//! everything else (access tokens, trusted proxies, keys) needs a restart.

use std::{path::PathBuf, sync::Arc};

use keepwell_config::{Config, Purpose, Sources};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{service_manager, sources::refresh};
use crate::receiver::source::Source;

/// Reads the configuration again at each SIGHUP, from `file` if the daemon was given one. A configuration that is wrong
/// changes nothing.
pub(super) async fn reload_on_hangup(
    file: Option<PathBuf>,
    sources: Vec<Arc<Source>>,
    stop: CancellationToken,
) {
    let mut hangups = match signal(SignalKind::hangup()) {
        Ok(hangups) => hangups,
        Err(error) => return tracing::warn!(error = %error, "SIGHUP cannot be waited for"),
    };
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            hangup = hangups.recv() => if hangup.is_none() { return },
        }
        service_manager::reloading();
        match Config::load(&Sources::of_process(file.clone(), Purpose::Serve)) {
            Ok(loaded) => match refresh(&loaded.config, &sources) {
                Ok(()) => tracing::info!("the webhooks' secrets and networks were read again"),
                Err(error) => tracing::error!(error = %error, "nothing was changed"),
            },
            Err(errors) => {
                tracing::error!(error = %errors, "the configuration is wrong; nothing was changed");
            }
        }
        service_manager::ready();
    }
}
