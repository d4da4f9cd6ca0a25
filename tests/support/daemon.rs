//! The daemon itself: the binary that was just built, in a state directory of its own, on free ports.

use std::{
    ffi::OsString,
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
    process::{Command, ExitStatus, Output},
};

use bytes::Bytes;
use http::{Method, StatusCode};
use rand::Rng;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::{
    door::{Door, STRIPE_SECRET, app_secret},
    eventually,
    http::{Answer, Client},
    process::Process,
};

/// The bearer token that may read access documents and device mailboxes.
pub const ACCESS_TOKEN: &str = "access-token-for-tests";

/// The bearer token of the emergency endpoints.
pub const EMERGENCY_TOKEN: &str = "emergency-token-for-tests";

/// A running daemon. It is killed, and its state removed, when it goes out of scope.
#[derive(Debug)]
pub struct Daemon {
    process: Process,
    state: TempDir,
    listen: SocketAddr,
    environment: Vec<(String, String)>,
}

impl Daemon {
    /// Starts one on nothing but its own SQLite and private Redis.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Starts one with further settings, by their environment names, and waits until it is ready.
    pub async fn start_with(settings: &[(&str, &str)]) -> Self {
        let state = TempDir::with_prefix("keepwell-state-").expect("a temporary directory");
        let listen = free_address();
        let mut environment = vec![
            ("KEEPWELL_STATE_DIR".to_owned(), state.path().display().to_string()),
            ("KEEPWELL_SERVER__LISTEN".to_owned(), listen.to_string()),
            ("KEEPWELL_OPERATORS__LISTEN".to_owned(), free_address().to_string()),
            (
                "KEEPWELL_OPERATORS__SOCKET".to_owned(),
                state.path().join("operators.sock").display().to_string(),
            ),
            ("KEEPWELL_STRIPE__WEBHOOK_SECRETS".to_owned(), format!("[\"{STRIPE_SECRET}\"]")),
            ("KEEPWELL_APP__WEBHOOK_SECRETS".to_owned(), format!("[\"{}\"]", app_secret())),
            ("KEEPWELL_ACCESS__TOKENS".to_owned(), format!("[\"{ACCESS_TOKEN}\"]")),
            ("KEEPWELL_EMERGENCY__TOKEN".to_owned(), EMERGENCY_TOKEN.to_owned()),
            // A crisis that is answered late becomes worse, and a busy machine is no reason for a test to fail.
            ("KEEPWELL_CARE__CRISIS_RESPONSE_MS".to_owned(), "60000".to_owned()),
            // Jobs that come by themselves would be counted with those that a test is about.
            ("KEEPWELL_MONITORS__CANARY_EVERY_MS".to_owned(), "0".to_owned()),
            ("KEEPWELL_REPORTS__PERIODS".to_owned(), "[]".to_owned()),
            ("KEEPWELL_REPORTS__OPERATIONS_PERIODS".to_owned(), "[]".to_owned()),
        ];
        environment.extend(settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let process = launch(&environment, state.path());
        let mut daemon = Self { process, state, listen, environment };
        daemon.is_ready().await;
        daemon
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Where the public listener is.
    pub fn public_address(&self) -> SocketAddr {
        self.listen
    }

    /// A client of the public listener, without a token.
    pub fn public(&self) -> Client {
        Client::of(self.listen)
    }

    /// A client of the public listener that may read access documents and mailboxes.
    pub fn reader(&self) -> Client {
        self.public().with_token(ACCESS_TOKEN)
    }

    /// A client of the operators' Unix socket.
    pub fn operator(&self) -> Client {
        Client::of_socket(self.state.path().join("operators.sock"))
    }

    /// Where it keeps what it keeps.
    pub fn state_dir(&self) -> &Path {
        self.state.path()
    }

    /// Everything it has logged so far, over all its lives.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Where webhooks are delivered, also while the daemon is down.
    pub fn door(&self) -> Door {
        Door::of(self.public())
    }

    /// Delivers `event` as Stripe would; an error if no answer came.
    pub async fn stripe(&self, event: &Value) -> std::io::Result<Answer> {
        self.door().stripe(event).await
    }

    /// Delivers the app's `signal` under the message id `id`; an error if no answer came.
    pub async fn app(&self, id: &str, signal: &Value) -> std::io::Result<Answer> {
        self.door().app(id, signal).await
    }

    /// The access document of `customer`. Asked for again a few times if it is the floor: a busy machine may keep the
    /// database waiting for longer than an app can wait.
    pub async fn access(&self, customer: &str) -> Value {
        let ask = async || {
            let answer = self.reader().get(&format!("/v1/customers/{customer}/access")).await;
            assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
            answer
        };
        let mut answer = ask().await;
        for _ in 0..5 {
            if answer.header("keepwell-fallback").is_empty() {
                break;
            }
            answer = ask().await;
        }
        answer.json()
    }

    /// Runs `keepwell` with `arguments` beside the daemon, configured as it is.
    pub fn keepwell(&self, arguments: &[&str]) -> Output {
        let environment: Vec<(&str, &str)> =
            self.environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        keepwell(&environment, self.state.path(), arguments)
    }

    /// Changes a setting, by its environment name; the next start has it.
    pub fn set(&mut self, name: &str, value: &str) {
        self.environment.retain(|(known, _)| known != name);
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Its process.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.process.id().cast_signed()).expect("a process has a number")
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.process.kill(Signal::KILL);
    }

    /// Stands still, connections open, until [`Daemon::thaw`].
    pub fn freeze(&mut self) {
        self.process.signal(Signal::STOP);
    }

    /// Goes on after [`Daemon::freeze`].
    pub fn thaw(&mut self) {
        self.process.signal(Signal::CONT);
    }

    /// Asks it to stop (SIGTERM) and waits until it has.
    pub async fn stop(&mut self) -> ExitStatus {
        self.process.stop(Signal::TERM).await
    }

    /// Starts it again on the same state and at the same addresses, and waits until it is ready.
    pub async fn start_again(&mut self) {
        self.process = launch(&self.environment, self.state.path());
        self.is_ready().await;
    }

    /// The private Redis it started or adopted, if it has one.
    pub fn private_redis(&self) -> Option<Pid> {
        let entries = self.state.path().read_dir().ok()?.flatten();
        let text =
            entries.into_iter().find_map(|entry| fs::read_to_string(entry.path().join("redis.pid")).ok())?;
        Pid::from_raw(text.trim().parse().ok()?)
    }

    async fn is_ready(&mut self) {
        let client = self.public();
        eventually("the daemon is ready", async || {
            if let Some(status) = self.process.ended() {
                panic!("the daemon ended while it started: {status}");
            }
            let answer = client.try_call(Method::GET, "/health/ready", &[], Bytes::new()).await.ok()?;
            (answer.status == StatusCode::OK).then_some(())
        })
        .await;
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // A private Redis is meant to outlive a daemon that was killed, so it is killed after it.
        self.process.kill(Signal::KILL);
        if let Some(redis) = self.private_redis() {
            let _ = kill_process(redis, Signal::KILL);
        }
    }
}

/// Runs `keepwell` with `arguments` in `directory`, with nothing but `environment` for its configuration.
pub fn keepwell(environment: &[(&str, &str)], directory: &Path, arguments: &[&str]) -> Output {
    command(environment.iter().copied(), directory).args(arguments).output().expect("the binary")
}

fn launch(environment: &[(String, String)], state: &Path) -> Process {
    let mut command = command(environment.iter().map(|(name, value)| (name.as_str(), value.as_str())), state);
    command.arg("serve");
    Process::start(command, &state.join("daemon.log"), Signal::KILL)
}

fn command<'e>(environment: impl IntoIterator<Item = (&'e str, &'e str)>, directory: &Path) -> Command {
    let mut command = Command::new(program());
    // The environment is the whole configuration: nothing that the machine happens to set may leak in.
    #[allow(clippy::disallowed_methods)]
    let path = std::env::var_os("PATH").unwrap_or_default();
    command.env_clear().env("PATH", path).envs(environment).current_dir(directory);
    command
}

/// The program under test: the one that was built with the tests, or the one that `KEEPWELL_TEST_DAEMON` names. The
/// chaos suite's long form names the optimised one, because times are for the program that people run.
#[allow(clippy::disallowed_methods)]
fn program() -> OsString {
    std::env::var_os("KEEPWELL_TEST_DAEMON").unwrap_or_else(|| env!("CARGO_BIN_EXE_keepwell").into())
}

/// An address that was free a moment ago, on a port from which the system makes no connections of its own: a client
/// that knocks again and again while the daemon is down would sooner or later take the port, or even reach itself.
fn free_address() -> SocketAddr {
    let mut random = rand::rng();
    let mut ports = std::iter::repeat_with(|| random.random_range(10_000..30_000));
    let free = ports.find_map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok());
    free.expect("endless attempts").local_addr().expect("its address")
}
