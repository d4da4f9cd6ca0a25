//! Starts the server again whenever it has ended, until stopped.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::{
    ManagedRedisOptions, leftover,
    server::{self, Server},
};
use crate::backoff::Backoff;

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
        let (mut backoff, mut said) = (Backoff::new(DELAY_MIN, DELAY_MAX), String::new());
        loop {
            if let Some(mut server) = server.take() {
                let lived_from = Instant::now();
                let ended = tokio::select! {
                    () = self.stop.cancelled() => return server.end(folder).await,
                    ended = server.watch(folder, &self.url, self.silence_max) => ended,
                };
                if lived_from.elapsed() > WELL_AFTER {
                    backoff.reset();
                    said.clear();
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
                    () = sleep(backoff.next()) => {}
                }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_ends_again_and_again_is_started_at_once_at_first_and_then_every_few_seconds() {
        let mut backoff = Backoff::new(DELAY_MIN, DELAY_MAX);
        let waited: Vec<Duration> = (0..1_000).map(|_| backoff.next()).collect();
        assert!(waited[0] <= DELAY_MIN && waited[0] >= DELAY_MIN / 2, "{waited:?}");
        assert!(waited[..6].is_sorted_by(|one, next| *next <= *one * 4), "no leap");
        assert!(waited[6..].iter().all(|wait| *wait >= DELAY_MAX / 2 && *wait <= DELAY_MAX), "{waited:?}");
        assert_ne!(waited[998], waited[999], "two daemons of one machine part");
    }
}
