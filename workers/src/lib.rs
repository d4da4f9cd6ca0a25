//! The engine of keepwell: a ledger that knows what is owed (SQL), lanes that know what is next (Redis), and pools
//! that do the work (apalis). It knows nothing of Stripe, crises or subscriptions: any app can use it as it is.
//!
//! In reading order: [`job`] and [`lane`] are the vocabulary, [`handler`] is what an app brings, [`engine`] is what it
//! gets. Behind that, [`ledger`] keeps, [`lanes`] orders, `pool` runs, [`state`] lists every way a job can go, and
//! [`seal`] and [`database`] are the ground they stand on.
//!
//! # What it promises
//!
//! * A job is on disk when [`Engine::enqueue`](engine::Engine::enqueue) returns, and is done from then on, whatever
//!   happens to the process, to Redis or to the machine.
//! * Its effects in the database happen exactly once: they commit together with its `done`.
//! * Crisis jobs go first, in slots, on a thread and over connections that nothing else can take.
//!
//! # An app of its own
//!
//! A bakery has nothing to do with care, and its oven still must not lose an order:
//!
//! ```
//! use std::sync::Arc;
//! use keepwell_workers::{
//!     clock::SystemClock,
//!     database::{Database, DatabaseOptions, MigrationFile, Transaction, turn::Urgency},
//!     engine::{Engine, EngineOptions, EngineParts},
//!     handler::{Handler, Prepared, Registry},
//!     job::{Job, NewJob},
//!     lane::Lane,
//!     ledger,
//!     managed_redis::{ManagedRedis, ManagedRedisOptions},
//!     observer::Unobserved,
//!     on_connection,
//!     outcome::Outcome,
//!     seal::{KeyRing, SealingKey},
//! };
//!
//! const SHELF: MigrationFile = MigrationFile {
//!     version: 1_000,
//!     name: "shelf",
//!     sqlite: "CREATE TABLE shelf (bread TEXT NOT NULL)",
//!     postgres: "CREATE TABLE shelf (bread TEXT NOT NULL)",
//! };
//!
//! struct Bake;
//!
//! #[async_trait::async_trait]
//! impl Handler for Bake {
//!     fn kind(&self) -> &'static str {
//!         "bake"
//!     }
//!
//!     async fn apply(&self, job: &Job, _: &Prepared, transaction: &mut Transaction) -> Result<Outcome, sqlx::Error> {
//!         let bread = String::from_utf8_lossy(&job.payload).into_owned();
//!         on_connection!(transaction, |connection| {
//!             sqlx::query("INSERT INTO shelf (bread) VALUES ($1)").bind(bread).execute(connection).await.map(|_| ())
//!         })?;
//!         Ok(Outcome::Done)
//!     }
//! }
//!
//! # async fn bakery() -> Result<(), Box<dyn std::error::Error>> {
//! let folder = tempfile::tempdir()?;
//! let url = format!("sqlite:{}", folder.path().join("bakery.db").display());
//! let database = Database::connect(&url, &DatabaseOptions::default()).await?;
//! database.migrate(&[ledger::MIGRATIONS, &[SHELF]].concat()).await?;
//! let redis = ManagedRedis::start(ManagedRedisOptions {
//!     binary: "redis-server".into(),
//!     folder: folder.path().join("redis"),
//!     memory_bytes_max: 64 << 20,
//! })
//! .await?;
//!
//! let parts = EngineParts {
//!     database: database.clone(),
//!     keys: KeyRing::new(SealingKey::new("first", &zeroize::Zeroizing::new([7; 32])), []),
//!     clock: Arc::new(SystemClock),
//!     registry: Registry::new([Arc::new(Bake) as Arc<dyn Handler>]),
//!     redis_url: redis.url().to_owned(),
//!     observer: Arc::new(Unobserved),
//! };
//! let engine = Engine::start(parts, &EngineOptions::default())?;
//! engine.enqueue(NewJob::new("bake", Lane::Standard, "rye").dedupe_key("order 1")).await?;
//! while engine.ledger().totals().await?.owed > 0 {
//!     tokio::task::yield_now().await;
//! }
//! engine.shutdown().await;
//! redis.stop().await;
//!
//! let mut reader = database.reader(Urgency::General).await?;
//! let (bread,): (String,) = on_connection!(reader, |connection| {
//!     sqlx::query_as("SELECT bread FROM shelf").fetch_one(connection).await
//! })?;
//! assert_eq!(bread, "rye");
//! # Ok(())
//! # }
//! # tokio::runtime::Runtime::new().unwrap().block_on(bakery()).unwrap();
//! ```

pub mod backoff;
mod caretaker;
pub mod clock;
mod clocks;
pub mod database;
pub mod engine;
pub mod handler;
pub mod id;
pub mod job;
pub mod lane;
pub mod lanes;
pub mod ledger;
pub mod managed_redis;
pub mod observer;
pub mod outcome;
pub mod policy;
mod pool;
mod pruning;
mod runtime;
pub mod seal;
pub mod state;
pub mod turns;
