//! Everything behind the listeners, built from the configuration.

use std::{borrow::Cow, fs, sync::Arc, time::Duration};

use keepwell_config::{Config, TIERS_TOML, values::Role};
use keepwell_jobs::{
    CANARY_SUBJECT, Care,
    alerts::sink::AlertSink,
    care::{definitions::Definitions, lines::CrisisLines, tiers::Tiers},
    intake::{
        event_types::{EventTypeError, EventTypes},
        privacy::{DropPathError, DropPaths},
    },
    kinds,
    marks::Marks,
};
use keepwell_schedules::{board::Board, schedule::Schedule};
use keepwell_workers::{
    clock::{SharedClock, SystemClock},
    database::{Database, DatabaseOptions, MigrationFile, Unopened},
    engine::{Engine, EngineOptions, EngineParts, Passing, Retention},
    handler::Registry,
    lanes::LanesOptions,
    ledger,
    managed_redis::{ManagedRedis, ManagedRedisOptions},
    seal::{KeyRing, SealingKey},
};

use super::{
    access::CareAccess,
    addresses::Addresses,
    desk::CareDesk,
    door::{BackDoor, EngineDoor},
    error::ServeError,
    keeper::Keeper,
    monitors::Monitors,
    opening::{Opening, Waiting},
    reporting::{Reporting, report_settings},
    responses::Noter,
    schedules::schedules,
    sources::receiver_options,
    state_dir::StateDir,
    watchers::Watchers,
    words,
};
use crate::{
    alerts::{AlertBoard, AlertDesk, AlertKeeper, AlertParts, OwnFigures, delivery, described, kept},
    api::AccessReader,
    receiver::{door::Door, options::ReceiverOptions, stats::ReceiverStats},
    telemetry::Metrics,
    trail::{Trail, configuration::Started},
};

/// A day, in milliseconds.
pub(super) const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

/// What the private Redis may take, in bytes: at 40 bytes a waiting job, more than twenty million of them.
const MANAGED_REDIS_BYTES_MAX: u64 = 1 << 30;

/// The threads on which general jobs run. Handlers mostly wait for the database; two keep one that hogs its thread from
/// holding up all others.
const POOL_THREADS: usize = 2;

/// Canaries come every few seconds, and what became of them is counted; an hour of them is enough to look at.
const PASSING: &[Passing] =
    &[Passing { kind: kinds::CRISIS_CANARY, subject: CANARY_SUBJECT, keep_ms: 60 * 60 * 1_000 }];

/// What stands behind the listeners.
pub(super) struct Built {
    pub(super) engine: Engine,
    pub(super) redis: Option<ManagedRedis>,
    pub(super) database: Database,
    /// What goes on opening the database, if it is not open yet.
    pub(super) waiting: Option<Waiting>,
    pub(super) clock: SharedClock,
    pub(super) access: Arc<dyn AccessReader>,
    pub(super) door: Arc<dyn Door>,
    pub(super) receiver: ReceiverOptions,
    pub(super) addresses: Option<Addresses>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) keeper: Keeper,
    pub(super) monitors: Monitors,
    pub(super) receiver_stats: Arc<ReceiverStats>,
    pub(super) trail: Trail,
    pub(super) crisis_lines: Arc<CrisisLines>,
    pub(super) schedules: Arc<[Schedule]>,
    pub(super) board: Board,
    /// What operators ask of alerts, and who keeps them; `None` if nobody can be told.
    pub(super) alert_desk: Option<AlertDesk>,
    pub(super) alert_keeper: Option<AlertKeeper>,
    /// What the trail is to know of this start.
    pub(super) started: Started,
}

/// Every table that keepwell has: the engine's and the rules'.
pub fn migrations() -> Vec<MigrationFile> {
    ledger::MIGRATIONS.iter().copied().chain(keepwell_jobs::migrations()).collect()
}

/// Where the database is: as configured, else in the state directory.
pub(crate) fn database_url(config: &Config) -> String {
    match &config.database.url {
        Some(url) => url.expose().to_owned(),
        None => format!("sqlite:{}", config.state_dir.join("keepwell.db").display()),
    }
}

/// The key ring that `config` holds.
pub(crate) fn key_ring(config: &Config) -> Result<KeyRing, ServeError> {
    let mut keys = config.encryption.keys.iter().map(|key| SealingKey::new(key.id.as_str(), key.bytes()));
    let active = keys.next().ok_or(ServeError::NoKey)?;
    Ok(KeyRing::new(active, keys))
}

/// The tiers' file, or what is built in.
fn tiers_text(config: &Config) -> Result<Cow<'static, str>, ServeError> {
    let Some(file) = &config.care.tiers_file else { return Ok(TIERS_TOML.into()) };
    let text = fs::read_to_string(file).map_err(|error| ServeError::TiersFile(file.clone(), error))?;
    Ok(text.into())
}

/// The host that this process is on.
fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// What is dropped of Stripe's events, as `config` says.
pub(crate) fn drop_paths(config: &Config) -> Result<DropPaths, DropPathError> {
    DropPaths::new(config.privacy.drop_paths.iter().map(String::as_str))
}

