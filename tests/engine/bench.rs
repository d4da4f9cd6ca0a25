//! An engine with a scripted app on it: the payload of each job says what its handler does.

use std::{
    path::PathBuf,
    sync::{
        Arc, Barrier, Mutex,
        atomic::{AtomicU32, Ordering},
    },
};

use async_trait::async_trait;
use keepwell_workers::{
    clock::{SharedClock, SystemClock},
    database::{Database, DatabaseOptions, Dialect, MigrationFile, Transaction, turn::Urgency},
    engine::{Engine, EngineOptions, EngineParts},
    handler::{Handler, Prepared, Registry},
    id::JobId,
    job::{Job, NewJob},
    lane::Lane,
    lanes::LanesOptions,
    ledger,
    observer::{Observer, RunEnded, Unobserved},
    on_connection,
    outcome::Outcome,
    policy::Policy,
    seal::{KeyRing, SealingKey},
};
use tempfile::TempDir;
use tokio::sync::{Notify, Semaphore};
use zeroize::Zeroizing;

use crate::support::{
    postgres::{Postgres, Sync},
    redis::Redis,
};

const EFFECTS: MigrationFile = MigrationFile {
    version: 900,
    name: "effects",
    sqlite: "CREATE TABLE effects (job_id TEXT NOT NULL, subject TEXT, place INTEGER PRIMARY KEY AUTOINCREMENT)",
    postgres: "CREATE TABLE effects (job_id TEXT NOT NULL, subject TEXT, place BIGSERIAL PRIMARY KEY)",
};

/// What the scripted handler can be made to wait for or to count.
#[derive(Debug)]
pub struct Script {
    /// Runs that have begun.
    pub begun: AtomicU32,
    /// Rung at each beginning.
    pub bell: Notify,
    /// A `gate` job passes when a permit is there.
    pub gate: Semaphore,
    /// A `hog` job holds its thread until somebody else waits here too.
    pub hog: Barrier,
    /// The most runs of the same subject seen at once.
    pub overlap_max: AtomicU32,
    /// `gate` jobs that wait now.
    pub running: AtomicU32,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            begun: AtomicU32::new(0),
            bell: Notify::new(),
            gate: Semaphore::new(0),
            hog: Barrier::new(2),
            overlap_max: AtomicU32::new(0),
            running: AtomicU32::new(0),
        }
    }
}

pub struct Scripted(pub Arc<Script>);

#[async_trait]
impl Handler for Scripted {
    fn kind(&self) -> &'static str {
        "scripted"
    }

    fn policy(&self) -> Policy {
        Policy { attempts_max: 3, backoff_base_ms: 1, backoff_cap_ms: 5, timeout_ms: 10_000 }
    }

    async fn prepare(&self, job: &Job) -> Result<Prepared, Outcome> {
        self.0.begun.fetch_add(1, Ordering::SeqCst);
        self.0.bell.notify_one();
        match &job.payload[..] {
            b"gate" | b"follow at the gate" | b"fail at the gate" => {
                let running = self.0.running.fetch_add(1, Ordering::SeqCst) + 1;
                self.0.overlap_max.fetch_max(running, Ordering::SeqCst);
                self.0.gate.acquire().await.unwrap().forget();
                self.0.running.fetch_sub(1, Ordering::SeqCst);
                if &job.payload[..] == b"fail at the gate" {
                    return Err(Outcome::dead("as scripted, after the gate"));
                }
            }
            b"hog" => {
                self.0.hog.wait();
            }
            b"fail" => return Err(Outcome::retry("as scripted")),
            b"fail once" if job.attempts == 0 => return Err(Outcome::retry("as scripted, once")),
            b"panic" => panic!("as scripted"),
            b"dead" => return Err(Outcome::dead("as scripted")),
            _ => {}
        }
        Ok(Box::new(()))
    }

    async fn apply(
        &self,
        job: &Job,
        _: &Prepared,
        transaction: &mut Transaction,
    ) -> Result<Outcome, sqlx::Error> {
        const SQL: &str = "INSERT INTO effects (job_id, subject) VALUES ($1, $2)";
        on_connection!(transaction, |connection| {
            sqlx::query(SQL)
                .bind(job.id.to_string())
                .bind(job.subject.as_deref())
                .execute(connection)
                .await
                .map(|_| ())
        })?;
        match &job.payload[..] {
            b"follow" | b"follow at the gate" => {
                transaction.enqueue(
                    NewJob::new("scripted", Lane::Standard, "ok").dedupe_key(format!("after {}", job.id)),
                );
            }
            b"follow, then fail" => {
                transaction.enqueue(scripted("ok", Lane::Crisis));
                return Ok(Outcome::dead("after the follow-up"));
            }
            b"fail in effects" => return Ok(Outcome::retry("after the effects")),
            b"panic in effects" => panic!("in the effects, as scripted"),
            _ => {}
        }
        Ok(Outcome::Done)
    }
}

