//! A start that takes long, is broken off or fails.

use std::{
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::fs::PermissionsExt as _,
};

use rustix::process::{Pid, Signal, test_kill_process};

use crate::support::{eventually, process::Process, service_manager::ServiceManager};

/// A database server that takes connections and says nothing.
struct MuteDatabase(TcpListener);

impl MuteDatabase {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        Self(listener)
    }

    fn url(&self) -> String {
        let address: SocketAddr = self.0.local_addr().unwrap();
        format!("postgres://keepwell@{address}/keepwell?sslmode=disable")
    }

    /// The connection of a daemon that is now in the middle of its start.
    async fn is_asked(&self) -> TcpStream {
        eventually("the database is asked", async || self.0.accept().ok()).await.0
    }
}

async fn starting(manager: &ServiceManager, database: &MuteDatabase) -> (Process, TcpStream) {
    let mut daemon = manager.start();
    let said = manager.hears(&mut daemon, "STATUS=starting: opening the database and Redis").await;
    assert_eq!(said.len(), 1, "{said:?}");
    (daemon, database.is_asked().await)
}

#[tokio::test]
async fn a_daemon_that_is_told_to_stop_while_it_starts_ends_well() {
    let database = MuteDatabase::start();
    let manager = ServiceManager::new().await.with("KEEPWELL_DATABASE__URL", database.url());
    for signal in [Signal::TERM, Signal::INT] {
        let (mut daemon, _connection) = starting(&manager, &database).await;
        assert_eq!(daemon.stop(signal).await.code(), Some(0), "{}", daemon.log());
        let said: Vec<String> = std::iter::from_fn(|| manager.heard()).collect();
        assert_eq!(said, ["STOPPING=1\nSTATUS=told to stop before it was ready"]);
        assert!(!manager.folder().join("operators.sock").exists(), "nothing is left behind");
    }
}

#[tokio::test]
async fn a_reload_that_comes_while_the_daemon_starts_waits_until_it_is_ready() {
    let database = MuteDatabase::start();
    let manager = ServiceManager::new().await.with("KEEPWELL_DATABASE__URL", database.url());
    let (mut daemon, connection) = starting(&manager, &database).await;
    daemon.signal(Signal::HUP);
    daemon.signal(Signal::HUP);
    // The database gives up. The daemon waits for another one, and has not heard of the signal before.
    drop((connection, database));
    let said = manager.hears(&mut daemon, "RELOADING=1").await;
    assert!(said[0].starts_with("READY=1\nSTATUS=waiting for the database"), "{said:?}");
    let said = manager.hears(&mut daemon, "READY=1").await;
    let status = said.last().unwrap();
    assert!(status.contains("the database") && !status.contains("taking requests"), "{status}");
    assert_eq!(daemon.stop(Signal::TERM).await.code(), Some(0), "{}", daemon.log());
    while manager.heard().is_some() {}

    let manager = manager.without("KEEPWELL_DATABASE__URL");
    let mut daemon = manager.start();
    manager.hears(&mut daemon, "STATUS=starting: opening the database and Redis").await;
    daemon.signal(Signal::HUP);
    let said = manager.hears(&mut daemon, "RELOADING=1").await;
    assert!(said[0].starts_with("READY=1"), "{said:?}");
    manager.hears(&mut daemon, "READY=1").await;
}

#[tokio::test]
async fn a_start_that_is_broken_off_leaves_no_redis_behind() {
    let manager = ServiceManager::new().await;
    let (program, pid) = (manager.folder().join("mute-redis"), manager.folder().join("mute-redis.pid"));
    fs::write(
        &program,
        format!("#!/bin/sh\necho $$ > {0}.new && mv {0}.new {0}\nexec sleep 600\n", pid.display()),
    )
    .unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
    let manager = manager
        .without("KEEPWELL_REDIS__URL")
        .with("KEEPWELL_REDIS__SERVER_BINARY", program.to_str().unwrap());
    let mut daemon = manager.start();
    let pid = eventually("the private Redis is started", async || {
        Pid::from_raw(fs::read_to_string(&pid).ok()?.trim().parse().ok()?)
    })
    .await;
    assert_eq!(daemon.stop(Signal::TERM).await.code(), Some(0), "{}", daemon.log());
    eventually("the private Redis is gone", async || test_kill_process(pid).is_err().then_some(())).await;
}

#[tokio::test]
async fn what_is_wrong_about_alerts_ends_the_start_before_anything_is_begun() {
    for (name, value, said) in [
        ("KEEPWELL_ALERTS__TIME_ZONE", "Nowhere/AtAll", "no time zone is called `Nowhere/AtAll`"),
        ("KEEPWELL_ALERTS__DISABLED", r#"["not_a_rule"]"#, "no rule is called `not_a_rule`"),
    ] {
        let manager = ServiceManager::new()
            .await
            .without("KEEPWELL_REDIS__URL")
            .with("KEEPWELL_ALERTS__PAGERDUTY_ROUTING_KEY", "a-routing-key-for-tests-only-0123")
            .with(name, value);
        let mut daemon = manager.start();
        let ended = eventually("it ends", async || daemon.ended()).await;
        assert!(!ended.success() && daemon.log().contains(said), "{}", daemon.log());
        for begun in ["keepwell.db", "redis"] {
            assert!(!manager.folder().join("state").join(begun).exists(), "{begun}");
        }
    }
}
