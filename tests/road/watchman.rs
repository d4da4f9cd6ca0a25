//! A process that keeps alerts and is told by its test what is measured and what time it is, so that it can be killed
//! at any point and begin again: this test binary once more. Its database, its Redis and whom it calls are real.

use std::{
    fs,
    net::Ipv4Addr,
    process::Command,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use keepwell::{
    alerts::{AlertBoard, AlertParts, Figures, delivery, kept},
    serve::migrations,
};
use keepwell_config::{Config, Purpose, Sources};
use keepwell_jobs::{
    Care,
    alerts::{
        rule::Rule,
        rules::{RULES, rule},
        sink::AlertSink,
    },
    care::tiers::Tiers,
    handlers,
    marks::Marks,
    store::audit::{Actor, AuditEntry},
};
use keepwell_workers::{
    clock::{Clock as _, ManualClock},
    database::{Database, DatabaseOptions, Dialect},
    engine::{Engine, EngineOptions, EngineParts},
    handler::Registry,
};
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{on_call::OnCall, stranger::Stranger};
use crate::{
    engine::bench::parts,
    support::{
        PATIENCE, eventually,
        postgres::{Postgres, Sync},
        process::Process,
        redis::Redis,
    },
};

/// How much time passes while a test waits for what is to be told, in milliseconds, each time that it asks.
const WHILE_WAITING_MS: i64 = 50;

/// A watchman, seen from the test.
pub struct Watchman {
    process: Process,
    line: BufReader<TcpStream>,
    listener: TcpListener,
    /// What it was told last.
    pub now_ms: i64,
    /// What it finds when it begins.
    order: Value,
    folder: TempDir,
    _redis: Redis,
    /// Where its database is, unless that is a file.
    _postgres: Option<Postgres>,
}

impl Watchman {
    /// Begins one at `now_ms` that watches over `rules` only and tells `on_call`, with these settings beside.
    pub async fn of(on_call: &OnCall, rules: &[&Rule], settings: &[(&str, &str)], now_ms: i64) -> Self {
        Self::with(Dialect::Sqlite, on_call, rules, settings, now_ms).await
    }

    /// The same on a database of this `dialect`.
    pub async fn with(
        dialect: Dialect,
        on_call: &OnCall,
        rules: &[&Rule],
        settings: &[(&str, &str)],
        now_ms: i64,
    ) -> Self {
        let others = RULES.iter().filter(|rule| !rules.contains(rule)).map(|rule| rule.name);
        let disabled = json!(others.collect::<Vec<_>>()).to_string();
        let own = [
            ("KEEPWELL_ALERTS__DISABLED", disabled.as_str()),
            // It looks when it is told to; this is how soon it is ready to.
            ("KEEPWELL_ALERTS__LOOK_EVERY_MS", "100"),
        ];
        let told = on_call.settings();
        let told = told.iter().map(|(name, value)| (*name, value.as_str()));
        let settings: Vec<(&str, &str)> = told.chain(own).chain(settings.iter().copied()).collect();
        Self::begin(dialect, &settings, now_ms).await
    }

    async fn begin(dialect: Dialect, settings: &[(&str, &str)], now_ms: i64) -> Self {
        let folder = TempDir::with_prefix("keepwell-watchman-").unwrap();
        let redis = Redis::start().await;
        let (postgres, database_url) = match dialect {
            Dialect::Sqlite => (None, format!("sqlite:{}", folder.path().join("watched.db").display())),
            Dialect::Postgres => {
                let postgres = Postgres::start(Sync::Off).await;
                let url = postgres.database("watched").await;
                (Some(postgres), url)
            }
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let settings: Vec<(String, String)> =
            settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let order = json!({
            "address": listener.local_addr().unwrap().to_string(), "redis": redis.url(),
            "database": database_url, "settings": settings, "now_ms": now_ms,
        });
        let (process, line) = launch(&folder, &listener, &order).await;
        Self { process, line, listener, now_ms, order, folder, _redis: redis, _postgres: postgres }
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.process.kill(Signal::KILL);
    }

    /// After [`Watchman::kill`], has the next one know nothing of what this one has told without its database.
    pub fn forgets_what_it_told_alone(&self) {
        fs::remove_file(self.folder.path().join("state/alerts.unrecorded")).unwrap();
    }

    /// Begins again after [`Watchman::kill`], `later_ms` later, with everything on disk as it was left.
    pub async fn begin_again(&mut self, later_ms: i64) {
        self.now_ms += later_ms;
        self.order["now_ms"] = self.now_ms.into();
        (self.process, self.line) = launch(&self.folder, &self.listener, &self.order).await;
    }

    /// Has it look once, `later_ms` later, when this is measured and these rules are said to be broken. What follows
    /// from it is committed when this returns.
    pub async fn looks(&mut self, later_ms: i64, figures: &str, told: &[&str]) {
        self.now_ms += later_ms;
        self.ask(json!({ "now_ms": self.now_ms, "figures": figures, "told": told })).await;
    }

    /// Has it begin to look, as [`Watchman::looks`] does, and waits for nothing: it is to be killed before it is done.
    pub async fn begins_to_look(&mut self, later_ms: i64, figures: &str) {
        self.now_ms += later_ms;
        let order = json!({ "now_ms": self.now_ms, "figures": figures });
        self.line.write_all(format!("{order}\n").as_bytes()).await.unwrap();
    }

    /// Lets time pass without a look; answers with how many jobs are owed, and how often a receiver has taken what it
    /// was told.
    pub async fn waits(&mut self) -> (u64, u64) {
        self.now_ms += WHILE_WAITING_MS;
        let answer = self.ask(json!({ "now_ms": self.now_ms })).await;
        (answer["owed"].as_u64().unwrap(), answer["delivered"].as_u64().unwrap())
    }

    /// Waits until everybody has been told everything.
    pub async fn has_told_all(&mut self) {
        eventually("all is told", async || (self.waits().await.0 == 0).then_some(())).await;
    }

    /// Somebody acknowledges the alert `id`.
    pub async fn acknowledges(&mut self, id: &str) {
        self.ask(json!({ "now_ms": self.now_ms, "acknowledge": id })).await;
    }

    /// Somebody else at its database.
    pub async fn stranger(&self) -> Stranger {
        Stranger::at(self.order["database"].as_str().unwrap()).await
    }

    async fn ask(&mut self, order: Value) -> Value {
        let asked = async {
            self.line.write_all(format!("{order}\n").as_bytes()).await.unwrap();
            answer(&mut self.line).await
        };
        timeout(PATIENCE, asked).await.expect("an answer of the watchman")
    }
}

async fn answer(line: &mut BufReader<TcpStream>) -> Value {
    let mut text = String::new();
    line.read_line(&mut text).await.unwrap();
    serde_json::from_str(&text).expect("a watchman that lives")
}

async fn launch(folder: &TempDir, listener: &TcpListener, order: &Value) -> (Process, BufReader<TcpStream>) {
    fs::write(folder.path().join("order.json"), order.to_string()).unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.current_dir(folder.path()).args([
        "--exact",
        "road::watchman::a_watchman_watches_only_where_it_finds_an_order",
        "--nocapture",
    ]);
    let process = Process::start(command, &folder.path().join("log"), Signal::KILL);
    let (stream, _) = timeout(PATIENCE, listener.accept()).await.expect("it calls").unwrap();
    let mut line = BufReader::new(stream);
    timeout(PATIENCE, answer(&mut line)).await.expect("it is ready");
    (process, line)
}

/// What the test says is measured. A look waits here until it is told to go on.
#[derive(Debug)]
struct Given {
    text: Mutex<String>,
    asked: watch::Sender<u64>,
    leave: Semaphore,
}

#[async_trait]
impl Figures for Given {
    async fn text(&self) -> String {
        self.asked.send_modify(|asked| *asked += 1);
        self.leave.acquire().await.unwrap().forget();
        self.text.lock().unwrap().clone()
    }
}

impl Given {
    async fn is_asked_more_than(&self, before: u64) -> u64 {
        *self.asked.subscribe().wait_for(|asked| *asked > before).await.unwrap()
    }

    /// Lets the look go on that waits, until the next one does.
    async fn one_look(&self) {
        let before = *self.asked.borrow();
        self.leave.add_permits(1);
        self.is_asked_more_than(before).await;
    }
}

#[tokio::test]
async fn a_watchman_watches_only_where_it_finds_an_order() {
    // Where tests run there is none; where `Watchman` starts this there is one.
    let Ok(order) = fs::read("order.json") else { return };
    let order: Value = serde_json::from_slice(&order).unwrap();
    let settings: Vec<(String, String)> = serde_json::from_value(order["settings"].clone()).unwrap();
    let state = ("KEEPWELL_STATE_DIR".to_owned(), "state".to_owned());
    fs::create_dir_all(&state.1).unwrap();
    let config =
        Config::load(&Sources::new(settings.into_iter().chain([state]), Purpose::Serve)).unwrap().config;
    let clock = ManualClock::at(order["now_ms"].as_i64().unwrap());
    let database_url = order["database"].as_str().unwrap();
    let database = Database::connect(database_url, &DatabaseOptions::default()).await.unwrap();
    database.migrate(&migrations()).await.unwrap();
    let delivery = delivery(&config, &database, &(Arc::clone(&clock) as _)).unwrap().expect("receivers");
    let tiers = Tiers::from_toml(include_str!("../../config/tiers.toml")).unwrap();
    let EngineParts { keys, .. } = parts(database.clone(), String::new(), Registry::new([]));
    let database = database.sealing_with(keys.clone());
    let (sink, heard) = AlertSink::channel();
    let care = Care::new(tiers, Marks::default(), keys).with_alerts(delivery.clone(), sink.clone());
    let redis_url = order["redis"].as_str().unwrap().to_owned();
    // Its next life takes back what it held.
    let options = EngineOptions { instance: "watchman".to_owned(), ..EngineOptions::default() };
    let registry = Registry::new(handlers(&care));
    let engine_parts =
        EngineParts { clock: Arc::clone(&clock) as _, ..parts(database.clone(), redis_url, registry) };
    let engine = Engine::start(engine_parts, &options).unwrap();
    eventually("the lanes are there", async || engine.health().lanes_ok.then_some(())).await;
    let (text, asked, leave) = (Mutex::default(), watch::Sender::new(0), Semaphore::new(0));
    let given = Arc::new(Given { text, asked, leave });
    let figures = Arc::clone(&given) as Arc<dyn Figures>;
    let (board, counts) = (AlertBoard::default(), delivery.clone());
    let alert_parts = AlertParts {
        engine: engine.clone(),
        database,
        clock: Arc::clone(&clock) as _,
        delivery,
        figures,
        board,
        sink: sink.clone(),
        heard,
    };
    let (desk, keeper) = kept(&config, alert_parts).unwrap();
    let mut keepers = JoinSet::new();
    keepers.spawn(keeper.run(CancellationToken::new()));
    given.is_asked_more_than(0).await;

    let mut line = BufReader::new(TcpStream::connect(order["address"].as_str().unwrap()).await.unwrap());
    let mut said = json!({});
    loop {
        line.write_all(format!("{said}\n").as_bytes()).await.unwrap();
        let mut text = String::new();
        if line.read_line(&mut text).await.unwrap() == 0 {
            return;
        }
        let asked: Value = serde_json::from_str(&text).unwrap();
        let told = asked["told"].as_array().cloned().unwrap_or_default();
        for name in &told {
            sink.tell(rule(name.as_str().unwrap()).unwrap());
        }
        if !told.is_empty() {
            // What is said while a look goes on is a matter of the next one.
            given.one_look().await;
        }
        clock.advance_ms(asked["now_ms"].as_i64().unwrap() - clock.now_ms());
        if let Some(figures) = asked["figures"].as_str() {
            figures.clone_into(&mut given.text.lock().unwrap());
            given.one_look().await;
        }
        if let Some(id) = asked["acknowledge"].as_str() {
            let entry = AuditEntry {
                at_ms: clock.now_ms(),
                actor: Actor::Operator { name: "kim".to_owned() },
                action: "alert.acknowledged",
                subject: None,
                reason: String::new(),
                before: None,
                after: None,
            };
            desk.acknowledge(id, "kim", entry).await.unwrap();
        }
        let delivered = counts.counts().into_iter().filter(|(_, result, _)| *result == "delivered");
        let delivered: u64 = delivered.map(|(_, _, count)| count).sum();
        said = json!({ "owed": engine.ledger().totals().await.unwrap().owed, "delivered": delivered });
    }
}
