//! What every answer of the API is made from.

use std::{error::Error, fmt, sync::Arc};

use async_trait::async_trait;
use keepwell_config::{Config, values::Secret};
use keepwell_jobs::{
    alerts::threshold::Thresholds,
    care::{
        document::AccessDocument,
        lines::{ByCountry, CrisisLines},
    },
    store::{NoticeCount, reports::ReportSettings},
};
use keepwell_schedules::{board::Board, schedule::Schedule};
use keepwell_workers::{clock::SharedClock, engine::Engine};

use super::{
    EmergencyDesk, bearer::BearerTokens, crisis_resources::CrisisResourcesAnswer, operators::Rebuild,
};
use crate::{
    alerts::{AlertDesk, thresholds},
    serve::report_settings,
    telemetry::Metrics,
    trail::Trail,
};

/// Who knows what a person may use. A trait, because the API answers with the floor when whoever knows is
/// silent, and a test has to be able to fall silent.
#[async_trait]
pub trait AccessReader: Send + Sync + 'static {
    /// What `customer` may use now. Somebody unknown may use the floor.
    async fn access(&self, customer: &str) -> Result<AccessDocument, Box<dyn Error + Send + Sync>>;

    /// What became of emergency contacts in the last ninety days, of all people together.
    async fn contact_counts(&self) -> Result<Vec<NoticeCount>, Box<dyn Error + Send + Sync>>;
}

/// What the daemon is built of, as far as the API answers from it.
pub(crate) struct ApiParts<'p> {
    /// The running engine.
    pub(crate) engine: Engine,
    /// Who knows what a person may use.
    pub(crate) access: Arc<dyn AccessReader>,
    /// Who switches, and knows what is true without the database.
    pub(crate) desk: Arc<dyn EmergencyDesk>,
    /// What is measured.
    pub(crate) metrics: Arc<Metrics>,
    /// What time it is.
    pub(crate) clock: SharedClock,
    /// The audit trail.
    pub(crate) trail: Trail,
    /// Whom to turn to, by country.
    pub(crate) lines: &'p CrisisLines,
    /// What appears by itself, and when.
    pub(crate) schedules: Arc<[Schedule]>,
    /// How that was last seen to stand.
    pub(crate) board: Board,
    /// What is wrong; `None` if nobody is told.
    pub(crate) alerts: Option<AlertDesk>,
}

/// What every answer of the API is made from.
pub struct ApiState {
    /// The running engine.
    pub(crate) engine: Engine,
    /// Who knows what a person may use.
    pub(crate) access: Arc<dyn AccessReader>,
    /// Who switches, and knows what is true without the database.
    pub(crate) desk: Arc<dyn EmergencyDesk>,
    /// What is measured.
    pub(crate) metrics: Arc<Metrics>,
    /// The audit trail.
    pub(crate) trail: Trail,
    /// What time it is.
    pub(crate) clock: SharedClock,
    /// Who may read access documents.
    pub(crate) access_tokens: BearerTokens,
    /// Who may switch in an emergency.
    pub(crate) emergency_tokens: BearerTokens,
    /// Where to find help, by country.
    pub(crate) crisis_resources: ByCountry<CrisisResourcesAnswer>,
    /// What appears by itself, and when.
    pub(crate) schedules: Arc<[Schedule]>,
    /// How that was last seen to stand.
    pub(crate) board: Board,
    /// What is wrong; `None` if nobody is told.
    pub(crate) alerts: Option<AlertDesk>,
    /// From where on something is wrong.
    pub(crate) thresholds: Thresholds,
    /// The comparison of lanes and ledger that operators ask for.
    pub(crate) rebuild: Rebuild,
    /// What `/health` calls its environment.
    pub(crate) environment: String,
    /// Whether Stripe's API may be asked.
    pub(crate) stripe_configured: bool,
    /// What a report has to know of how the daemon is set up.
    pub(crate) report_settings: ReportSettings,
    /// Whether reports go anywhere.
    pub(crate) reports_have_destination: bool,
}

impl ApiState {
    /// The state of an API over `parts`, set up as `config` says.
    pub(crate) fn new(parts: ApiParts<'_>, config: &Config) -> Arc<Self> {
        let ApiParts { engine, access, desk, metrics, clock, trail, lines, schedules, board, alerts } = parts;
        Arc::new(Self {
            engine,
            access,
            desk,
            metrics,
            clock,
            trail,
            access_tokens: BearerTokens::new(config.access.tokens.iter().map(Secret::expose)),
            emergency_tokens: BearerTokens::new(config.emergency.token.iter().map(Secret::expose)),
            crisis_resources: lines.map(CrisisResourcesAnswer::of),
            schedules,
            board,
            alerts,
            // The daemon was built with them.
            thresholds: thresholds(config).unwrap_or_default(),
            rebuild: Rebuild::default(),
            environment: config.environment_label().to_owned(),
            stripe_configured: config.stripe.api_key.is_some(),
            report_settings: report_settings(config),
            reports_have_destination: config.reports.have_destination(),
        })
    }
}

impl fmt::Debug for ApiState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiState").field("environment", &self.environment).finish_non_exhaustive()
    }
}
