//! One server process: how it is started, asked, and ended.

use std::{
    fs::{self, File},
    io::{Read as _, Seek as _, SeekFrom},
    path::Path,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use redis::Client;
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};

use super::{ManagedRedisError, ManagedRedisOptions, leftover};

/// How long an answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a server may take to end after it was asked to.
const STOP_TIMEOUT: Duration = Duration::from_secs(3);

/// Between two looks at a server that is not our child, and between two questions while one is awaited.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How often a server is asked whether it is well.
const ASK_EVERY: Duration = Duration::from_millis(500);

/// The log is begun anew at a start when it has grown beyond this, in bytes.
const LOG_BYTES_MAX: u64 = 1 << 20;

/// How much of the end of the log is looked at for a reason, in bytes, and how many lines of it are told.
const LOG_TAIL_BYTES: u64 = 2_048;
const LOG_TAIL_LINES: usize = 3;

/// What Redis and Valkey say of options that they do not know.
const OPTIONS_REFUSED: &str = "FATAL CONFIG FILE ERROR";

/// A server that was started.
#[derive(Debug)]
pub(super) enum Server {
    /// By us.
    Child(Child),
    /// By an earlier life.
    Adopted(Pid),
}

/// How a server came to its end.
#[derive(Debug)]
pub(super) enum Ended {
    /// It was our child, and said this.
    Exited(ExitStatus),
    /// It is not there any more.
    Gone,
    /// It was silent for too long and was ended.
    Silent,
}

/// Starts a server. There must be none in the folder.
pub(super) fn launch(options: &ManagedRedisOptions) -> Result<Server, ManagedRedisError> {
    let file = |name: &str| options.folder.join(name);
    // A log that cannot be written (the disk is full) is no reason to be without a server.
    let log = || open_log(&file("redis.log")).map_or_else(|_| Stdio::null(), Stdio::from);
    let child = Command::new(&options.binary)
        .args(["--port", "0", "--unixsocketperm", "700", "--daemonize", "no"])
        .args(["--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction"])
        // What is in workers' hands is a hash of a few hundred fields, and a packed one is searched from its beginning
        // for each. Under this name servers from 6.2 on know it.
        .args(["--hash-max-ziplist-entries", "16"])
        .arg("--maxmemory")
        .arg(options.memory_bytes_max.to_string())
        .arg("--unixsocket")
        .arg(file("redis.sock"))
        .arg("--pidfile")
        .arg(file("redis.pid"))
        .arg("--dir")
        .arg(&options.folder)
        .args(["--logfile", ""])
        .stdin(Stdio::null())
        .stdout(log())
        .stderr(log())
        .current_dir(&options.folder)
        // A Ctrl-C in the terminal is for the daemon alone, which drains first.
        .process_group(0)
        // A daemon that is told to end while it still starts leaves none behind. One that is killed drops nothing.
        // This module's tests abandon a server by dropping what a killed daemon would leave.
        .kill_on_drop(!cfg!(test))
        .spawn()
        .map_err(|error| ManagedRedisError::Binary(options.binary.clone(), error))?;
    tracing::info!(pid = child.id(), "started a private Redis");
    if let Some(pid) = child.id() {
        // The server writes it too, but only after it has opened its socket; a daemon may be killed in between. Best
        // effort: without the file, the server itself can be asked.
        let _ = fs::write(file("redis.pid"), pid.to_string());
    }
    Ok(Server::Child(child))
}

fn open_log(path: &Path) -> std::io::Result<File> {
    let log = File::options().create(true).append(true).open(path)?;
    if log.metadata()?.len() > LOG_BYTES_MAX {
        log.set_len(0)?;
    }
    Ok(log)
}

/// Whether the server at `url` says anything at all; that it is loading or busy is an answer too.
pub(super) async fn answers(url: &str) -> bool {
    let Ok(client) = Client::open(url) else { return false };
    let ping = async {
        let mut connection = client.get_multiplexed_async_connection().await?;
        redis::cmd("PING").exec_async(&mut connection).await
    };
    match timeout(ANSWER_TIMEOUT, ping).await {
        Ok(Ok(())) => true,
        Ok(Err(error)) => !error.is_io_error(),
        Err(_) => false,
    }
}

