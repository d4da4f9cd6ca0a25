//! The house that the storm goes through: the daemons and what they stand on, and how each fault is done to them.

use std::{collections::HashMap, fs::File, io::Write as _, path::PathBuf, process::Command, time::Duration};

use redis::{AsyncCommands as _, aio::MultiplexedConnection};
use rustix::process::{Pid, Signal, kill_process};
use sqlx::{Connection as _, Executor as _, PgConnection};
use tempfile::TempDir;
use uuid::Uuid;

use super::{
    fault::Fault,
    history::{Death, Ms, Span, Troubles},
    ledger::Database,
    load::now_ms,
    plan::{Lanes, Ledger, Scenario},
};
use crate::support::{
    daemon::Daemon,
    eventually, pass,
    postgres::{Postgres, Sync},
    proxy::{Mode, Proxy},
    redis::{Memory, Redis},
};

/// How much longer a piece takes on a slow network.
const SLOW_REDIS: Duration = Duration::from_millis(100);
const SLOW_POSTGRES: Duration = Duration::from_millis(20);

/// Commits that nobody waited for are on PostgreSQL's disk after three rounds of its writer, 200 ms each.
const RELAXED_MS: Ms = 1_000;

/// All of it. The daemons go first, then what they stand on.
#[derive(Debug)]
pub struct House {
    pub daemons: Vec<Daemon>,
    pub troubles: Troubles,
    pub database: Database,
    /// Why a fault could not be done.
    pub skipped: Option<String>,
    redis_way: Option<Proxy>,
    postgres_way: Option<Proxy>,
    redis: Option<Redis>,
    postgres: Option<Postgres>,
    small_disk: Option<SmallDisk>,
    _folder: TempDir,
    lease_ms: u64,
}

impl House {
    /// Builds what `scenario` asks for and puts the witness into the database.
    pub async fn build(scenario: &Scenario) -> Self {
        let folder = TempDir::with_prefix("keepwell-chaos-").expect("a temporary directory");
        let (mut small_disk, mut skipped, mut postgres, mut postgres_way) = (None, None, None, None);
        let file = |folder: PathBuf| format!("sqlite:{}", folder.join("keepwell.db").display());
        let (database, seen) = match scenario.ledger {
            Ledger::Sqlite => (file(folder.path().to_owned()), None),
            Ledger::SqliteOnSmallDisk => {
                match SmallDisk::mount(folder.path().join("small")) {
                    Ok(disk) => small_disk = Some(disk),
                    Err(reason) => skipped = Some(reason),
                }
                (file(small_disk.as_ref().map_or(folder.path().to_owned(), |disk| disk.0.clone())), None)
            }
            Ledger::Postgres => {
                let server = Postgres::start(Sync::On).await;
                let url = server.database("keepwell").await;
                if scenario.lanes == Lanes::Proxied {
                    postgres_way = Some(Proxy::before(server.socket()).await);
                }
                let way = postgres_way.as_ref();
                let seen = way.map(|way| way.postgres_url("keepwell"));
                postgres = Some(server);
                (url, seen)
            }
        };
        let (mut redis, mut redis_way) = (None, None);
        if scenario.lanes != Lanes::Private {
            let server = Redis::start_with(Memory::Disk).await;
            if scenario.lanes == Lanes::Proxied {
                redis_way = Some(Proxy::before(server.socket()).await);
            }
            redis = Some(server);
        }
        let lease_ms = scenario.lease_ms.to_string();
        let mut settings = vec![
            ("KEEPWELL_DATABASE__URL", seen.unwrap_or_else(|| database.clone())),
            ("KEEPWELL_POOL__LEASE_MS", lease_ms),
            ("KEEPWELL_LOG__LEVEL", "warn".to_owned()),
            // As in production: what is late is granted at once.
            ("KEEPWELL_CARE__CRISIS_RESPONSE_MS", "200".to_owned()),
            // Daemons that share a ledger have to open each other's payloads.
            ("KEEPWELL_ENCRYPTION__KEYS", format!("[\"{}\"]", "5c".repeat(32))),
        ];
        if let Some(redis) = &redis {
            let way = redis_way.as_ref().map(|way| format!("redis://{}", way.address()));
            settings.push(("KEEPWELL_REDIS__URL", way.unwrap_or_else(|| redis.url())));
        }
        let settings: Vec<(&str, &str)> =
            settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let mut daemons = Vec::new();
        for _ in 0..scenario.daemons {
            daemons.push(Daemon::start_with(&settings).await);
        }
        let database = Database(database);
        database.watch().await;
        let (troubles, lease_ms) = (Troubles::default(), scenario.lease_ms);
        Self {
            daemons,
            troubles,
            database,
            skipped,
            redis_way,
            postgres_way,
            redis,
            postgres,
            small_disk,
            _folder: folder,
            lease_ms,
        }
    }

