//! The Redis that the daemon looks after itself: one that dies as soon as it is started, and one that is full.

use std::{
    collections::HashMap,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use http::StatusCode;
use tempfile::TempDir;

use super::{
    crash::kill_private_redis,
    private_redis,
    redis_away::{take_what_comes, work_it_off},
};
use crate::support::{daemon::Daemon, eventually};

/// The most memory that its data may take, in bytes.
const MEMORY_BYTES_MAX: u64 = 1 << 30;

/// A program in place of the server, which becomes one only where it finds room.
struct Server(TempDir);

impl Server {
    fn with_room() -> Self {
        let folder = TempDir::with_prefix("keepwell-server-").unwrap();
        let at = folder.path().display();
        let script = format!(
            "#!/bin/sh\ndate +%s%3N >> {at}/starts\n\
             test -e {at}/room || {{ echo no room here; exit 7; }}\nexec redis-server \"$@\"\n"
        );
        let server = Self(folder);
        fs::write(server.program(), script).unwrap();
        fs::set_permissions(server.program(), fs::Permissions::from_mode(0o700)).unwrap();
        fs::write(server.room(), "").unwrap();
        server
    }

    fn program(&self) -> PathBuf {
        self.0.path().join("redis-server")
    }

    fn room(&self) -> PathBuf {
        self.0.path().join("room")
    }

    /// When it was started each time, in milliseconds.
    fn starts(&self) -> Vec<u64> {
        let starts = fs::read_to_string(self.0.path().join("starts")).unwrap_or_default();
        starts.lines().map(|line| line.parse().unwrap()).collect()
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[tokio::test]
async fn a_private_redis_that_dies_at_every_start_is_started_ever_more_slowly_and_stops_nobody() {
    let server = Server::with_room();
    let daemon = Daemon::start_with(&[("KEEPWELL_REDIS__SERVER_BINARY", text(&server.program()))]).await;
    private_redis(&daemon).await;
    fs::remove_file(server.room()).unwrap();
    kill_private_redis(&daemon);
    take_what_comes(&daemon).await;
    let starts = eventually("it has been started five times more", async || {
        let starts = server.starts();
        (starts.len() >= 6).then_some(starts)
    })
    .await;
    // The first of the five comes whenever it was killed. A busy machine only makes waits longer.
    for (place, pair) in starts[1..].windows(2).enumerate() {
        let waited_ms = pair[1] - pair[0];
        assert!(waited_ms >= 100 << place, "{waited_ms} ms after start {place}: {starts:?}");
    }

    let report = daemon.public().get("/health").await;
    assert_eq!(report.status, StatusCode::SERVICE_UNAVAILABLE);
    let report = report.json();
    assert_eq!((&report["status"], &report["dependencies"]["redis"]), (&"degraded".into(), &false.into()));
    assert_eq!(report["crisisSafety"]["crisisSystemHealthy"], true);
    assert_eq!(daemon.public().get("/health/ready").await.status, StatusCode::OK);
    let log = daemon.log();
    assert!(log.contains("exit status: 7") && log.contains("no room here"), "{log}");
    // It is told with the last three lines of what the server said, so as long as those grow.
    let said = log.matches("the private Redis has ended; starting it again").count();
    assert!((1..=4).contains(&said), "for each reason, not for each start: {log}");

    fs::write(server.room(), "").unwrap();
    work_it_off(&daemon).await;
    private_redis(&daemon).await;
}

#[tokio::test]
async fn a_private_redis_that_is_full_stops_nobody_and_is_not_taken_for_a_silent_one() {
    let daemon = Daemon::start().await;
    let mut redis = private_redis(&daemon).await;
    let server = daemon.private_redis().expect("it runs");
    let mut asked = redis::cmd("CONFIG");
    asked.arg("GET").arg("maxmemory*");
    let limits: HashMap<String, String> = asked.query_async(&mut redis).await.unwrap();
    assert_eq!(limits["maxmemory"], MEMORY_BYTES_MAX.to_string());
    assert_eq!(limits["maxmemory-policy"], "noeviction", "it refuses what is new and drops nothing");

    let mut limit = async |bytes: u64| {
        let mut told = redis::cmd("CONFIG");
        told.arg("SET").arg("maxmemory").arg(bytes).exec_async(&mut redis).await.unwrap();
    };
    limit(1).await;
    take_what_comes(&daemon).await;
    eventually("the log says so", async || daemon.log().contains("`maxmemory`").then_some(())).await;
    let owed = daemon.operator().get("/api/v1/jobs?state=owed&limit=1").await.json();
    assert_ne!(owed["total"], 0, "there is no room for them in their lanes");

    limit(MEMORY_BYTES_MAX).await;
    work_it_off(&daemon).await;
    assert_eq!(daemon.private_redis(), Some(server));
    let said = daemon.log().matches("`maxmemory`").count();
    assert!(said <= 2, "at each change, not at each attempt: {}", daemon.log());
}
