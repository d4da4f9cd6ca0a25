//! What a run stands on: a Redis and a database of its own, gone afterwards.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use keepwell_workers::{
    clock::SystemClock,
    database::{Database, DatabaseOptions, Dialect},
    engine::{Engine, EngineOptions, EngineParts},
    handler::{Handler, Registry},
    job::NewJob,
    lane::Lane,
    lanes::LanesOptions,
    ledger,
    managed_redis::{ManagedRedis, ManagedRedisOptions},
    observer::{Observer, RunEnded},
    seal::{KeyRing, SealingKey},
};
use tokio::sync::mpsc;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::{Failure, handlers::handlers, stopwatch::Stopwatch};

/// Bytes of every job's payload.
pub(super) const PAYLOAD_BYTES: usize = 1_024;

/// Jobs recorded by one call while a backlog is made.
const BACKLOG_BATCH: usize = 1_000;

/// Where to measure.
#[derive(Debug, Clone, Default)]
pub struct RigOptions {
    /// A Redis to use instead of a private one. It must be empty under the prefix that the run makes up.
    pub redis_url: Option<String>,
    /// A database to use instead of SQLite in a temporary folder. Its jobs are left behind.
    pub database_url: Option<String>,
    /// General slots; 256 by default, as the peers had.
    pub slots: Option<usize>,
    /// Jobs that wait already when the measurement begins. Without it: those that the workload itself needs.
    pub waiting: Option<usize>,
    /// Whether the daemon of `ingest` runs the jobs while it receives more.
    pub run_jobs: bool,
}

/// What a run stands on.
pub(super) struct Rig {
    pub(super) database: Database,
    pub(super) timed: mpsc::UnboundedReceiver<f64>,
    timed_in: mpsc::UnboundedSender<f64>,
    redis: Option<ManagedRedis>,
    database_url: Option<String>,
    redis_url: String,
    done: Arc<Done>,
    folder: Folder,
    prefix: String,
    slots: usize,
    waiting: usize,
}

/// A folder that is gone with the run, also with one that has failed.
struct Folder(PathBuf);

impl Folder {
    fn make(path: PathBuf) -> std::io::Result<Self> {
        std::fs::create_dir_all(&path)?;
        Ok(Self(path))
    }

    fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Nobody is left to tell; what the run came to has been said.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Rig {
    pub(super) async fn new(options: &RigOptions) -> Result<Self, Failure> {
        let name = format!("keepwell-bench-{}", Uuid::new_v4().simple());
        // On the disk that the working directory is on, because that is what is measured.
        let folder = Folder::make(PathBuf::from("target").join(&name))?;
        let database_url = match &options.database_url {
            Some(url) => url.clone(),
            None => format!("sqlite:{}", folder.join("ledger.db").display()),
        };
        let database = Database::connect(&database_url, &DatabaseOptions::default()).await?;
        database.migrate(ledger::MIGRATIONS).await?;
        let (redis, redis_url) = if let Some(url) = &options.redis_url {
            (None, url.clone())
        } else {
            let redis = ManagedRedis::start(ManagedRedisOptions {
                binary: "redis-server".into(),
                folder: folder.join("redis"),
                memory_bytes_max: 4 << 30,
            })
            .await?;
            let url = redis.url().to_owned();
            (Some(redis), url)
        };
        let (timed_in, timed) = mpsc::unbounded_channel();
        let slots = options.slots.unwrap_or(256);
        Ok(Self {
            database,
            timed,
            timed_in,
            redis,
            database_url: options.database_url.clone(),
            redis_url,
            done: Arc::default(),
            folder,
            prefix: name,
            slots,
            waiting: options.waiting.unwrap_or_default(),
        })
    }

    /// An engine on it that runs jobs, or one that only records them.
    pub(super) fn engine(&self, runs_jobs: bool) -> Result<Engine, Failure> {
        let (database, redis_url) = (self.database.clone(), self.redis_url.clone());
        let parts = parts(database, redis_url, handlers(self.timed_in.clone()), self.done.clone());
        let options = EngineOptions {
            slots: self.slots,
            runs_jobs,
            lanes: LanesOptions { key_prefix: self.prefix.clone(), ..LanesOptions::default() },
            ..EngineOptions::default()
        };
        Ok(Engine::start(parts, &options)?)
    }

    /// Records `count` jobs made by `job`, in batches.
    pub(super) async fn backlog(
        &self,
        engine: &Engine,
        count: usize,
        job: impl Fn() -> NewJob,
    ) -> Result<(), Failure> {
        let mut left = count;
        while left > 0 {
            let batch = left.min(BACKLOG_BATCH);
            engine.enqueue_all((0..batch).map(|_| job()).collect()).await?;
            left -= batch;
        }
        // Every one of them is in its lane once the lanes hold as many as are owed.
        while engine.lanes().held().await? < count as u64 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// Waits until `count` jobs are done. The ledger is not asked: counting millions of owed jobs again and again would
    /// be measured as well.
    pub(super) async fn done(&self, count: usize) {
        while self.done.0.load(Relaxed) < count as u64 {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    }

    /// Records what is to wait already, as no-op jobs.
    pub(super) async fn wait_already(&self, engine: &Engine, count: usize) -> Result<(), Failure> {
        self.backlog(engine, count, || NewJob::new("bench.noop", Lane::Standard, vec![b'x'; PAYLOAD_BYTES]))
            .await
    }

    /// Waits until nothing is owed.
    pub(super) async fn nothing_owed(&self, engine: &Engine) -> Result<(), Failure> {
        while engine.ledger().totals().await?.owed > 0 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// A stopwatch that also watches processor time.
    pub(super) fn stopwatch(&self) -> Stopwatch {
        Stopwatch::start(self.redis_pid())
    }

    /// Where the run keeps what it keeps.
    pub(super) fn folder(&self) -> &Path {
        &self.folder.0
    }

    /// The address of the database, for another process.
    pub(super) fn database_url(&self) -> Result<String, Failure> {
        if let Some(url) = &self.database_url {
            return Ok(url.clone());
        }
        let file = std::path::absolute(self.folder.join("ledger.db"))?;
        Ok(format!("sqlite:{}", file.display()))
    }

    /// The address of Redis.
    pub(super) fn redis_url(&self) -> &str {
        &self.redis_url
    }

    /// The first word of every key.
    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    fn redis_pid(&self) -> Option<u32> {
        std::fs::read_to_string(self.folder.join("redis/redis.pid")).ok()?.trim().parse().ok()
    }

    /// What stands in every line's notes.
    pub(super) fn setting(&self) -> String {
        let database = match self.database.dialect() {
            Dialect::Sqlite => "sqlite (wal, synchronous=full to record, normal for effects)",
            Dialect::Postgres => "postgres (synchronous_commit on to record, off for effects)",
        };
        let redis = if self.redis.is_some() { "private, unix socket, no persistence" } else { "by url" };
        format!(
            "database={database} redis={redis} payload={PAYLOAD_BYTES} slots={} waiting={}",
            self.slots, self.waiting
        )
    }

    /// Removes everything.
    pub(super) async fn clear(self) -> Result<(), Failure> {
        if let Some(redis) = self.redis {
            redis.stop().await;
        }
        self.database.close().await;
        std::fs::remove_dir_all(&self.folder.0)?;
        Ok(())
    }
}

/// What seals what is measured.
pub(super) fn keys() -> KeyRing {
    KeyRing::new(SealingKey::new("bench", &Zeroizing::new([7; 32])), [])
}

/// The same as a daemon is told it.
pub(super) fn keys_setting() -> String {
    format!("[{{ id = \"bench\", key = \"{}\" }}]", "07".repeat(32))
}

/// What every engine of a run is made of.
pub(super) fn parts(
    database: Database,
    redis_url: String,
    handlers: Vec<Arc<dyn Handler>>,
    observer: Arc<dyn Observer>,
) -> EngineParts {
    EngineParts {
        database,
        keys: keys(),
        clock: Arc::new(SystemClock),
        registry: Registry::new(handlers),
        redis_url,
        observer,
    }
}

/// How many jobs have ended well.
#[derive(Debug, Default)]
struct Done(AtomicU64);

impl Observer for Done {
    fn run_ended(&self, ended: &RunEnded<'_>) {
        if ended.outcome == "done" {
            self.0.fetch_add(1, Relaxed);
        }
    }
}
