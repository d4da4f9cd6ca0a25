//! A private Redis for the lanes: a supervised child on a Unix socket, for whoever has no Redis of their own.
//!
//! It keeps nothing on disk: the lanes are rebuilt from the ledger, so a Redis that starts empty is as good as one that
//! remembers, no write to a lane waits for a disk, and a full disk stops nothing. A child that outlived a killed
//! daemon is adopted again. There is never a second one on the same socket: whoever is there is waited for, and
//! ended by its process id if it stays silent, before another is started.

mod leftover;
mod server;
mod supervisor;

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::io::Errno;
use tokio::{task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;

use server::Server;
use supervisor::Supervisor;

/// The longest path that a Unix socket can have on Linux, in bytes.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// How long the start waits for the first answer; whoever needs longer is waited for by the supervisor.
const FIRST_ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a server may be silent before it is given up. A machine may be busy, and an interruption costs little
/// while it lasts: events are recorded, and crisis jobs run from the ledger.
const SILENCE_MAX: Duration = Duration::from_secs(10);

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
    /// It does not know an option that it was given.
    #[error("`redis.server_binary` does not take the options of a Redis from version 6.2 on: {because}")]
    Options {
        /// Its exit status and the last that it wrote.
        because: String,
    },
}

impl ManagedRedisError {
    /// Whether the same may well work a moment later: the machine had nothing to spare.
    fn is_passing(&self) -> bool {
        use io::ErrorKind::{ExecutableFileBusy, Interrupted, OutOfMemory, ResourceBusy, WouldBlock};
        let Self::Binary(_, error) = self else { return false };
        let no_file_left = [Errno::MFILE, Errno::NFILE].map(|errno| Some(errno.raw_os_error()));
        matches!(error.kind(), ExecutableFileBusy | Interrupted | OutOfMemory | ResourceBusy | WouldBlock)
            || no_file_left.contains(&error.raw_os_error())
    }
}

/// A running private Redis and its supervisor.
#[derive(Debug)]
pub struct ManagedRedis {
    url: String,
    stop: CancellationToken,
    supervisor: JoinHandle<()>,
}

impl ManagedRedis {
    /// Adopts the Redis that an earlier life left in `options.folder`, or starts one. Returns once it answers, or after
    /// two seconds: nobody who has something to record waits for a Redis that is slow. One that ends instead is started
    /// again and again, as it is later.
    pub async fn start(options: ManagedRedisOptions) -> Result<Self, ManagedRedisError> {
        Self::start_with(options, SILENCE_MAX).await
    }

    async fn start_with(
        options: ManagedRedisOptions,
        silence_max: Duration,
    ) -> Result<Self, ManagedRedisError> {
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
        let server = match leftover::find(&options.folder, &url).await {
            Some(pid) => {
                tracing::info!(
                    pid = pid.as_raw_nonzero().get(),
                    "adopted the private Redis of an earlier life"
                );
                Some(Server::Adopted(pid))
            }
            None => match server::launch(&options) {
                Err(error) if !error.is_passing() => return Err(error),
                launched => launched.inspect_err(|error| later(&error.to_string())).ok(),
            },
        };
        let server = match server {
            Some(server) => Some(answering(server, &options.folder, &url).await?),
            None => None,
        };
        let stop = CancellationToken::new();
        let supervision = Supervisor { options, url: url.clone(), silence_max, stop: stop.clone() };
        #[allow(clippy::disallowed_methods)] // Waited for in `stop`.
        let supervisor = tokio::spawn(supervision.run(server));
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

/// `server`, once it has answered, has ended or was waited for long enough: what becomes of it then is for the
/// supervisor to see. Only one that refuses its options will never be another.
async fn answering(mut server: Server, folder: &Path, url: &str) -> Result<Server, ManagedRedisError> {
    match timeout(FIRST_ANSWER_TIMEOUT, server.first_answer(folder, url)).await {
        Ok(Some(ended)) if server::refuses_options(&ended, folder) => {
            return Err(ManagedRedisError::Options { because: server::because(&ended, folder) });
        }
        Ok(Some(ended)) => later(&server::because(&ended, folder)),
        Ok(None) => {}
        Err(_) => later("it does not answer yet"),
    }
    Ok(server)
}

fn later(because: &str) {
    tracing::warn!(because, "the private Redis is not there; going on without it until it is");
}

fn make_private(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700))
}

#[cfg(test)]
mod tests;
