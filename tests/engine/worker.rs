//! A worker in a process of its own, so that it can really die: this test binary once more.

use std::{
    fs::{self, File},
    future::pending,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    sync::{Arc, atomic::Ordering},
};

use async_trait::async_trait;
use keepwell_workers::{
    database::{Database, DatabaseOptions, Transaction},
    engine::{Engine, EngineOptions},
    handler::{Handler, Prepared, Registry},
    job::Job,
    lanes::LanesOptions,
    outcome::Outcome,
};
use rustix::process::{Pid, Resource, Rlimit, Signal, getpid, kill_process, prlimit};
use serde_json::{Value, json};
use tokio::task::yield_now;

use super::bench::{Bench, Script, Scripted, parts};
use crate::support::process::Process;

/// The lease of every worker, in milliseconds.
pub const LEASE_MS: u64 = 1_000;

/// A worker process on a bench's database and Redis.
pub struct Worker {
    process: Process,
    folder: PathBuf,
    memory_bytes_max: Option<u64>,
}

impl Worker {
    /// Starts one of the installation `instance`. A `gate` job never passes in it.
    pub fn start(bench: &Bench, instance: &str) -> Self {
        Self::start_within(None, bench, instance)
    }

    /// The same, with so many bytes of memory at most, in each of its lives.
    pub fn start_within(memory_bytes_max: Option<u64>, bench: &Bench, instance: &str) -> Self {
        let folder = bench.directory.path().join(instance);
        fs::create_dir(&folder).unwrap();
        let order = json!({
            "database": bench.url, "redis": bench.redis.url(), "instance": instance, "slots": 8,
            "deaths": deaths_file(bench),
        });
        fs::write(folder.join("order.json"), order.to_string()).unwrap();
        Self { process: launch(&folder, memory_bytes_max), folder, memory_bytes_max }
    }

    /// Starts it again if it has died.
    pub fn keep_alive(&mut self) {
        if self.ended().is_some() {
            self.process = launch(&self.folder, self.memory_bytes_max);
        }
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.process.ended()
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.process.kill(Signal::KILL);
    }
}

fn deaths_file(bench: &Bench) -> PathBuf {
    bench.directory.path().join("deaths")
}

/// How many workers a pill has killed so far.
pub fn deaths(bench: &Bench) -> usize {
    fs::read_to_string(deaths_file(bench)).unwrap_or_default().lines().count()
}

fn launch(folder: &Path, memory_bytes_max: Option<u64>) -> Process {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.current_dir(folder).args([
        "--exact",
        "engine::worker::a_worker_works_only_where_it_finds_an_order",
        "--nocapture",
    ]);
    // The system's allocator sets addresses aside for every thread that it may never use.
    command.env("MALLOC_ARENA_MAX", "1");
    let process = Process::start(command, &folder.join("log"), Signal::KILL);
    if let Some(bytes) = memory_bytes_max {
        let pid = Pid::from_raw(process.id().cast_signed());
        // Nor shall everything that it held be written to a file when it dies.
        for (resource, most) in [(Resource::As, bytes), (Resource::Core, 0)] {
            prlimit(pid, resource, Rlimit { current: Some(most), maximum: Some(most) })
                .expect("our own child");
        }
    }
    process
}

/// What a leak takes at a time, in bytes.
const LEAK_BYTES: usize = 16 << 20;

/// Takes ever more memory and gives none back, until it is refused some.
async fn leak() {
    let mut held: Vec<Vec<u8>> = Vec::new();
    loop {
        held.push(vec![1; LEAK_BYTES]);
        std::hint::black_box(&held);
        yield_now().await;
    }
}

/// Kills its process, or leaks until that dies: the first time as soon as two neighbours run beside it, then at once.
struct Pill(Arc<Script>, PathBuf);

#[async_trait]
impl Handler for Pill {
    fn kind(&self) -> &'static str {
        "pill"
    }

    async fn prepare(&self, job: &Job) -> Result<Prepared, Outcome> {
        while !self.1.exists() && self.0.begun.load(Ordering::SeqCst) < 2 {
            self.0.bell.notified().await;
        }
        writeln!(File::options().create(true).append(true).open(&self.1).unwrap(), "died").unwrap();
        if &job.payload[..] == b"leak" {
            leak().await;
        }
        kill_process(getpid(), Signal::KILL).unwrap();
        pending().await
    }

    async fn apply(&self, _: &Job, _: &Prepared, _: &mut Transaction) -> Result<Outcome, sqlx::Error> {
        Ok(Outcome::Done)
    }
}

/// Is still running when the pill kills for the first time; ends at once after that.
struct Innocent(Arc<Script>, PathBuf);

#[async_trait]
impl Handler for Innocent {
    fn kind(&self) -> &'static str {
        "innocent"
    }

    async fn prepare(&self, _: &Job) -> Result<Prepared, Outcome> {
        self.0.begun.fetch_add(1, Ordering::SeqCst);
        self.0.bell.notify_one();
        if self.1.exists() { Ok(Box::new(())) } else { pending().await }
    }

    async fn apply(&self, _: &Job, _: &Prepared, _: &mut Transaction) -> Result<Outcome, sqlx::Error> {
        Ok(Outcome::Done)
    }
}

#[tokio::test]
async fn a_worker_works_only_where_it_finds_an_order() {
    // Where tests run there is none; where `Worker` starts this there is one, and it never ends by itself.
    let Ok(order) = fs::read("order.json") else { return };
    let order: Value = serde_json::from_slice(&order).unwrap();
    let word = |name: &str| order[name].as_str().unwrap().to_owned();
    let database = Database::connect(&word("database"), &DatabaseOptions::default()).await.unwrap();
    let script = Arc::new(Script::default());
    let deaths = PathBuf::from(word("deaths"));
    let handlers: [Arc<dyn Handler>; 3] = [
        Arc::new(Scripted(Arc::clone(&script))),
        Arc::new(Pill(Arc::clone(&script), deaths.clone())),
        Arc::new(Innocent(script, deaths)),
    ];
    let options = EngineOptions {
        slots: 8,
        crisis_slots: 4,
        threads: 1,
        instance: word("instance"),
        journal: Some("running".into()),
        lanes: LanesOptions { lease_ms: LEASE_MS, ..LanesOptions::default() },
        ..EngineOptions::default()
    };
    let _engine = Engine::start(parts(database, word("redis"), Registry::new(handlers)), &options).unwrap();
    pending::<()>().await;
}
