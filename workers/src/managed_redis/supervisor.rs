//! Starts the server again whenever it has ended, until stopped.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::{
    ManagedRedisOptions, leftover,
    server::{self, Server},
};

/// Waits before a server that ended is started again; each is shortened by chance by up to a half.
const DELAY_MIN: Duration = Duration::from_millis(100);
const DELAY_MAX: Duration = Duration::from_secs(5);

/// A server that lived for this long was well.
const WELL_AFTER: Duration = Duration::from_secs(60);

/// What it takes to keep a server.
pub(super) struct Supervisor {
    pub(super) options: ManagedRedisOptions,
    pub(super) url: String,
    pub(super) silence_max: Duration,
    pub(super) stop: CancellationToken,
}

impl Supervisor {
    /// Keeps one server after the other, `server` first if there is one.
    pub(super) async fn run(self, mut server: Option<Server>) {
        let folder = &self.options.folder;
        let (mut delay, mut said) = (DELAY_MIN, String::new());
        loop {
            if let Some(mut server) = server.take() {
                let lived_from = Instant::now();
                let ended = tokio::select! {
                    () = self.stop.cancelled() => return server.end(folder).await,
                    ended = server.watch(folder, &self.url, self.silence_max) => ended,
                };
                if lived_from.elapsed() > WELL_AFTER {
                    (delay, said) = (DELAY_MIN, String::new());
                }
                say(
                    &mut said,
                    &server::because(&ended, folder),
                    "the private Redis has ended; starting it again",
                );
            }
            let next = loop {
                tokio::select! {
                    () = self.stop.cancelled() => return,
                    () = sleep(delay.mul_f64(0.5 + rand::random::<f64>() / 2.0)) => {}
                }
                delay = (delay * 2).min(DELAY_MAX);
                // Never a second one on the same socket.
                if let Some(pid) = leftover::find(folder, &self.url).await {
                    break Server::Adopted(pid);
                }
                match server::launch(&self.options) {
                    Ok(server) => break server,
                    Err(error) => say(&mut said, &error.to_string(), "the private Redis cannot be started"),
                }
            };
            server = Some(next);
        }
    }
}

/// Logs `what` unless it was the last thing that was said, for the same reason: one that ends again and again, every
/// few seconds, would fill the log.
fn say(said: &mut String, because: &str, what: &'static str) {
    // Times and process ids differ each time.
    let gist: String = because.chars().filter(|letter| !letter.is_ascii_digit()).collect();
    if *said != gist {
        tracing::error!(because, "{what}");
        *said = gist;
    }
}
