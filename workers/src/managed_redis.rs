//! A private Redis for the lanes: a supervised child on a Unix socket, for whoever has no Redis of their own.
//!
//! It keeps nothing on disk: the lanes are rebuilt from the ledger, so a Redis that starts empty is as good as one that
//! remembers, and no write to a lane waits for a disk. A child that outlived a killed daemon is adopted again.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use redis::Client;
use tokio::{
    process::{Child, Command},
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

/// The longest path that a Unix socket can have on Linux, in bytes.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// How long a child may take until it answers.
const START_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a child may take to end after it was asked to.
const STOP_TIMEOUT: Duration = Duration::from_secs(3);

/// Between two looks at a child that was adopted.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Looks in a row that an adopted child may miss: a machine may be busy, and two servers on one socket are worse than
/// none.
const MISSES_MAX: u32 = 10;

/// The longest wait before a child that keeps ending is started again.
const RESTART_DELAY_MAX: Duration = Duration::from_secs(5);

/// Where the private Redis lives and what it may take.
#[derive(Debug, Clone)]
pub struct ManagedRedisOptions {
    /// The program, `redis-server` on the `PATH` or an absolute path. At least version 6.2 (or Valkey).
    pub binary: PathBuf,
    /// The folder for its socket, pid file and log; made if missing.
    pub folder: PathBuf,
    /// The most memory its data may take, in bytes.
    pub memory_bytes_max: u64,
}

/// The private Redis could not be started.
#[derive(Debug, thiserror::Error)]
pub enum ManagedRedisError {
    /// A Unix socket's path has a limit.
    #[error(
        "the path of the private Redis' socket, {0}, is longer than 107 bytes; choose a shorter `state_dir`"
    )]
    PathTooLong(PathBuf),
    /// The folder cannot be used.
    #[error("the folder {0} cannot be used")]
    Folder(PathBuf, #[source] io::Error),
    /// The program is not there.
    #[error(
        "`{0}` cannot be started; install redis-server (Debian: apt-get install redis-server) or set `redis.url`"
    )]
    Binary(PathBuf, #[source] io::Error),
    /// It started and did not answer.
    #[error("the private Redis did not answer within 10 s; its log is {0}")]
    Silent(PathBuf),
}

/// A running private Redis and its supervisor.
#[derive(Debug)]
pub struct ManagedRedis {
    url: String,
    stop: CancellationToken,
    supervisor: JoinHandle<()>,
}

impl ManagedRedis {
    /// Adopts the Redis that an earlier life left in `options.folder`, or starts one; returns once it answers.
    pub async fn start(options: ManagedRedisOptions) -> Result<Self, ManagedRedisError> {
        let folder = &options.folder;
        make_private(folder).map_err(|error| ManagedRedisError::Folder(folder.clone(), error))?;
        // The child resolves relative paths from its own folder.
        let folder =
            fs::canonicalize(folder).map_err(|error| ManagedRedisError::Folder(folder.clone(), error))?;
        let options = ManagedRedisOptions { folder, ..options };
        let socket = options.folder.join("redis.sock");
        if socket.as_os_str().len() > SOCKET_PATH_BYTES_MAX {
            return Err(ManagedRedisError::PathTooLong(socket));
        }
        let url = format!("unix://{}", socket.display());
        let child = if answers(&url).await {
            tracing::info!("adopted the private Redis of an earlier life");
            None
        } else {
            Some(start_child(&options, &url).await?)
        };
        let stop = CancellationToken::new();
        let supervision = supervise(options, url.clone(), child, stop.clone());
        #[allow(clippy::disallowed_methods)] // Waited for in `stop`.
        let supervisor = tokio::spawn(supervision);
        Ok(Self { url, stop, supervisor })
    }

    /// The address of its socket.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Ends it. Its data goes with it; the ledger has everything.
    pub async fn stop(self) {
        self.stop.cancel();
        if self.supervisor.await.is_err() {
            tracing::warn!("the private Redis' supervisor panicked");
        }
    }
}

fn make_private(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700))
}

async fn answers(url: &str) -> bool {
    let Ok(client) = Client::open(url) else { return false };
    let ping = async {
        let mut connection = client.get_multiplexed_async_connection().await?;
        redis::cmd("PING").exec_async(&mut connection).await
    };
    matches!(timeout(Duration::from_secs(1), ping).await, Ok(Ok(())))
}

async fn start_child(options: &ManagedRedisOptions, url: &str) -> Result<Child, ManagedRedisError> {
    let file = |name: &str| options.folder.join(name);
    let mut child = Command::new(&options.binary)
        .args(["--port", "0", "--unixsocketperm", "700", "--daemonize", "no"])
        .args(["--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction"])
        .arg("--maxmemory")
        .arg(options.memory_bytes_max.to_string())
        .arg("--unixsocket")
        .arg(file("redis.sock"))
        .arg("--pidfile")
        .arg(file("redis.pid"))
        .arg("--dir")
        .arg(&options.folder)
        .arg("--logfile")
        .arg(file("redis.log"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // A Ctrl-C in the terminal is for the daemon alone, which drains first.
        .process_group(0)
        // A daemon that is told to end while it still starts leaves none behind. One that is killed drops nothing.
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| ManagedRedisError::Binary(options.binary.clone(), error))?;
    let deadline = Instant::now() + START_TIMEOUT;
    while !answers(url).await {
        if Instant::now() > deadline || matches!(child.try_wait(), Ok(Some(_))) {
            // Best effort: it may have ended already.
            let _ = child.kill().await;
            return Err(ManagedRedisError::Silent(file("redis.log")));
        }
        sleep(Duration::from_millis(10)).await;
    }
    tracing::info!(pid = child.id(), "started a private Redis");
    Ok(child)
}

/// Starts the child again whenever it has ended, until stopped.
async fn supervise(
    options: ManagedRedisOptions,
    url: String,
    mut child: Option<Child>,
    stop: CancellationToken,
) {
    let mut delay = Duration::from_millis(100);
    loop {
        let lived_from = Instant::now();
        tokio::select! {
            () = stop.cancelled() => return end(&url, child).await,
            () = gone(&url, &mut child) => {}
        }
        if lived_from.elapsed() > Duration::from_secs(60) {
            delay = Duration::from_millis(100);
        }
        tracing::error!("the private Redis has ended; starting it again");
        child = loop {
            match start_child(&options, &url).await {
                Ok(child) => break Some(child),
                Err(error) => tracing::error!(error = %error, "the private Redis cannot be started"),
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(delay) => delay = (delay * 2).min(RESTART_DELAY_MAX),
            }
        };
    }
}

/// Returns when the Redis is gone.
async fn gone(url: &str, child: &mut Option<Child>) {
    if let Some(child) = child {
        // An error here means that there is nothing to wait for.
        let _ = child.wait().await;
        return;
    }
    let mut misses = 0;
    while misses < MISSES_MAX {
        misses = if answers(url).await { 0 } else { misses + 1 };
        sleep(LOOK_EVERY).await;
    }
}

async fn end(url: &str, child: Option<Child>) {
    if let Ok(client) = Client::open(url)
        && let Ok(mut connection) = client.get_multiplexed_async_connection().await
    {
        // It answers by closing the connection, which counts as an error.
        let _: Result<(), _> = redis::cmd("SHUTDOWN").arg("NOSAVE").query_async(&mut connection).await;
    }
    let Some(mut child) = child else { return };
    if timeout(STOP_TIMEOUT, child.wait()).await.is_err() {
        let _ = child.kill().await;
    }
}
