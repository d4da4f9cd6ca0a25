//! What the supervisor does with servers that are slow, silent, or no longer there.

use std::{
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use super::{ManagedRedis, ManagedRedisError, ManagedRedisOptions, leftover, server};

/// A folder in which nothing runs any more when it goes, also if the test has failed.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(TempDir::with_prefix("keepwell-redis-").unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        kill_all_in(&self.path().join("redis"));
    }
}

fn kill_all_in(folder: &Path) {
    let Ok(works_in) = folder.canonicalize() else { return };
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let pid = entry.file_name().to_str().and_then(|name| Pid::from_raw(name.parse().ok()?));
        if let Some(pid) = pid.filter(|pid| leftover::is_ours(*pid, &works_in)) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

fn options(folder: &Folder) -> ManagedRedisOptions {
    ManagedRedisOptions {
        binary: "redis-server".into(),
        folder: folder.path().join("redis"),
        memory_bytes_max: 64 << 20,
    }
}

/// A program of that `script` in place of the server.
fn program(folder: &Folder, script: &str) -> ManagedRedisOptions {
    let binary = folder.path().join("redis-server");
    std::fs::write(&binary, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&binary, std::fs::Permissions::from_mode(0o700)).unwrap();
    ManagedRedisOptions { binary, ..options(folder) }
}

async fn start(folder: &Folder) -> ManagedRedis {
    ManagedRedis::start_with(options(folder), Duration::from_millis(400)).await.unwrap()
}

/// What a `kill -9` of the daemon leaves behind.
async fn abandon(redis: ManagedRedis) {
    redis.supervisor.abort();
    assert!(redis.supervisor.await.is_err());
}

async fn process(folder: &Folder) -> Option<Pid> {
    let folder = options(folder).folder.canonicalize().unwrap();
    leftover::find(&folder, &format!("unix://{}", folder.join("redis.sock").display())).await
}

/// Waits for another server than `former`, one that answers.
async fn another(redis: &ManagedRedis, folder: &Folder, former: Pid) -> Pid {
    let waiting = async {
        loop {
            if let Some(pid) = process(folder).await
                && pid != former
                && server::answers(redis.url()).await
            {
                return pid;
            }
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(60), waiting).await.expect("another server")
}

fn works_in(pid: Pid, folder: &Folder) -> bool {
    leftover::is_ours(pid, &options(folder).folder.canonicalize().unwrap())
}

#[tokio::test]
async fn a_server_that_is_only_slow_is_waited_for() {
    let folder = Folder::new();
    let redis = start(&folder).await;
    let pid = process(&folder).await.unwrap();
    abandon(redis).await;

    kill_process(pid, Signal::STOP).unwrap();
    let patient = ManagedRedis::start_with(options(&folder), Duration::from_secs(60));
    let (redis, ()) = tokio::join!(patient, async {
        sleep(Duration::from_millis(300)).await;
        kill_process(pid, Signal::CONT).unwrap();
    });
    let redis = redis.unwrap();
    assert!(server::answers(redis.url()).await);
    assert_eq!(process(&folder).await, Some(pid));
    redis.stop().await;
    assert!(!works_in(pid, &folder));
}

#[tokio::test]
async fn a_server_that_stays_silent_is_ended_before_another_is_started() {
    let folder = Folder::new();
    let redis = start(&folder).await;
    let first = process(&folder).await.unwrap();
    abandon(redis).await;

    // One that an earlier life left, then our own.
    kill_process(first, Signal::STOP).unwrap();
    let redis = start(&folder).await;
    let second = another(&redis, &folder, first).await;
    assert!(!works_in(first, &folder));

    kill_process(second, Signal::STOP).unwrap();
    let third = another(&redis, &folder, second).await;
    assert!(!works_in(second, &folder));
    redis.stop().await;
    assert!(!works_in(third, &folder));
}

#[tokio::test]
async fn an_adopted_server_that_ends_is_replaced() {
    let folder = Folder::new();
    let redis = start(&folder).await;
    let first = process(&folder).await.unwrap();
    abandon(redis).await;
    let redis = start(&folder).await;
    assert_eq!(process(&folder).await, Some(first));

    kill_process(first, Signal::KILL).unwrap();
    another(&redis, &folder, first).await;
    redis.stop().await;
}

#[tokio::test]
async fn a_lost_pid_file_does_not_hide_a_server() {
    let folder = Folder::new();
    let redis = start(&folder).await;
    let pid = process(&folder).await.unwrap();
    abandon(redis).await;
    std::fs::remove_file(options(&folder).folder.join("redis.pid")).unwrap();
    let redis = start(&folder).await;
    assert_eq!(process(&folder).await, Some(pid));
    redis.stop().await;
}

#[tokio::test]
async fn a_pid_file_that_names_a_stranger_is_not_believed() {
    let folder = Folder::new();
    std::fs::create_dir(options(&folder).folder).unwrap();
    let stranger = Pid::from_raw(i32::try_from(std::process::id()).unwrap()).unwrap();
    std::fs::write(options(&folder).folder.join("redis.pid"), std::process::id().to_string()).unwrap();
    let redis = start(&folder).await;
    assert!(!works_in(stranger, &folder));
    assert!(process(&folder).await.is_some());
    redis.stop().await;
}

#[tokio::test]
async fn a_server_that_cannot_start_says_why() {
    let folder = Folder::new();
    let missing = ManagedRedisOptions { binary: "/nowhere/redis-server".into(), ..options(&folder) };
    assert!(matches!(ManagedRedis::start(missing).await, Err(ManagedRedisError::Binary(..))));
    let refusing = program(&folder, "exec redis-server \"$@\" --an-option-of-the-future 1");
    let Err(ManagedRedisError::Options { because }) = ManagedRedis::start(refusing).await else {
        panic!("it started");
    };
    assert!(because.contains("exit status: 1") && because.contains("an-option-of-the-future"), "{because}");
}

#[tokio::test]
async fn a_server_that_ends_at_once_is_started_again_until_it_stays() {
    let folder = Folder::new();
    let room = folder.path().join("room");
    let script =
        format!("test -e {} || {{ echo no room here; exit 7; }}\nexec redis-server \"$@\"", room.display());
    let redis = ManagedRedis::start(program(&folder, &script)).await.expect("it goes on without");
    assert!(!server::answers(redis.url()).await);
    std::fs::write(&room, "").unwrap();
    let none = Pid::from_raw(1).unwrap();
    another(&redis, &folder, none).await;
    redis.stop().await;
}

#[tokio::test]
async fn a_server_of_an_earlier_life_that_dies_while_it_is_waited_for_is_replaced() {
    let folder = Folder::new();
    let redis = start(&folder).await;
    let first = process(&folder).await.unwrap();
    abandon(redis).await;
    kill_process(first, Signal::STOP).unwrap();
    let killed = async {
        // It is silent, so it is waited for; and then it is not there any more.
        sleep(Duration::from_millis(300)).await;
        kill_process(first, Signal::KILL).unwrap();
    };
    let (redis, ()) = tokio::join!(ManagedRedis::start(options(&folder)), killed);
    let redis = redis.expect("it goes on without");
    another(&redis, &folder, first).await;
    redis.stop().await;
}

#[tokio::test]
async fn a_log_that_cannot_be_opened_does_not_keep_it_from_starting() {
    let folder = Folder::new();
    // A folder in its place is as bad as a disk that is full.
    std::fs::create_dir_all(options(&folder).folder.join("redis.log")).unwrap();
    let redis = start(&folder).await;
    assert!(server::answers(redis.url()).await);
    redis.stop().await;
}

/// A file system without any room in `folder`, for as long as this lives; `None` where it may not be mounted.
struct FullDisk(PathBuf);

impl FullDisk {
    fn mount(folder: PathBuf) -> Option<Self> {
        std::fs::create_dir(&folder).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=64k,mode=700", "keepwell-full"]).arg(&folder);
        if !mount.output().is_ok_and(|mounted| mounted.status.success()) {
            eprintln!("skipped: a small file system can only be mounted by root, where that is permitted");
            return None;
        }
        let disk = Self(folder);
        let mut ballast = std::fs::File::create(disk.0.join("ballast")).unwrap();
        while ballast.write_all(&[0; 4_096]).is_ok() {}
        Some(disk)
    }
}

impl Drop for FullDisk {
    fn drop(&mut self) {
        kill_all_in(&self.0);
        // At once for everybody else; whoever was killed may take a moment to be gone.
        let unmounted = Command::new("umount").arg("--lazy").arg(&self.0).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("{} is still mounted", self.0.display());
        }
    }
}

#[tokio::test]
async fn a_disk_without_room_keeps_no_server_from_starting_nor_from_taking_what_it_is_given() {
    let folder = Folder::new();
    let Some(_disk) = FullDisk::mount(options(&folder).folder) else { return };
    let redis = start(&folder).await;
    let takes = async || {
        let client = redis::Client::open(redis.url()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let mut give = redis::cmd("SET");
        give.arg("given").arg(vec![0_u8; 1 << 20]).exec_async(&mut connection).await.unwrap();
    };
    takes().await;
    // Nor one that comes after it, though nobody could write down which process it is.
    let first = process(&folder).await.unwrap();
    kill_process(first, Signal::KILL).unwrap();
    another(&redis, &folder, first).await;
    takes().await;
    redis.stop().await;
}
