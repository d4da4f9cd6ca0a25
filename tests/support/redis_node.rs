//! A Redis that is one among others: at a port, with whatever it is told on its command line.

use std::{net::TcpListener, process::Command};

use redis::{Client, FromRedisValue, aio::MultiplexedConnection};
use rustix::process::Signal;
use tempfile::TempDir;

use super::{eventually, process::Process};

/// A running `redis-server` at a port of 127.0.0.1.
#[derive(Debug)]
pub struct Node {
    process: Process,
    // Gone after the process.
    _directory: TempDir,
    port: u16,
    login: &'static str,
}

impl Node {
    /// Starts one with `arguments` besides, and waits until it answers.
    pub async fn start(arguments: &[&str]) -> Self {
        Self::start_with("", arguments, None).await
    }

    /// The same where one has to log in with `login`, which is what stands before an `@`. Where there is a
    /// `configuration` it may be rewritten by the server.
    pub async fn start_with(login: &'static str, arguments: &[&str], configuration: Option<&str>) -> Self {
        let directory = TempDir::with_prefix("keepwell-node-").expect("a temporary directory");
        let port = free_port();
        let mut command = Command::new("redis-server");
        command.current_dir(directory.path());
        if let Some(configuration) = configuration {
            std::fs::write(directory.path().join("redis.conf"), configuration).expect("a directory of ours");
            command.arg("redis.conf");
        }
        command
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--loglevel", "notice"])
            .args(arguments);
        let process = Process::start(command, &directory.path().join("redis.log"), Signal::KILL);
        let node = Self { process, _directory: directory, port, login };
        eventually("a node answers", async || node.try_ask::<String>("PING").await).await;
        node
    }

    /// The port at which it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its answer to `command`, its words separated by blanks.
    pub async fn ask<T: FromRedisValue>(&self, command: &str) -> T {
        words(command)
            .query_async(&mut self.connection().await.expect("it is there"))
            .await
            .unwrap_or_else(|error| panic!("{command} at {}: {error}\n{}", self.port, self.process.log()))
    }

    /// Its answer to `command`, if it has one now.
    pub async fn try_ask<T: FromRedisValue>(&self, command: &str) -> Option<T> {
        words(command).query_async(&mut self.connection().await?).await.ok()
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.process.kill(Signal::KILL);
    }

    async fn connection(&self) -> Option<MultiplexedConnection> {
        let client =
            Client::open(format!("redis://{}127.0.0.1:{}", self.login, self.port)).expect("an address");
        client.get_multiplexed_async_connection().await.ok()
    }
}

/// A port of 127.0.0.1 at which nobody listens.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it is bound").port()
}

fn words(command: &str) -> redis::Cmd {
    let mut words = command.split(' ');
    let mut command = redis::cmd(words.next().expect("a first word"));
    command.arg(words.collect::<Vec<_>>());
    command
}
