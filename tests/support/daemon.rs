//! The daemon itself: the binary that was just built, in a state directory of its own, on free ports.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
    process::{Command, ExitStatus, Output},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{Method, StatusCode};
use keepwell_workers::clock::{Clock, SystemClock};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::{
    eventually,
    http::{Answer, Client},
    process::Process,
    sign,
};

/// The secret that signs Stripe's events; to Stripe's scheme it is text.
pub const STRIPE_SECRET: &str = "whsec_a_secret_for_tests_and_nothing_else";

/// What the app's secret holds; Standard Webhooks carry it in base64.
const APP_KEY: &[u8; 32] = b"thirty-two bytes, only for tests";

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
        ];
        environment.extend(settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let process = launch(&environment, state.path());
        let mut daemon = Self { process, state, listen, environment };
        daemon.is_ready().await;
        daemon
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

    /// Delivers `event` as Stripe would; an error if no answer came.
    pub async fn stripe(&self, event: &Value) -> std::io::Result<Answer> {
        let body = event.to_string();
        let headers = [
            ("content-type", "application/json; charset=utf-8".to_owned()),
            ("stripe-signature", sign::stripe(STRIPE_SECRET, now_s(), body.as_bytes())),
        ];
        self.public().try_call(Method::POST, "/api/webhooks/stripe", &headers, Bytes::from(body)).await
    }

    /// Delivers the app's `signal` under the message id `id`; an error if no answer came.
    pub async fn app(&self, id: &str, signal: &Value) -> std::io::Result<Answer> {
        let body = signal.to_string();
        let mut headers = vec![("content-type", "application/json".to_owned())];
        headers.extend(sign::standard_webhooks(&app_secret(), id, now_s(), body.as_bytes()));
        self.public().try_call(Method::POST, "/api/webhooks/app", &headers, Bytes::from(body)).await
    }

    /// The access document of `customer`.
    pub async fn access(&self, customer: &str) -> Value {
        let answer = self.reader().get(&format!("/v1/customers/{customer}/access")).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        answer.json()
    }

    /// Runs `keepwell` with `arguments` beside the daemon, configured as it is.
    pub fn keepwell(&self, arguments: &[&str]) -> Output {
        let mut command = command(&self.environment, self.state.path());
        command.args(arguments).output().expect("the binary")
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.process.kill(Signal::KILL);
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

fn launch(environment: &[(String, String)], state: &Path) -> Process {
    let mut command = command(environment, state);
    command.arg("serve");
    Process::start(command, &state.join("daemon.log"), Signal::KILL)
}

fn command(environment: &[(String, String)], directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keepwell"));
    // The environment is the whole configuration: nothing that the machine happens to set may leak in.
    #[allow(clippy::disallowed_methods)]
    let path = std::env::var_os("PATH").unwrap_or_default();
    command.env_clear().env("PATH", path).envs(environment.iter().cloned()).current_dir(directory);
    command
}

/// An address that was free a moment ago.
fn free_address() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("its address")
}

fn app_secret() -> String {
    format!("whsec_{}", STANDARD.encode(APP_KEY))
}

fn now_s() -> i64 {
    SystemClock.now_ms() / 1000
}
