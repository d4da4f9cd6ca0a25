//! What the daemon tells systemd, and what systemd hands to it. Outside systemd all of this does nothing.

use std::{
    ffi::OsStr,
    io,
    os::{
        linux::net::SocketAddrExt as _,
        unix::{
            ffi::OsStrExt as _,
            net::{SocketAddr, UnixDatagram},
        },
    },
    time::Duration,
};

use keepwell_config::Supervision;
use listenfd::ListenFd;
use rustix::time::{ClockId, clock_gettime};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// How long a message may wait for a service manager that is busy.
const SEND_TIMEOUT: Duration = Duration::from_secs(1);

/// The watchdog is never fed more often than this.
const FEED_PAUSE_MIN: Duration = Duration::from_millis(50);

/// The way to the service manager. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Notifier {
    socket: Option<SocketAddr>,
    watchdog: Option<Duration>,
}

impl Notifier {
    /// The way to whoever started this process.
    pub(super) fn of_process() -> Self {
        Self::of(Supervision::of_process())
    }

    fn of(supervision: Supervision) -> Self {
        let socket = supervision.notify_socket.and_then(|name| match address(&name) {
            Ok(address) => Some(address),
            Err(error) => {
                tracing::warn!(error = %error, "the service manager's socket (NOTIFY_SOCKET) cannot be used");
                None
            }
        });
        Self { socket, watchdog: supervision.watchdog }
    }

    /// Whether anybody listens.
    pub(super) fn is_heard(&self) -> bool {
        self.socket.is_some()
    }

    /// Tells that requests are taken, and how things stand.
    pub(super) fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\nSTATUS={}", line(status)));
    }

    /// Tells how things stand: what `systemctl status` shows.
    pub(super) fn status(&self, status: &str) {
        self.tell(&format!("STATUS={}", line(status)));
    }

    /// Tells that the configuration is being read again. Must be followed by [`Notifier::ready`].
    pub(super) fn reloading(&self) {
        // systemd tells by it which reload this belongs to; no other clock will do.
        let now = clock_gettime(ClockId::Monotonic);
        let now_us = now.tv_sec * 1_000_000 + now.tv_nsec / 1_000;
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={now_us}"));
    }

    /// Tells that the daemon is on its way down.
    pub(super) fn stopping(&self, status: &str) {
        self.tell(&format!("STOPPING=1\nSTATUS={}", line(status)));
    }

    /// Tells that the daemon is alive, four times in the interval that the watchdog asks for, as long as all of its
    /// loops really turn, as often as `turns` says: a daemon whose pools stand still, or that lets nobody in, is as
    /// good as dead, however well its timers run.
    pub(super) async fn feed_watchdog<const LOOPS: usize>(
        self,
        turns: impl Fn() -> [u64; LOOPS],
        stop: CancellationToken,
    ) {
        let Some(interval) = self.watchdog else { return };
        let mut fed_at_turns: Option<[u64; LOOPS]> = None;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep((interval / 4).max(FEED_PAUSE_MIN)) => {}
            }
            let turns = turns();
            let alive =
                fed_at_turns.is_none_or(|before| before.iter().zip(&turns).all(|(before, now)| now > before));
            if alive {
                self.tell("WATCHDOG=1");
                fed_at_turns = Some(turns);
            } else {
                tracing::warn!("a loop of a pool or of the receiver stands still; the watchdog is not fed");
            }
        }
    }

    fn tell(&self, message: &str) {
        let Some(address) = &self.socket else { return };
        let sent = UnixDatagram::unbound().and_then(|socket| {
            socket.set_write_timeout(Some(SEND_TIMEOUT))?;
            socket.send_to_addr(message.as_bytes(), address)
        });
        if let Err(error) = sent {
            tracing::debug!(error = %error, "the service manager cannot be told");
        }
    }
}

/// Where `name` leads: a path, or a name in the abstract namespace after an `@`.
fn address(name: &OsStr) -> io::Result<SocketAddr> {
    match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        [b'/', ..] => SocketAddr::from_pathname(name),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "neither an absolute path nor an @name")),
    }
}

/// A line break would begin another message.
fn line(text: &str) -> String {
    text.replace('\n', " ")
}

/// The listening socket that systemd holds for us across restarts, if it handed one over.
pub(super) fn handed_over() -> io::Result<Option<TcpListener>> {
    let Some(listener) = ListenFd::from_env().take_tcp_listener(0)? else { return Ok(None) };
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener).map(Some)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    fn listening(name: &OsStr, watchdog: Option<Duration>) -> (UnixDatagram, Notifier) {
        let socket = UnixDatagram::bind_addr(&address(name).unwrap()).unwrap();
        socket.set_nonblocking(true).unwrap();
        (socket, Notifier::of(Supervision { notify_socket: Some(name.to_owned()), watchdog }))
    }

    fn heard(socket: &UnixDatagram) -> Vec<String> {
        let mut buffer = [0; 4_096];
        let mut next = || socket.recv(&mut buffer).ok().map(|length| buffer[..length].to_vec());
        std::iter::from_fn(&mut next).map(|message| String::from_utf8(message).unwrap()).collect()
    }

    #[test]
    fn messages_reach_a_path_and_an_abstract_name() {
        let folder = tempfile::tempdir().unwrap();
        let abstract_name = format!("@keepwell-{}", folder.path().display());
        for name in [folder.path().join("notify").into_os_string(), abstract_name.into()] {
            let (socket, notifier) = listening(&name, None);
            assert!(notifier.is_heard());
            notifier.ready("all\nwell");
            notifier.stopping("done");
            assert_eq!(heard(&socket), ["READY=1\nSTATUS=all well", "STOPPING=1\nSTATUS=done"]);
        }
    }

    #[test]
    fn an_address_that_is_none_is_nobody() {
        for name in ["vsock:2:1234", "relative"] {
            let notifier = Notifier::of(Supervision { notify_socket: Some(name.into()), watchdog: None });
            assert!(!notifier.is_heard());
            notifier.ready("to nobody");
        }
    }

    #[tokio::test]
    async fn the_watchdog_is_fed_only_while_every_loop_turns() {
        let folder = tempfile::tempdir().unwrap();
        let (socket, notifier) =
            listening(folder.path().join("notify").as_os_str(), Some(Duration::from_millis(4)));
        // At each look both loops have turned, then only the first, only the second, none, and both again.
        let script = [[1, 1], [2, 2], [3, 2], [3, 2], [2, 3], [2, 2], [3, 3]];
        let (looks, stop) = (AtomicU64::new(0), CancellationToken::new());
        let turns = || {
            let look = usize::try_from(looks.fetch_add(1, Ordering::SeqCst)).unwrap();
            if look + 1 == script.len() {
                stop.cancel();
            }
            script[look]
        };
        notifier.feed_watchdog(turns, stop.clone()).await;
        assert_eq!(heard(&socket), ["WATCHDOG=1"; 3], "at the first two looks and at the last");
    }

    #[tokio::test]
    async fn without_a_watchdog_nobody_is_fed() {
        let folder = tempfile::tempdir().unwrap();
        let (socket, notifier) = listening(folder.path().join("notify").as_os_str(), None);
        notifier.feed_watchdog(|| [0], CancellationToken::new()).await;
        assert_eq!(heard(&socket), [""; 0]);
    }
}