    /// Does `fault` and waits until it is over.
    pub async fn strike(&mut self, fault: Fault) {
        match fault {
            Fault::Calm(ms) => pass(Duration::from_millis(ms)).await,
            Fault::KillDaemon(number) => self.kill_daemon(number, 0).await,
            Fault::LoseDaemon(number, ms) => self.kill_daemon(number, ms).await,
            Fault::FreezeDaemon(number, ms) => self.freeze_daemon(number, ms).await,
            Fault::KillBoth => self.kill_both().await,
            Fault::KillRedis | Fault::EmptyRedis => {
                self.kill_redis();
                self.redis_is_back(now_ms(), fault == Fault::EmptyRedis).await;
            }
            Fault::FreezeRedis(ms) => self.freeze_redis(ms).await,
            Fault::FlushAll => {
                self.tell_redis(&["FLUSHALL"]).await;
                let now_ms = now_ms();
                self.troubles.redis_away.push(Span { from_ms: now_ms, until_ms: now_ms });
            }
            Fault::FlushScripts => self.tell_redis(&["SCRIPT", "FLUSH"]).await,
            Fault::CutRedis(ms) => self.redis_weather(Mode::Cut, ms).await,
            Fault::SlowRedis(ms) => slow(self.redis_way.as_ref(), SLOW_REDIS, ms).await,
            Fault::SwallowRedis(ms) => self.redis_weather(Mode::Hold, ms).await,
            Fault::CutPostgres(ms) => weather(self.postgres_way.as_ref(), Mode::Cut, ms).await,
            Fault::SlowPostgres(ms) => slow(self.postgres_way.as_ref(), SLOW_POSTGRES, ms).await,
            Fault::SwallowPostgres(ms) => weather(self.postgres_way.as_ref(), Mode::Hold, ms).await,
            Fault::TerminateBackends => self.terminate_backends().await,
            Fault::CrashPostgres => {
                let postgres = self.postgres.as_mut().expect("a PostgreSQL");
                let crashed_ms = now_ms();
                postgres.kill();
                postgres.start_again().await;
                let forgotten = Span { from_ms: crashed_ms - RELAXED_MS, until_ms: now_ms() };
                self.troubles.forgotten.push(forgotten);
            }
            Fault::FillDisk(ms) => {
                if let Some(disk) = &self.small_disk {
                    let ballast = disk.fill();
                    pass(Duration::from_millis(ms)).await;
                    std::fs::remove_file(ballast).expect("it is ours");
                }
            }
        }
    }

    /// What the daemons wrote that no daemon should write.
    pub fn cries(&self) -> Vec<String> {
        let logs: Vec<String> = self.daemons.iter().map(Daemon::log).collect();
        let lines = logs.iter().flat_map(|log| log.lines());
        lines
            .filter(|line| line.contains("panicked") || line.contains("quarantined"))
            .map(str::to_owned)
            .collect()
    }

    async fn kill_daemon(&mut self, number: usize, away_ms: u64) {
        let (from_ms, id) = (now_ms(), self.daemons[number].id());
        self.daemons[number].kill();
        let claimed = self.claimed_by(id).await;
        if away_ms > 0 {
            pass(Duration::from_millis(away_ms)).await;
        }
        self.daemons[number].start_again().await;
        let span = Span { from_ms, until_ms: now_ms() };
        self.troubles.down.push((number, span));
        if away_ms > self.lease_ms && self.daemons.len() > 1 {
            self.troubles.absences.push(Death { span, claimed });
        } else {
            self.troubles.restarts.push(Death { span, claimed });
        }
    }

    /// The daemon is up first, and finds no Redis. What it held is asked while there is one, and cannot change until
    /// both are dead.
    async fn kill_both(&mut self) {
        let id = self.daemons[0].id();
        self.daemons[0].freeze();
        let claimed = self.claimed_by(id).await;
        let from_ms = now_ms();
        self.kill_redis();
        self.daemons[0].kill();
        self.daemons[0].start_again().await;
        self.troubles.down.push((0, Span { from_ms, until_ms: now_ms() }));
        self.redis_is_back(from_ms, false).await;
        self.troubles.restarts.push(Death { span: Span { from_ms, until_ms: now_ms() }, claimed });
    }

    async fn freeze_daemon(&mut self, number: usize, ms: u64) {
        let from_ms = now_ms();
        self.daemons[number].freeze();
        let claimed = self.claimed_by(self.daemons[number].id()).await;
        pass(Duration::from_millis(ms)).await;
        self.daemons[number].thaw();
        let span = Span { from_ms, until_ms: now_ms() };
        self.troubles.down.push((number, span));
        if ms > self.lease_ms && self.daemons.len() > 1 {
            self.troubles.absences.push(Death { span, claimed });
        }
    }

    fn kill_redis(&mut self) {
        match &mut self.redis {
            Some(redis) => redis.kill(),
            None => self.signal_private_redis(Signal::KILL),
        }
    }

    /// Waits until it is back after its death at `killed_ms`; a private one is brought back by its daemon.
    async fn redis_is_back(&mut self, killed_ms: Ms, empty: bool) {
        if let Some(redis) = &mut self.redis {
            if empty {
                redis.wipe();
            }
            redis.start_again().await;
        }
        self.redis().await;
        self.troubles.redis_away.push(Span { from_ms: killed_ms, until_ms: now_ms() });
    }

