//! The daemon that is measured, as a child process on the run's own database and Redis.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    process::Stdio,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    net::TcpStream,
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};

use super::super::{
    Failure,
    rig::{Rig, keys_setting},
};

/// What the senders sign with.
pub(super) const SECRET: &str = "whsec_for_measuring_keepwell_only";

/// What the app signs with.
pub(super) const APP_SECRET: &str = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

/// What those who read show.
pub(super) const TOKEN: &str = "token_for_measuring_keepwell_only";

/// How long the child may take to begin and to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running daemon; killed if it is dropped.
pub(super) struct ChildDaemon {
    process: Child,
    pub(super) address: SocketAddr,
}

impl ChildDaemon {
    /// Starts this very program as a daemon on `rig`; returns once it listens.
    pub(super) async fn start(rig: &Rig, runs_jobs: bool) -> Result<Self, Failure> {
        let address = free_address()?;
        let state = std::path::absolute(rig.folder().join("state"))?;
        let process = Command::new(std::env::current_exe()?)
            .args(["serve", "--roles", if runs_jobs { "receiver,workers" } else { "receiver" }])
            // Nothing that this machine's environment says may change what is measured.
            .env_clear()
            .env("KEEPWELL_STATE_DIR", &state)
            .env("KEEPWELL_SERVER__LISTEN", address.to_string())
            .env("KEEPWELL_DATABASE__URL", rig.database_url()?)
            .env("KEEPWELL_REDIS__URL", rig.redis_url())
            .env("KEEPWELL_REDIS__KEY_PREFIX", rig.prefix())
            .env("KEEPWELL_STRIPE__WEBHOOK_SECRETS", format!("[\"{SECRET}\"]"))
            .env("KEEPWELL_APP__WEBHOOK_SECRETS", format!("[\"{APP_SECRET}\"]"))
            .env("KEEPWELL_ENCRYPTION__KEYS", keys_setting())
            .env("KEEPWELL_ACCESS__TOKENS", format!("[\"{TOKEN}\"]"))
            .env("KEEPWELL_LOG__LEVEL", "warn")
            .env("KEEPWELL_MONITORS__CANARY_EVERY_MS", "0")
            .env("KEEPWELL_REPORTS__PERIODS", "[]")
            .env("KEEPWELL_REPORTS__OPERATIONS_PERIODS", "[]")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let mut daemon = Self { process, address };
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(address).await.is_err() {
            if let Some(status) = daemon.process.try_wait()? {
                return Err(format!("the daemon ended while it started: {status}").into());
            }
            if Instant::now() > deadline {
                return Err("the daemon did not listen within 30 s".into());
            }
            sleep(Duration::from_millis(20)).await;
        }
        Ok(daemon)
    }

    pub(super) fn pid(&self) -> Option<u32> {
        self.process.id()
    }

    /// Lets it end.
    pub(super) async fn stop(&mut self) -> Result<(), Failure> {
        if let Some(pid) = self.pid().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?)) {
            kill_process(pid, Signal::TERM)?;
        }
        timeout(PATIENCE, self.process.wait()).await??;
        Ok(())
    }
}

fn free_address() -> std::io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}