/// Everything a test of the engine needs, on real parts.
pub struct Bench {
    pub redis: Redis,
    pub database: Database,
    pub script: Arc<Script>,
    /// The database's address.
    pub url: String,
    // Declared last, so that they go last.
    pub postgres: Option<Postgres>,
    pub directory: TempDir,
}

impl Bench {
    pub async fn new(dialect: Dialect) -> Self {
        match dialect {
            Dialect::Sqlite => {
                let directory = TempDir::with_prefix("keepwell-engine-").unwrap();
                let url = format!("sqlite:{}", directory.path().join("ledger.db").display());
                Self::at(&url, None, directory).await
            }
            Dialect::Postgres => {
                let postgres = Postgres::start(Sync::Off).await;
                let url = postgres.database("ledger").await;
                Self::on(postgres, &url).await
            }
        }
    }

    /// On the database at `url`, which `postgres` holds.
    pub async fn on(postgres: Postgres, url: &str) -> Self {
        Self::at(url, Some(postgres), TempDir::with_prefix("keepwell-engine-").unwrap()).await
    }

    /// Where SQLite keeps its file.
    pub fn file(&self) -> PathBuf {
        self.directory.path().join("ledger.db")
    }

    async fn at(url: &str, postgres: Option<Postgres>, directory: TempDir) -> Self {
        let database = Database::connect(url, &DatabaseOptions::default()).await.unwrap();
        let migrations: Vec<MigrationFile> = ledger::MIGRATIONS.iter().copied().chain([EFFECTS]).collect();
        database.migrate(&migrations).await.unwrap();
        Self {
            redis: Redis::start().await,
            database,

            script: Arc::new(Script::default()),
            url: url.to_owned(),
            postgres,
            directory,
        }
    }

    /// An engine on these parts.
    pub fn engine(&self) -> Engine {
        self.engine_with(|_| {})
    }

    pub fn engine_with(&self, change: impl FnOnce(&mut EngineOptions)) -> Engine {
        self.engine_of([], change)
    }

    /// An engine that finds its Redis at `redis_url`.
    pub fn engine_at(&self, redis_url: String, change: impl FnOnce(&mut EngineOptions)) -> Engine {
        self.engine_on(redis_url, [], change)
    }

    /// One that has these handlers besides the scripted one.
    pub fn engine_of(
        &self,
        handlers: impl IntoIterator<Item = Arc<dyn Handler>>,
        change: impl FnOnce(&mut EngineOptions),
    ) -> Engine {
        self.engine_on(self.redis.url(), handlers, change)
    }

    /// One that is told the time by `clock`.
    pub fn engine_on_clock(&self, clock: SharedClock, change: impl FnOnce(&mut EngineOptions)) -> Engine {
        self.engine_of_on_clock([], clock, change)
    }

    /// The same with these handlers besides the scripted one.
    pub fn engine_of_on_clock(
        &self,
        handlers: impl IntoIterator<Item = Arc<dyn Handler>>,
        clock: SharedClock,
        change: impl FnOnce(&mut EngineOptions),
    ) -> Engine {
        self.start(self.redis.url(), clock, handlers, change)
    }

    /// The same with connections of its own, as another process has them.
    pub async fn process_on_clock(
        &self,
        clock: SharedClock,
        change: impl FnOnce(&mut EngineOptions),
    ) -> (Engine, Database) {
        let database = Database::connect(&self.url, &DatabaseOptions::default()).await.unwrap();
        (self.start_on(database.clone(), self.redis.url(), clock, [], change), database)
    }