    async fn freeze_redis(&mut self, ms: u64) {
        let from_ms = now_ms();
        match &mut self.redis {
            Some(redis) => redis.freeze(),
            None => self.signal_private_redis(Signal::STOP),
        }
        pass(Duration::from_millis(ms)).await;
        match &mut self.redis {
            Some(redis) => redis.thaw(),
            None => self.signal_private_redis(Signal::CONT),
        }
        self.troubles.redis_away.push(Span { from_ms, until_ms: now_ms() });
    }

    async fn redis_weather(&mut self, bad: Mode, ms: u64) {
        let from_ms = now_ms();
        weather(self.redis_way.as_ref(), bad, ms).await;
        self.troubles.redis_away.push(Span { from_ms, until_ms: now_ms() });
    }

    async fn tell_redis(&self, words: &[&str]) {
        let mut command = redis::cmd(words[0]);
        for word in &words[1..] {
            command.arg(word);
        }
        command.exec_async(&mut self.redis().await).await.expect("a Redis that obeys");
    }

    /// The ids of the jobs that the daemon with this process id has in its hands, if Redis can be asked.
    async fn claimed_by(&self, process: u32) -> Vec<String> {
        let client = redis::Client::open(self.redis_url()).expect("an address");
        let Ok(mut redis) = client.get_multiplexed_async_connection().await else { return Vec::new() };
        let nodes: HashMap<String, String> = redis.hgetall("{keepwell:0}:info").await.unwrap_or_default();
        let mut claimed = Vec::new();
        // A node's third line is its process; a daemon has two nodes.
        let process = process.to_string();
        for (node, _) in nodes.iter().filter(|(_, info)| info.lines().nth(2) == Some(&process)) {
            let key = format!("{{keepwell:0}}:claims:{node}");
            let ids: Vec<Vec<u8>> = redis.hkeys(key).await.unwrap_or_default();
            claimed.extend(ids.iter().filter_map(|id| Some(Uuid::from_slice(id).ok()?.to_string())));
        }
        claimed
    }

    /// Past every proxy.
    fn redis_url(&self) -> String {
        let socket = || self.daemons[0].state_dir().join("redis/redis.sock");
        self.redis.as_ref().map_or_else(|| format!("redis+unix://{}", socket().display()), Redis::url)
    }

    /// A connection past every proxy, once it answers.
    async fn redis(&self) -> MultiplexedConnection {
        let client = redis::Client::open(self.redis_url()).expect("an address");
        eventually("Redis answers", async || {
            let mut connection = client.get_multiplexed_async_connection().await.ok()?;
            redis::cmd("PING").exec_async(&mut connection).await.ok().map(|()| connection)
        })
        .await
    }

    /// Only if the number that stands in its file still is a Redis of this house.
    fn signal_private_redis(&self, signal: Signal) {
        let Some(redis) = self.daemons[0].private_redis() else { return };
        let command = std::fs::read_to_string(format!("/proc/{}/cmdline", Pid::as_raw(Some(redis))));
        let state = self.daemons[0].state_dir().display().to_string();
        if command.is_ok_and(|command| command.contains(&state)) {
            // It may have ended a moment ago.
            let _ = kill_process(redis, signal);
        }
    }

    async fn terminate_backends(&self) {
        let mut connection = PgConnection::connect(&self.database.0).await.expect("a PostgreSQL");
        let statement =
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'keepwell'";
        connection.execute(statement).await.expect("a superuser");
    }
}

async fn weather(way: Option<&Proxy>, bad: Mode, ms: u64) {
    let way = way.expect("a proxy");
    way.set(bad);
    pass(Duration::from_millis(ms)).await;
    way.set(Mode::Forward);
}

async fn slow(way: Option<&Proxy>, by: Duration, ms: u64) {
    let way = way.expect("a proxy");
    way.delay(by);
    pass(Duration::from_millis(ms)).await;
    way.delay(Duration::ZERO);
}

/// A file system in memory, mounted for as long as this lives.
#[derive(Debug)]
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// More than a storm writes.
    const OPTIONS: &str = "size=256m,mode=700";

    fn mount(folder: PathBuf) -> Result<Self, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("the disk cannot be filled: only root may mount a small one".to_owned());
        }
        std::fs::create_dir(&folder).expect("a folder in a folder of ours");
        let mut mount = Command::new("mount");
        let output = mount.args(["-t", "tmpfs", "-o", Self::OPTIONS, "keepwell-chaos"]).arg(&folder).output();
        match output {
            Ok(output) if output.status.success() => Ok(Self(folder)),
            Ok(output) => Err(format!(
                "the disk cannot be filled: a small one cannot be mounted: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            )),
            Err(error) => Err(format!("the disk cannot be filled: there is no `mount`: {error}")),
        }
    }

    /// Leaves no room; answers with the file that takes it.
    fn fill(&self) -> PathBuf {
        let path = self.0.join("ballast");
        let mut ballast = File::create(&path).expect("a file");
        let piece = vec![0_u8; 64 * 1024];
        while ballast.write_all(&piece).is_ok() {}
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(&self.0).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("{} is still mounted", self.0.display());
        }
    }
}