/// Which of Stripe's events change something, as `config` says.
pub(crate) fn event_types(config: &Config) -> Result<EventTypes, EventTypeError> {
    EventTypes::new(config.stripe.event_types.iter())
}

/// What the rules mean by their words, as `care` says.
fn definitions(care: &keepwell_config::settings::Care) -> Definitions {
    Definitions {
        high_risk_phq9_score: care.high_risk_phq9_score,
        high_risk_gad7_score: care.high_risk_gad7_score,
        high_risk_days: care.high_risk_days,
        crisis_window_hours: care.crisis_window_hours,
        deterioration_phq9_points: care.deterioration_phq9_points,
        deterioration_gad7_points: care.deterioration_gad7_points,
        deterioration_days: care.deterioration_days,
        deterioration_score_min: care.deterioration_score_min,
    }
}

fn unopened(config: &Config) -> Result<Unopened, ServeError> {
    let connections_max = config.database.connections_max;
    let options = DatabaseOptions { connections_max, ..DatabaseOptions::default() };
    Ok(Unopened::at(&database_url(config), &options)?)
}

/// Builds it, in the order in which one thing needs another. Whatever can be wrong with the configuration is found
/// before anything is opened or started.
pub(super) async fn build(config: &Config, state_dir: &StateDir) -> Result<Built, ServeError> {
    let clock: SharedClock = Arc::new(SystemClock);
    let tiers_text = tiers_text(config)?;
    let tiers = Tiers::from_toml(&tiers_text)?;
    let keys = key_ring(config)?;
    let (schedules, board) = (schedules(config, clock.now_ms())?, Board::default());
    let stripe = super::stripe::client(config, &clock)?;
    let unopened = unopened(config)?;
    let database = unopened.database().sealing_with(keys.clone());
    let (drop_paths, event_types) = (drop_paths(config)?, event_types(config)?);
    let marks = Marks::new(Arc::clone(&clock));
    let care = words::speaking(Care::new(tiers, marks.clone(), keys.clone()), config, (&database, &clock))?
        .with_definitions(definitions(&config.care))
        .with_response_limit(config.care.crisis_response_ms)
        .with_event_types(event_types);
    let receiver_stats = Arc::new(ReceiverStats::new());
    let trail = Trail::new(database.clone(), keys.clone(), Arc::clone(&clock), state_dir.path());
    let reporting = Arc::new(Reporting::new(trail.clone(), config)?);
    let (receiver, stripe_source) = receiver_options(config)?;
    let addresses = Addresses::of(config, state_dir.path(), &stripe_source, (&trail, &clock))?;
    let back_door = BackDoor::of(Arc::clone(&stripe_source));
    let care = care.with_stripe(stripe).with_reports(reporting).with_event_door(back_door.clone());
    let (sink, heard) = AlertSink::channel();
    let care = alerting(care, config, (&database, &clock), &sink)?;
    let waiting = Opening::of(unopened, care.clone()).begin().await?;
    let (redis, redis_url) = redis(config, state_dir).await?;
    let crisis_limit = Duration::from_millis(config.care.crisis_response_ms);
    let metrics = Metrics::new(Arc::clone(&receiver_stats), crisis_limit, Arc::clone(&clock));
    let metrics = metrics.with_care(&care).with_schedules(board.clone()).with_addresses(stripe_source);
    let alert_board = AlertBoard::default();
    let metrics = Arc::new(metrics.with_alerts(&care, alert_board.clone()));
    let watchers = Watchers::new(&care, Arc::clone(&clock), metrics.clone());
    let parts = EngineParts {
        database: database.clone(),
        keys,
        clock: Arc::clone(&clock),
        registry: Registry::new(keepwell_jobs::handlers(&care)),
        redis_url,
        observer: Arc::new(watchers.clone()),
    };
    let engine = Engine::start(parts, &engine_options(config, state_dir))?;
    let door = Arc::new(EngineDoor::new(engine.clone(), marks, drop_paths, watchers.clone()));
    back_door.open(&door);
    let (alert_desk, alert_keeper) = if let Some(delivery) = care.alerts.clone() {
        let figures = Arc::new(OwnFigures { metrics: Arc::clone(&metrics), engine: engine.clone() });
        let parts = AlertParts {
            engine: engine.clone(),
            database: database.clone(),
            clock: Arc::clone(&clock),
            delivery,
            figures,
            board: alert_board,
            sink,
            heard,
        };
        let (desk, keeper) = kept(config, parts)?;
        (Some(desk), Some(keeper))
    } else {
        tracing::warn!(
            "no receiver of alerts is configured (`alerts`): nobody is told when something is wrong"
        );
        (None, None)
    };
    let desk = CareDesk::new(database.clone(), care.clone(), engine.clone(), Arc::clone(&clock));
    let noter = Noter::new(&watchers, &database, config);
    let keeper = Keeper::new(watchers.clone(), engine.clone(), desk, noter, trail.clone());
    let monitors = Monitors {
        engine: engine.clone(),
        database: database.clone(),
        care: care.clone(),
        clock: Arc::clone(&clock),
        metrics: Arc::clone(&metrics),
        trail: trail.clone(),
        ear: watchers.canaries.clone(),
        report_settings: report_settings(config),
        canary_every_ms: config.monitors.canary_every_ms,
    };
    Ok(Built {
        started: Started::with(config, &tiers_text, host()),
        monitors,
        keeper,
        crisis_lines: Arc::clone(&care.lines),
        access: Arc::new(CareAccess { database: database.clone(), care, clock: Arc::clone(&clock) }),
        door,
        receiver,
        addresses,
        engine,
        redis,
        database,
        waiting,
        clock,
        metrics,
        receiver_stats,
        trail,
        schedules,
        board,
        alert_desk,
        alert_keeper,
    })
}