    /// One whose runs `observer` hears of.
    pub fn engine_heard_by(&self, observer: Arc<dyn Observer>) -> Engine {
        let registry = Registry::new([Arc::new(Scripted(Arc::clone(&self.script))) as Arc<dyn Handler>]);
        let parts = EngineParts { observer, ..parts(self.database.clone(), self.redis.url(), registry) };
        Engine::start(parts, &EngineOptions::default()).unwrap()
    }

    fn engine_on(
        &self,
        redis_url: String,
        handlers: impl IntoIterator<Item = Arc<dyn Handler>>,
        change: impl FnOnce(&mut EngineOptions),
    ) -> Engine {
        self.start(redis_url, Arc::new(SystemClock), handlers, change)
    }

    fn start(
        &self,
        redis_url: String,
        clock: SharedClock,
        handlers: impl IntoIterator<Item = Arc<dyn Handler>>,
        change: impl FnOnce(&mut EngineOptions),
    ) -> Engine {
        self.start_on(self.database.clone(), redis_url, clock, handlers, change)
    }

    fn start_on(
        &self,
        database: Database,
        redis_url: String,
        clock: SharedClock,
        handlers: impl IntoIterator<Item = Arc<dyn Handler>>,
        change: impl FnOnce(&mut EngineOptions),
    ) -> Engine {
        let mut options = EngineOptions {
            slots: 8,
            crisis_slots: 2,
            threads: 1,
            runs_jobs: true,
            drain_timeout_ms: 2_000,
            instance: "bench".into(),
            journal: None,
            host: "here".into(),
            lanes: LanesOptions { lease_ms: 2_000, ..LanesOptions::default() },
            retention: keepwell_workers::engine::Retention::default(),
        };
        change(&mut options);
        let scripted: Arc<dyn Handler> = Arc::new(Scripted(Arc::clone(&self.script)));
        let registry = Registry::new(handlers.into_iter().chain([scripted]));
        let parts = EngineParts { clock, ..parts(database, redis_url, registry) };
        Engine::start(parts, &options).unwrap()
    }

    /// How often each job's effect is in the database, with the jobs in the order of their effects.
    pub async fn effects(&self) -> Vec<String> {
        const SQL: &str = "SELECT job_id FROM effects ORDER BY place";
        let mut reader = self.database.reader(Urgency::General).await.unwrap();
        let rows: Vec<(String,)> =
            on_connection!(reader, |connection| sqlx::query_as(SQL).fetch_all(connection).await).unwrap();
        rows.into_iter().map(|(id,)| id).collect()
    }
}

/// What every engine here is made of.
pub fn parts(database: Database, redis_url: String, registry: Registry) -> EngineParts {
    EngineParts {
        database,
        keys: KeyRing::new(SealingKey::new("test", &Zeroizing::new([7; 32])), []),
        clock: Arc::new(SystemClock),
        registry,
        redis_url,
        observer: Arc::new(Unobserved),
    }
}

/// A job whose payload tells the handler what to do.
pub fn scripted(words: &'static str, lane: Lane) -> NewJob {
    NewJob::new("scripted", lane, words)
}

/// Waits until nothing is owed any more.
pub async fn nothing_owed(engine: &Engine) {
    crate::support::eventually("nothing is owed", async || {
        (engine.ledger().totals().await.ok()?.owed == 0).then_some(())
    })
    .await;
}

/// Waits until the lanes hold exactly so many `jobs`.
pub async fn placed(engine: &Engine, jobs: u64) {
    crate::support::eventually("the jobs are in their lanes", async || {
        (engine.lanes().held().await.ok()? == jobs).then_some(())
    })
    .await;
}

/// Hears of every run.
#[derive(Default)]
pub struct Ear(Mutex<Vec<(JobId, &'static str)>>);

impl Ear {
    /// The jobs, and how their runs ended.
    pub fn heard(&self) -> Vec<(JobId, &'static str)> {
        self.0.lock().unwrap().clone()
    }
}

impl Observer for Ear {
    fn run_ended(&self, ended: &RunEnded<'_>) {
        self.0.lock().unwrap().push((ended.job.id, ended.outcome));
    }
}
