//! For tests: an API over a real engine on a database of its own. Redis is away, which is when an API shows
//! its manners.

use std::{error::Error, fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use axum::{Router, body::Body};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt as _;
use keepwell_config::{Config, Loaded, Purpose, Sources, TIERS_TOML};
use keepwell_jobs::{
    Care,
    care::{
        document::AccessDocument,
        lines::{CRISIS_LINES_TOML, CrisisLines},
        resources::CRISIS_RESOURCES,
        tiers::Tiers,
    },
    marks::Marks,
    store::NoticeCount,
};
use keepwell_schedules::{board::Board, watch::Watch};
use keepwell_workers::{
    clock::ManualClock,
    database::{Database, DatabaseOptions},
    engine::{Engine, EngineOptions, EngineParts, Retention},
    handler::Registry,
    lanes::LanesOptions,
    observer::Observer,
};
use serde_json::Value;
use tempfile::TempDir;
use tower::ServiceExt as _;

use super::{AccessReader, ApiParts, ApiState, operators, public};
use crate::{receiver::stats::ReceiverStats, telemetry::Metrics, trail::Trail};

/// What the clock shows.
pub(super) const NOW_MS: i64 = 1_700_000_000_000;

/// The token that opens access documents.
pub(super) const TOKEN: &str = "a-token-for-tests";

/// What appears by itself.
const SCHEDULES: &str = r#"[{ name = "hourly", cron = "0 0 * * * *", time_zone = "Europe/Berlin", kind = "app.signal_recorded" }]"#;

/// How whoever knows what a person may use behaves.
#[derive(Debug, Clone, Copy)]
pub(super) enum Reader {
    /// Answers.
    Answers,
    /// Fails.
    Fails,
    /// Says nothing, ever.
    Silent,
}

#[async_trait]
impl AccessReader for Reader {
    async fn access(&self, customer: &str) -> Result<AccessDocument, Box<dyn Error + Send + Sync>> {
        match self {
            Reader::Answers => {
                Ok(AccessDocument { tier: "premium".to_owned(), ..AccessDocument::floor(customer, NOW_MS) })
            }
            Reader::Fails => Err("the database is on fire".into()),
            Reader::Silent => std::future::pending().await,
        }
    }

    async fn contact_counts(&self) -> Result<Vec<NoticeCount>, Box<dyn Error + Send + Sync>> {
        let count = |result: &str, reason: Option<&str>, count| NoticeCount {
            result: result.to_owned(),
            reason: reason.map(str::to_owned),
            count,
        };
        match self {
            Reader::Answers => Ok(vec![count("notified", None, 2), count("skipped", Some("severity"), 3)]),
            Reader::Fails => Err("the database is on fire".into()),
            Reader::Silent => std::future::pending().await,
        }
    }
}

/// An API, and what it stands on.
pub(super) struct Api {
    pub(super) state: Arc<ApiState>,
    pub(super) clock: Arc<ManualClock>,
    _directory: TempDir,
}

/// An answer, its body as JSON where it is some.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) text: String,
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error} in {}", self.text))
    }
}

impl Api {
    pub(super) async fn start(reader: Reader) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let loaded = load(&directory);
        let clock = ManualClock::at(NOW_MS);
        let url = format!("sqlite:{}", directory.path().join("ledger.db").display());
        let database = Database::connect(&url, &DatabaseOptions::default()).await.unwrap();
        database.migrate(&crate::serve::migrations()).await.unwrap();
        let metrics =
            Arc::new(Metrics::new(Arc::new(ReceiverStats::new()), Duration::from_millis(200), clock.clone()));
        let keys = crate::serve::key_ring(&loaded.config).unwrap();
        let database = database.sealing_with(keys.clone());
        let trail = Trail::new(database.clone(), keys.clone(), clock.clone(), directory.path());
        let parts = EngineParts {
            database: database.clone(),
            keys: keys.clone(),
            clock: clock.clone(),
            registry: Registry::default(),
            redis_url: format!("unix://{}", directory.path().join("nobody.sock").display()),
            observer: Arc::clone(&metrics) as Arc<dyn Observer>,
        };
        let options = EngineOptions {
            slots: 1,
            crisis_slots: 1,
            threads: 1,
            runs_jobs: false,
            drain_timeout_ms: 0,
            instance: "test".to_owned(),
            journal: None,
            host: "test".to_owned(),
            lanes: LanesOptions::default(),
            retention: Retention::default(),
        };
        let engine = Engine::start(parts, &options).unwrap();
        let care = Care::new(Tiers::from_toml(TIERS_TOML).unwrap(), Marks::new(clock.clone()), keys);
        let desk = crate::serve::desk(database, &care, engine.clone(), clock.clone());
        let lines = CrisisLines::from_toml(CRISIS_LINES_TOML, CRISIS_RESOURCES).unwrap();
        let access = Arc::new(reader);
        let schedules = crate::serve::schedules(&loaded.config, NOW_MS).unwrap();
        let board = Board::default();
        // As in the daemon; nobody ticks here.
        let _ = Watch::new(engine.clone(), Arc::clone(&schedules), board.clone(), clock.clone());
        let (shared, alerts) = (clock.clone(), None);
        let parts = ApiParts {
            engine,
            access,
            desk,
            metrics,
            clock: shared,
            trail,
            lines: &lines,
            schedules,
            board,
            alerts,
        };
        let state = ApiState::new(parts, &loaded.config);
        Self { state, clock, _directory: directory }
    }

    pub(super) async fn public(&self, request: Request<Body>) -> Answer {
        ask(public(Arc::clone(&self.state)), request).await
    }

    pub(super) async fn operator(&self, request: Request<Body>) -> Answer {
        ask(operators(Arc::clone(&self.state)), request).await
    }
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api").finish_non_exhaustive()
    }
}

/// `GET path`, from this machine.
pub(super) fn get(path: &str) -> Request<Body> {
    Request::get(path).header("host", "localhost").body(Body::empty()).unwrap()
}

/// `POST path`, from this machine.
pub(super) fn post(path: &str, body: impl Into<Body>) -> Request<Body> {
    Request::post(path).header("host", "localhost").body(body.into()).unwrap()
}

async fn ask(router: Router, request: Request<Body>) -> Answer {
    let (parts, body) = router.oneshot(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Answer { status: parts.status, headers: parts.headers, text: String::from_utf8(body.to_vec()).unwrap() }
}

fn load(directory: &TempDir) -> Loaded {
    let variables = [
        ("KEEPWELL_STATE_DIR", directory.path().display().to_string()),
        ("KEEPWELL_DEPLOYMENT", "blue".to_owned()),
        ("KEEPWELL_SCHEDULES", SCHEDULES.to_owned()),
        ("KEEPWELL_ACCESS__TOKENS", TOKEN.to_owned()),
        ("KEEPWELL_ENCRYPTION__KEYS", "a pass phrase that is only for tests".to_owned()),
    ];
    let variables = variables.map(|(name, value)| (name.to_owned(), value));
    Config::load(&Sources::new(variables, Purpose::Client)).unwrap()
}