/// The process id that the server at `url` gives for itself.
pub(super) async fn process_of(url: &str) -> Option<Pid> {
    let client = Client::open(url).ok()?;
    let asking = async {
        let mut connection = client.get_multiplexed_async_connection().await?;
        redis::cmd("INFO").arg("server").query_async::<String>(&mut connection).await
    };
    let info = timeout(ANSWER_TIMEOUT, asking).await.ok()?.ok()?;
    let pid = info.lines().find_map(|line| line.strip_prefix("process_id:"))?;
    Pid::from_raw(pid.trim().parse().ok()?)
}

impl Server {
    /// Returns when it answers, or with how it ended before it did.
    pub(super) async fn first_answer(&mut self, folder: &Path, url: &str) -> Option<Ended> {
        loop {
            if let Some(ended) = self.ended(folder) {
                return Some(ended);
            }
            if answers(url).await {
                return None;
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Returns when it has ended, by itself or because it was silent for longer than `silence_max`.
    pub(super) async fn watch(&mut self, folder: &Path, url: &str, silence_max: Duration) -> Ended {
        let mut heard = Instant::now();
        let mut asked = heard;
        loop {
            if let Some(ended) = self.ended(folder) {
                return ended;
            }
            if asked.elapsed() >= ASK_EVERY.min(silence_max) {
                if answers(url).await {
                    heard = Instant::now();
                }
                asked = Instant::now();
                if heard.elapsed() > silence_max {
                    self.end_by(Signal::KILL, folder).await;
                    return Ended::Silent;
                }
            }
            match self {
                Server::Child(child) => tokio::select! {
                    _ = child.wait() => {}
                    () = sleep(ASK_EVERY.min(silence_max)) => {}
                },
                Server::Adopted(_) => sleep(LOOK_EVERY).await,
            }
        }
    }

    fn ended(&mut self, folder: &Path) -> Option<Ended> {
        match self {
            Server::Child(child) => child.try_wait().ok().flatten().map(Ended::Exited),
            Server::Adopted(pid) => (!leftover::is_ours(*pid, folder)).then_some(Ended::Gone),
        }
    }

    /// Asks it to end, and sees to it that it does.
    pub(super) async fn end(mut self, folder: &Path) {
        self.end_by(Signal::TERM, folder).await;
    }

    async fn end_by(&mut self, signal: Signal, folder: &Path) {
        for signal in [signal, Signal::KILL] {
            self.send(signal, folder);
            let gone = async {
                while self.ended(folder).is_none() {
                    sleep(LOOK_EVERY).await;
                }
            };
            if timeout(STOP_TIMEOUT, gone).await.is_ok() {
                return;
            }
        }
        tracing::error!("the private Redis cannot be ended");
    }

    fn send(&self, signal: Signal, folder: &Path) {
        let pid = match self {
            // Not waited for yet, so the id is still its own.
            Server::Child(child) => child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?)),
            Server::Adopted(pid) => Some(*pid).filter(|pid| leftover::is_ours(*pid, folder)),
        };
        if let Some(pid) = pid
            && let Err(error) = kill_process(pid, signal)
        {
            tracing::debug!(error = %error, "the private Redis could not be sent a signal");
        }
    }
}

/// Why it ended, as far as its status and the end of its log in `folder` say.
pub(super) fn because(ended: &Ended, folder: &Path) -> String {
    let how = match ended {
        Ended::Exited(status) => status.to_string(),
        Ended::Gone => "its process is gone".to_owned(),
        Ended::Silent => "it did not answer any more and was ended".to_owned(),
    };
    match log_tail(&folder.join("redis.log")) {
        Ok(tail) if !tail.is_empty() => format!("{how}; its log ends with: {tail}"),
        _ => how,
    }
}

/// Whether a server of ours `ended` because it does not know its options. No other one would.
pub(super) fn refuses_options(ended: &Ended, folder: &Path) -> bool {
    matches!(ended, Ended::Exited(status) if !status.success())
        && log_end(&folder.join("redis.log")).is_ok_and(|end| end.contains(OPTIONS_REFUSED))
}

fn log_tail(path: &Path) -> std::io::Result<String> {
    let tail = log_end(path)?;
    let lines: Vec<&str> = tail.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    Ok(lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join(" | "))
}

fn log_end(path: &Path) -> std::io::Result<String> {
    let mut log = File::open(path)?;
    let bytes = log.metadata()?.len();
    log.seek(SeekFrom::Start(bytes.saturating_sub(LOG_TAIL_BYTES)))?;
    let mut tail = Vec::new();
    log.take(LOG_TAIL_BYTES).read_to_end(&mut tail)?;
    Ok(String::from_utf8_lossy(&tail).into_owned())
}
