//! A service manager of the test's own: it speaks systemd's protocols to the real daemon. It holds the public listener,
//! hands it over as descriptor 3, and hears what the daemon has to say.

use std::{
    net::{SocketAddr, TcpListener},
    os::{
        fd::OwnedFd,
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr as UnixAddress, UnixDatagram},
    },
    path::Path,
    process::{Command, Stdio},
};

use rustix::process::Signal;
use tempfile::TempDir;

use super::{
    daemon::ACCESS_TOKEN,
    door::{STRIPE_SECRET, app_secret},
    eventually,
    http::Client,
    process::Process,
    redis::Redis,
};

/// Makes standard input descriptor 3, as systemd hands sockets over, and becomes the daemon.
const HAND_OVER: &str = "exec 3<&0 </dev/null; LISTEN_PID=$$ exec \"$0\" serve";

/// Starts the daemon as a service.
pub struct ServiceManager {
    listener: TcpListener,
    notifications: UnixDatagram,
    environment: Vec<(String, String)>,
    // Gone with the manager.
    _redis: Redis,
    state: TempDir,
}

impl ServiceManager {
    /// One that is spoken to at a path.
    pub async fn new() -> Self {
        Self::listening(|state| state.join("notify").display().to_string()).await
    }

    /// One that is spoken to at a name in the abstract namespace.
    pub async fn with_abstract_socket() -> Self {
        Self::listening(|state| format!("@{}", state.display())).await
    }

    async fn listening(name: impl Fn(&Path) -> String) -> Self {
        let state = TempDir::with_prefix("keepwell-service-").expect("a temporary directory");
        let redis = Redis::start().await;
        let name = name(state.path());
        let address = match name.strip_prefix('@') {
            Some(name) => UnixAddress::from_abstract_name(name),
            None => UnixAddress::from_pathname(&name),
        };
        let notifications = UnixDatagram::bind_addr(&address.expect("an address")).expect("a socket");
        notifications.set_nonblocking(true).expect("a socket that does not block");
        let path = |name: &str| state.path().join(name).display().to_string();
        let environment = [
            ("NOTIFY_SOCKET", name),
            ("LISTEN_FDS", "1".to_owned()),
            ("LISTEN_FDNAMES", "keepwell.socket".to_owned()),
            ("KEEPWELL_STATE_DIR", path("state")),
            ("KEEPWELL_OPERATORS__LISTEN", "127.0.0.1:0".to_owned()),
            ("KEEPWELL_OPERATORS__SOCKET", path("operators.sock")),
            ("KEEPWELL_REDIS__URL", redis.url()),
            ("KEEPWELL_STRIPE__WEBHOOK_SECRETS", STRIPE_SECRET.to_owned()),
            ("KEEPWELL_APP__WEBHOOK_SECRETS", app_secret()),
            ("KEEPWELL_ACCESS__TOKENS", ACCESS_TOKEN.to_owned()),
            // A crisis that is held up on purpose, or by a busy machine, is no violation to be recorded.
            ("KEEPWELL_CARE__CRISIS_RESPONSE_MS", "60000".to_owned()),
        ];
        Self {
            listener: TcpListener::bind("127.0.0.1:0").expect("a free port"),
            notifications,
            environment: environment.map(|(name, value)| (name.to_owned(), value)).to_vec(),
            _redis: redis,
            state,
        }
    }

    /// Gives the service a further variable, or another value of one.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self = self.without(name);
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    /// Takes a variable of the service's away.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.environment.retain(|(known, _)| known != name);
        self
    }

    /// A folder of the test's own, gone when it ends.
    pub fn folder(&self) -> &Path {
        self.state.path()
    }

    /// Where the public listener is, whether or not the daemon runs.
    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().expect("its address")
    }

    /// A client of the public listener.
    pub fn public(&self) -> Client {
        Client::of(self.address())
    }

    /// A client of the operators' Unix socket.
    pub fn operator(&self) -> Client {
        Client::of_socket(self.state.path().join("operators.sock"))
    }

    /// Starts the daemon and hands the listener over.
    pub fn start(&self) -> Process {
        let mut command = Command::new("sh");
        command.args(["-c", HAND_OVER, env!("CARGO_BIN_EXE_keepwell")]);
        // The environment is the whole configuration: nothing that the machine happens to set may leak in.
        #[allow(clippy::disallowed_methods)]
        let path = std::env::var_os("PATH").unwrap_or_default();
        command.env_clear().env("PATH", path).current_dir(self.state.path());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        let listener = OwnedFd::from(self.listener.try_clone().expect("a second handle"));
        Process::start_on(Stdio::from(listener), command, &self.state.path().join("daemon.log"), Signal::KILL)
    }

    /// Starts the daemon and waits until it says that it is ready.
    pub async fn start_ready(&self) -> Process {
        let mut process = self.start();
        self.hears(&mut process, "READY=1").await;
        process
    }

    /// What the daemon says next, if it has said anything.
    pub fn heard(&self) -> Option<String> {
        let mut buffer = [0; 8_192];
        let length = self.notifications.recv(&mut buffer).ok()?;
        Some(String::from_utf8(buffer[..length].to_vec()).expect("UTF-8"))
    }

    /// Waits until the daemon says `line`; answers with everything it has said since it was last asked, in order. Fails
    /// the test if it ends without.
    pub async fn hears(&self, process: &mut Process, line: &str) -> Vec<String> {
        let mut messages = Vec::new();
        eventually(&format!("the daemon says {line}"), async || {
            let ended = process.ended();
            while let Some(message) = self.heard() {
                let awaited = message.lines().any(|said| said == line);
                messages.push(message);
                if awaited {
                    return Some(());
                }
            }
            assert!(ended.is_none(), "it ended without saying {line}: {messages:?}\n{}", process.log());
            None
        })
        .await;
        messages
    }
}
