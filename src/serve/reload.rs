//! SIGHUP: the webhooks' secrets and the networks that may send them are read again and take effect at once;
//! everything else (access tokens, trusted proxies, keys) needs a restart.

use std::{path::PathBuf, sync::Arc};

use keepwell_config::{Config, Purpose, Sources};
use keepwell_jobs::store::audit::{Actor, AuditEntry};
use keepwell_workers::clock::SharedClock;
use tokio::{signal::unix::Signal, sync::watch};
use tokio_util::sync::CancellationToken;

use super::{service_manager::Notifier, sources::refresh};
use crate::{receiver::source::Source, trail::Trail};

/// What `systemctl status` shows after a reload that changed nothing, beside how things stand.
const REFUSED: &str = "the new configuration is wrong and was not taken, the log says why";

/// Reads the configuration again at each SIGHUP, from `file` if the daemon was given one. A configuration that is wrong
/// changes nothing. `systemctl reload` waits until the daemon says that it is ready again; how it stands, `standing`
/// knows.
pub(super) async fn reload_on_hangup(
    mut hangups: Signal,
    file: Option<PathBuf>,
    sources: Vec<Arc<Source>>,
    notifier: Notifier,
    standing: watch::Receiver<String>,
    (trail, clock): (Trail, SharedClock),
    stop: CancellationToken,
) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            hangup = hangups.recv() => if hangup.is_none() { return },
        }
        notifier.reloading();
        let taken = reload(file.clone(), &sources);
        let standing = standing.borrow().clone();
        notifier.ready(&if taken { standing } else { format!("{standing}; {REFUSED}") });
        let entry = AuditEntry {
            at_ms: clock.now_ms(),
            actor: Actor::System { job: "SIGHUP".to_owned() },
            action: if taken { "secrets.reloaded" } else { "secrets.reload_refused" },
            subject: None,
            reason: "the webhooks' secrets and networks were to be read again".to_owned(),
            before: None,
            after: None,
        };
        if let Err(error) = trail.record(&entry).await {
            tracing::error!(error, "a reload is not in the audit trail");
        }
    }
}

/// Whether there was something right to read.
fn reload(file: Option<PathBuf>, sources: &[Arc<Source>]) -> bool {
    match Config::load(&Sources::of_process(file, Purpose::Serve)) {
        Ok(loaded) => match refresh(&loaded.config, sources) {
            Ok(()) => {
                tracing::info!("the webhooks' secrets and networks were read again");
                return true;
            }
            Err(error) => tracing::error!(error = %error, "a secret is wrong; nothing was changed"),
        },
        Err(errors) => {
            tracing::error!(error = %errors, "the configuration is wrong; nothing was changed");
        }
    }
    false
}
