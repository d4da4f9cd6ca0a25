//! A Redis of the test's own, on a Unix socket in a temporary directory, without persistence unless it is asked for.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use rustix::process::Signal;
use tempfile::TempDir;

use super::{eventually, process::Process};

/// A running `redis-server`.
#[derive(Debug)]
pub struct Redis {
    process: Process,
    directory: TempDir,
    memory: Memory,
}

/// What a Redis still knows after it was killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    /// Nothing.
    None,
    /// All but about the last second, from an append-only file.
    Disk,
}

impl Redis {
    /// Starts one without a memory and waits until it answers.
    pub async fn start() -> Self {
        Self::start_with(Memory::None).await
    }

    /// Starts one and waits until it answers.
    pub async fn start_with(memory: Memory) -> Self {
        let directory = TempDir::with_prefix("keepwell-redis-").expect("a temporary directory");
        let redis = Self { process: launch(directory.path(), memory), directory, memory };
        redis.answers().await;
        redis
    }

    /// The address for `redis.url`.
    pub fn url(&self) -> String {
        format!("redis+unix://{}", self.socket().display())
    }

    /// A connection to it.
    pub async fn connection(&self) -> redis::aio::MultiplexedConnection {
        let client = redis::Client::open(self.url()).expect("an address");
        client.get_multiplexed_async_connection().await.expect("a Redis that answers")
    }

    /// Has it carry out `command`, its words separated by blanks.
    pub async fn tell(&self, command: &str) {
        let mut words = command.split(' ');
        let mut sent = redis::cmd(words.next().expect("a first word"));
        sent.arg(words.collect::<Vec<_>>());
        sent.exec_async(&mut self.connection().await)
            .await
            .unwrap_or_else(|error| panic!("{command}: {error}"));
    }

    /// Forgets everything.
    pub async fn flush_all(&self) {
        self.tell("FLUSHALL").await;
    }

    /// `kill -9`. What it held is lost, unless it has a [`Memory`].
    pub fn kill(&mut self) {
        self.process.kill(Signal::KILL);
    }

    /// Ends it as its service manager would, so that one with a [`Memory`] remembers everything.
    pub async fn end(&mut self) {
        self.process.stop(Signal::TERM).await;
    }

    /// Stands still, connections open, until [`Redis::thaw`].
    pub fn freeze(&mut self) {
        self.process.signal(Signal::STOP);
    }

    /// Goes on after [`Redis::freeze`].
    pub fn thaw(&mut self) {
        self.process.signal(Signal::CONT);
    }

    /// Starts again at the same address after [`Redis::kill`].
    pub async fn start_again(&mut self) {
        self.process = launch(self.directory.path(), self.memory);
        self.answers().await;
    }

    /// Takes away what it has on disk. Between [`Redis::kill`] and [`Redis::start_again`].
    pub fn wipe(&self) {
        let kept = self.directory.path().join("appendonlydir");
        if kept.exists() {
            std::fs::remove_dir_all(kept).expect("it is ours");
        }
    }

    /// Where it listens.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("redis.sock")
    }

    async fn answers(&self) {
        let client = redis::Client::open(self.url()).expect("an address");
        eventually("Redis answers", async || {
            let mut connection = client.get_multiplexed_async_connection().await.ok()?;
            redis::cmd("PING").query_async::<String>(&mut connection).await.ok()
        })
        .await;
    }
}

fn launch(directory: &Path, memory: Memory) -> Process {
    let mut command = Command::new("redis-server");
    command
        .current_dir(directory)
        .args(["--port", "0", "--unixsocket", "redis.sock", "--save", "", "--appendfsync", "everysec"])
        .args(["--appendonly", if memory == Memory::Disk { "yes" } else { "no" }])
        .args(["--daemonize", "no", "--loglevel", "warning"]);
    Process::start(command, &directory.join("redis.log"), Signal::KILL)
}

#[tokio::test]
async fn a_redis_that_was_killed_comes_back_empty_at_the_same_address() {
    let mut redis = Redis::start().await;
    let mut connection = redis.connection().await;
    redis::cmd("SET").arg("here").arg(1).exec_async(&mut connection).await.unwrap();

    redis.kill();
    redis.start_again().await;

    let mut connection = redis.connection().await;
    let here: Option<i64> = redis::cmd("GET").arg("here").query_async(&mut connection).await.unwrap();
    assert_eq!(here, None);
}
