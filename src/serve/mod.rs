//! The daemon: everything built from the configuration, started in order, and stopped in the opposite order.

mod access;
mod addresses;
mod alert;
mod build;
mod desk;
mod door;
mod ends;
mod error;
mod grace_watch;
mod granted;
mod keeper;
mod last;
mod late;
mod monitors;
mod opening;
mod reload;
mod reporting;
mod responses;
mod rounds;
mod schedules;
mod service_manager;
pub mod signals;
mod sources;
pub mod state_dir;
mod status;
mod stripe;
mod unanswered;
mod unrecorded;
mod untold;
mod watchers;
mod words;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use futures_util::FutureExt as _;
use keepwell_config::{Config, Loaded, values::Role};
use keepwell_jobs::store::reports::ReportsKept;
use keepwell_workers::{database::Database, engine::Engine, managed_redis::ManagedRedis, turns::Turns};
use tokio::{
    net::TcpListener,
    signal::unix::Signal,
    sync::watch,
    task::JoinSet,
    time::{Instant, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;

use crate::{
    api::{ApiParts, ApiState, OperatorsListener, operators, public},
    receiver::Receiver,
    trail::keeper::Keeper,
};
use schedules::Appearing;
use service_manager::Notifier;
use signals::Signals;
use state_dir::StateDir;

pub use build::migrations;
pub(crate) use build::{database_url, drop_paths, event_types, key_ring};
use ends::{BREAK_OFF_TIMEOUT, end};
pub use error::ServeError;
pub(crate) use grace_watch::watch_graces;
use last::{Last, keep_trail, watch_over};
pub(crate) use reporting::{courier, report_settings};
pub use schedules::SchedulesError;
pub(crate) use schedules::schedules;
pub use sources::{APP_PATH, STRIPE_PATH};
pub(crate) use stripe::asked_in_words;
pub(crate) use words::{crisis_lines, notifier, templates};

/// How long stopping takes after `pool.drain_timeout_ms`, at most, in milliseconds: the steps below, and what is left
/// on the runtime then. `TimeoutStopSec` of the service leaves that much.
pub const STOPPING_MAX_MS: u64 = 19_500;

/// How long the pools may take to give back what has not ended in the drain time-out.
const GIVE_BACK_TIMEOUT: Duration = Duration::from_secs(4);

/// How long requests under way may take to finish after the drain time-out, and what has no answer to give to end. They
/// have what the jobs have left of theirs as well.
const FINISH_TIMEOUT: Duration = Duration::from_secs(7);

/// How long the last look for what is wrong may take, while the engine can still record it.
const LAST_LOOK_TIMEOUT: Duration = Duration::from_millis(500);

/// How long the engine may take to close, with what waits to be recorded and what operators have begun.
const ENGINE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the end of the audit trail may take to be sealed when nobody else writes any more.
const SEAL_TIMEOUT: Duration = Duration::from_secs(1);

/// How long the database may take to close after that.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);

/// How long the private Redis may take to end, beside both.
const REDIS_TIMEOUT: Duration = Duration::from_secs(4);

/// The desk of the emergency endpoints.
#[cfg(test)]
pub(crate) fn desk(
    database: Database,
    care: &keepwell_jobs::Care,
    engine: Engine,
    clock: keepwell_workers::clock::SharedClock,
) -> Arc<dyn crate::api::EmergencyDesk> {
    Arc::new(desk::CareDesk::new(database, care.clone(), engine, clock))
}

/// A running daemon.
#[derive(Debug)]
pub struct Daemon {
    /// Where webhooks and the app's questions are taken.
    pub public: SocketAddr,
    /// Where operators' questions are taken, if this process takes them.
    pub operators: Option<SocketAddr>,
    api: Arc<ApiState>,
    notifier: Notifier,
    /// Ends whatever has no answer to give.
    stop: CancellationToken,
    /// Ends the listeners and what answers for them.
    close: CancellationToken,
    drain_timeout: Duration,
    tasks: JoinSet<()>,
    listeners: JoinSet<()>,
    /// Who looks for what is wrong, once more when all of these have ended.
    alerts: Last,
    /// Who seals what all others have done.
    trail: Last,
    engine: Engine,
    redis: Option<ManagedRedis>,
    database: Database,
    // Declared last: the state directory is free when everything in it is closed.
    _state_dir: StateDir,
}

impl Daemon {
    /// Starts everything that `loaded` asks for; returns once requests are taken.
    pub async fn start(loaded: &Loaded) -> Result<Self, ServeError> {
        let hangups = signals::hangup().map_err(ServeError::Signals)?;
        Self::start_supervised(loaded, Notifier::of_process(), hangups).await
    }

    /// Dropped before it is done, it leaves nothing behind: whatever lasts is started after its last `await`.
    async fn start_supervised(
        loaded: &Loaded,
        notifier: Notifier,
        hangups: Signal,
    ) -> Result<Self, ServeError> {
        let config = &loaded.config;
        let state_dir = StateDir::lock(&config.state_dir)?;
        // The sockets first: an address that is taken should fail before anything is touched.
        let (listener, public_address) = public_listener(config.server.listen).await?;
        let operators_listener = operators_listener(config).await?;
        let operators_address = operators_listener.as_ref().map(OperatorsListener::address);

        notifier.status("starting: opening the database and Redis");
        let built = build::build(config, &state_dir).await?;
        let parts = ApiParts {
            engine: built.engine.clone(),
            access: built.access,
            desk: Arc::new(built.keeper.desk.clone()),
            metrics: Arc::clone(&built.metrics),
            clock: built.clock.clone(),
            trail: built.trail.clone(),
            lines: &built.crisis_lines,
            schedules: Arc::clone(&built.schedules),
            board: built.board.clone(),
            alerts: built.alert_desk,
        };
        let api = ApiState::new(parts, config);
        let event_sources = built.receiver.sources.clone();
        let receiver = Receiver::new(
            built.receiver,
            built.door,
            public(api.clone()),
            built.clock.clone(),
            Arc::clone(&built.receiver_stats),
        );

        let [works, ticks] = [Role::Workers, Role::Schedules].map(|role| config.roles.contains(&role));
        let keeper = Keeper {
            trail: built.trail.clone(),
            refused: Arc::clone(&built.receiver_stats),
            metrics: built.metrics,
            keep_ms: i64::from(config.retention.audit_days) * build::DAY_MS,
            reports: ReportsKept {
                hourly_ms: i64::from(config.retention.hourly_reports_days) * build::DAY_MS,
                others_ms: i64::from(config.retention.reports_days) * build::DAY_MS,
            },
            works,
        };
        let (stop, close) = (CancellationToken::new(), CancellationToken::new());
        let (mut tasks, mut listeners) = (JoinSet::new(), JoinSet::new());
        let standing = if built.waiting.is_some() { status::WAITING } else { status::READY };
        if let Some(waiting) = built.waiting {
            tasks.spawn(stop.clone().run_until_cancelled_owned(waiting).map(drop));
        }
        let trail = keep_trail(keeper, built.started, &mut tasks, &stop);
        let loops = (built.engine.clone(), receiver.turns());
        listeners.spawn(feed_watchdog(notifier.clone(), loops, stop.clone(), close.clone()));
        listeners.spawn(receiver.serve(listener, close.clone()));
        let (told, seen) = watch::channel(standing.to_owned());
        tasks.spawn(status::tell_status(notifier.clone(), told, built.engine.clone(), stop.clone()));
        let appearing = Appearing {
            engine: built.engine.clone(),
            database: built.database.clone(),
            clock: Arc::clone(&built.clock),
            schedules: built.schedules,
            board: built.board,
            metrics: Arc::clone(&built.monitors.metrics),
        };
        appearing.spawn(ticks, &mut tasks, &stop);
        built.monitors.spawn(ticks, &mut tasks, &stop);
        if let Some(addresses) = built.addresses {
            tasks.spawn(addresses.run(stop.clone()));
        }
        let alerts = watch_over(built.alert_keeper);
        // Who is in a crisis is looked after as long as anybody is let in.
        listeners.spawn(built.keeper.run(close.clone()));
        if let Some(listener) = operators_listener {
            listeners.spawn(serve_operators(listener, Arc::clone(&api), close.clone()));
        }
        notifier.ready(standing);
        // A reload that came meanwhile is told of after that.
        tasks.spawn(reload::reload_on_hangup(
            hangups,
            loaded.file.clone(),
            event_sources,
            notifier.clone(),
            seen,
            (built.trail.clone(), Arc::clone(&built.clock)),
            stop.clone(),
        ));
        say_ready(public_address, operators_address);
        Ok(Self {
            public: public_address,
            operators: operators_address,
            api,
            notifier,
            stop,
            close,
            drain_timeout: Duration::from_millis(config.pool.drain_timeout_ms),
            tasks,
            listeners,
            alerts,
            trail,
            engine: built.engine,
            redis: built.redis,
            database: built.database,
            _state_dir: state_dir,
        })
    }

    /// Lets running jobs end within `pool.drain_timeout_ms` while requests go on being taken: what they bring stays
    /// owed for the next life. Then takes no more, finishes those under way, and closes everything.
    ///
    /// Each step has its time, so that it ends within [`STOPPING_MAX_MS`] of that whatever hangs. What is left behind
    /// is logged, and ends with the process.
    pub async fn stop(mut self) {
        self.notifier.stopping("finishing what is under way; requests are still taken");
        let drained_by = Instant::now() + self.drain_timeout;
        let finished_by = drained_by + FINISH_TIMEOUT;
        self.stop.cancel();
        if timeout_at(drained_by + GIVE_BACK_TIMEOUT, self.engine.drain()).await.is_err() {
            tracing::warn!(
                "a pool does not come to its end; what it holds is given back when its lease runs out"
            );
        }
        self.notifier.status("finishing the requests that are under way");
        self.close.cancel();
        for ending in [&mut self.listeners, &mut self.tasks] {
            end(ending, finished_by).await;
        }
        let end_rebuild = async {
            if timeout(BREAK_OFF_TIMEOUT, self.api.rebuild.stop()).await.is_err() {
                tracing::warn!("a comparison of the lanes that an operator asked for does not end");
            }
        };
        let look_once_more = async {
            if !self.alerts.end_within(LAST_LOOK_TIMEOUT).await {
                tracing::warn!("what went wrong at the very end is not recorded as an alert");
            }
        };
        tokio::join!(end_rebuild, look_once_more);
        self.engine.shutdown_within(ENGINE_TIMEOUT).await;
        let redis = self.redis.take();
        let end_redis = async {
            let Some(redis) = redis else { return };
            if timeout(REDIS_TIMEOUT, redis.stop()).await.is_err() {
                tracing::warn!(
                    "the private Redis does not end by itself; what is left of it the next life takes over"
                );
            }
        };
        let close_database = async {
            if !self.trail.end_within(SEAL_TIMEOUT).await {
                tracing::warn!("the end of the audit trail is not sealed; the next start does it");
            }
            if timeout(CLOSE_TIMEOUT, self.database.close()).await.is_err() {
                tracing::warn!("the database does not let go of its connections; they end with the process");
            }
        };
        tokio::join!(end_redis, close_database);
        tracing::info!("keepwell has stopped");
    }
}

fn say_ready(public: SocketAddr, operators: Option<SocketAddr>) {
    let operators = operators.map(|address| address.to_string());
    tracing::info!(%public, operators, "keepwell is ready");
}

/// The listener that was handed over, else one on `address`; and where it is.
async fn public_listener(address: SocketAddr) -> Result<(TcpListener, SocketAddr), ServeError> {
    let failed = |error| ServeError::Listen(address, error);
    let listener = match service_manager::handed_over().map_err(failed)? {
        Some(listener) => listener,
        None => TcpListener::bind(address).await.map_err(failed)?,
    };
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

/// The operators' listener, where there is to be one.
async fn operators_listener(config: &Config) -> Result<Option<OperatorsListener>, ServeError> {
    if !config.roles.contains(&Role::Console) {
        return Ok(None);
    }
    Ok(Some(OperatorsListener::bind(config.operators.listen, &config.operators.socket).await?))
}

/// Has the watchdog fed while every loop turns, until `close`.
async fn feed_watchdog(
    notifier: Notifier,
    (engine, accepting): (Engine, Turns),
    stop: CancellationToken,
    close: CancellationToken,
) {
    let turns = || {
        let [crisis, general] = engine.turns();
        [crisis, general, accepting.total()]
    };
    notifier.clone().feed_watchdog(turns, stop).await;
    // From now on the pools' loops come to their end, and nobody is to be killed for that.
    notifier.feed_watchdog(|| [accepting.total()], close).await;
}

async fn serve_operators(listener: OperatorsListener, api: Arc<ApiState>, stop: CancellationToken) {
    if let Err(error) = listener.serve(operators(api), stop).await {
        tracing::error!(error = %error, "the operators' listener failed");
    }
}

/// Runs the daemon until SIGTERM or Ctrl-C; one of them that comes while it starts ends it there and then.
pub async fn run(loaded: &Loaded, signals: Signals) -> Result<(), ServeError> {
    let notifier = Notifier::of_process();
    let (end_signal, hangups) = signals.split();
    let mut end_signal = std::pin::pin!(end_signal);
    let daemon = tokio::select! {
        biased;
        name = &mut end_signal => {
            notifier.stopping("told to stop before it was ready");
            tracing::info!(signal = name, "stopped before it was ready");
            return Ok(());
        }
        started = Daemon::start_supervised(loaded, notifier.clone(), hangups) => started?,
    };
    let engine = daemon.engine.clone();
    tokio::select! {
        name = end_signal => {
            tracing::info!(signal = name, "stopping");
            daemon.stop().await;
            Ok(())
        }
        () = engine.broken() => {
            daemon.stop().await;
            Err(ServeError::Broken)
        }
    }
}
