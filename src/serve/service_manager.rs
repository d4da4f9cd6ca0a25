//! What the daemon tells systemd, and what systemd hands to it. Outside systemd all of this does nothing.

use std::{io, time::Duration};

use keepwell_workers::engine::Engine;
use listenfd::ListenFd;
use sd_notify::NotifyState;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Tells that requests are taken.
pub(super) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// Tells that the configuration is being read again. Must be followed by [`ready`].
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!(error = %error, "systemd is not told of the reload"),
    }
}

/// Tells that the daemon is on its way down.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(error = %error, "systemd cannot be told");
    }
}

/// The listening socket that systemd holds for us across restarts, if it handed one over.
pub(super) fn handed_over() -> io::Result<Option<TcpListener>> {
    let Some(listener) = ListenFd::from_env().take_tcp_listener(0)? else { return Ok(None) };
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener).map(Some)
}

/// Tells systemd that the daemon is alive, four times in the watchdog's interval, for as long as the pools' loops
/// really turn: a daemon whose pools stand still is as good as dead, however well its timers run.
pub(super) async fn feed_watchdog(engine: Engine, stop: CancellationToken) {
    let Some(interval) = sd_notify::watchdog_enabled() else { return };
    let mut fed_at_turns: Option<[u64; 2]> = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep((interval / 4).max(Duration::from_millis(50))) => {}
        }
        let turns = engine.turns();
        let alive = match (fed_at_turns, turns) {
            (Some([crisis_before, general_before]), Some([crisis, general])) => {
                crisis > crisis_before && general > general_before
            }
            _ => true,
        };
        if alive {
            tell(&[NotifyState::Watchdog]);
            fed_at_turns = turns;
        } else {
            tracing::warn!("a pool's loop stands still; the watchdog is not fed");
        }
    }
}