/// `care`, which tells whoever is to be alerted, if `config` names somebody.
fn alerting(
    care: Care,
    config: &Config,
    (database, clock): (&Database, &SharedClock),
    sink: &AlertSink,
) -> Result<Care, ServeError> {
    described(config)?;
    Ok(match delivery(config, database, clock)? {
        Some(delivery) => care.with_alerts(delivery, sink.clone()),
        None => care,
    })
}

/// The configured Redis, or a private one.
async fn redis(config: &Config, state_dir: &StateDir) -> Result<(Option<ManagedRedis>, String), ServeError> {
    if let Some(url) = &config.redis.url {
        return Ok((None, url.expose().to_owned()));
    }
    let options = ManagedRedisOptions {
        binary: config.redis.server_binary.clone().unwrap_or_else(|| "redis-server".into()),
        folder: state_dir.path().join("redis"),
        memory_bytes_max: MANAGED_REDIS_BYTES_MAX,
    };
    let redis = ManagedRedis::start(options).await?;
    let url = redis.url().to_owned();
    Ok((Some(redis), url))
}

fn engine_options(config: &Config, state_dir: &StateDir) -> EngineOptions {
    let crisis_slots = config.pool.crisis_slots;
    EngineOptions {
        slots: config.pool.slots.saturating_sub(crisis_slots).max(1),
        crisis_slots,
        threads: POOL_THREADS,
        runs_jobs: config.roles.contains(&Role::Workers),
        drain_timeout_ms: config.pool.drain_timeout_ms,
        instance: state_dir.instance().to_owned(),
        journal: Some(state_dir.path().join("running")),
        host: host(),
        lanes: LanesOptions {
            key_prefix: config.redis.key_prefix.clone(),
            lease_ms: config.pool.lease_ms,
            ..LanesOptions::default()
        },
        retention: Retention {
            done_ms: i64::from(config.retention.done_days) * DAY_MS,
            dead_ms: i64::from(config.retention.dead_days) * DAY_MS,
            until_done: Some(kinds::PERSON_DATA_UPDATED),
            passing: PASSING,
            ..Retention::default()
        },
    }
}

#[cfg(test)]
mod tests {
    use keepwell_config::{Purpose, Sources};
    use keepwell_workers::{clock::ManualClock, job::NewJob, lane::Lane, observer::Unobserved};
    use zeroize::Zeroizing;

    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn what_people_said_of_their_contacts_is_kept_until_somebody_has_read_it() {
        let directory = tempfile::tempdir().unwrap();
        let state_dir = StateDir::lock(directory.path()).unwrap();
        let config = Config::load(&Sources::new([], Purpose::Client)).unwrap().config;
        let url = format!("sqlite:{}", directory.path().join("keepwell.db").display());
        let database = Database::connect(&url, &DatabaseOptions::default()).await.unwrap();
        database.migrate(&migrations()).await.unwrap();
        let clock = ManualClock::at(1_700_000_000_000);
        let parts = EngineParts {
            database,
            keys: KeyRing::new(SealingKey::new("test", &Zeroizing::new([7; 32])), []),
            clock: clock.clone(),
            registry: Registry::new([]),
            // Nobody is there, so nothing is run.
            redis_url: format!("redis+unix://{}", directory.path().join("redis.sock").display()),
            observer: Arc::new(Unobserved),
        };
        let options = engine_options(&config, &state_dir);
        let options =
            EngineOptions { retention: Retention { look_every_ms: 1, ..options.retention }, ..options };
        let engine = Engine::start(parts, &options).unwrap();
        let mut cancelled = Vec::new();
        for kind in [kinds::PERSON_DATA_UPDATED, kinds::MESSAGE] {
            let job = engine.enqueue(NewJob::new(kind, Lane::Therapeutic, "{}")).await.unwrap().id;
            assert!(engine.cancel(job).await.unwrap());
            cancelled.push(job);
        }
        clock.advance_ms(10_000 * DAY_MS);
        let is_there = async |job| engine.ledger().show(job).await.unwrap().is_some();
        let message_is_gone = async {
            while is_there(cancelled[1]).await {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), message_is_gone).await.unwrap();
        assert!(is_there(cancelled[0]).await);
        engine.shutdown().await;
    }
}
