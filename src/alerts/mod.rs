//! Alerts as the daemon runs them: [`keeper`] holds what is measured against the rules and carries out what follows,
//! [`desk`] does what operators ask for. The rules, the decisions and the words are in `jobs/src/alerts/`.

mod board;
mod desk;
mod direct;
mod figures;
mod keeper;
mod note;
mod options;
mod outage;
mod signed;

use std::sync::Arc;

use keepwell_config::Config;
use keepwell_jobs::{
    alerts::{rule::Rule, sink::AlertSink},
    outbound::alerts::AlertDelivery,
};
use keepwell_workers::{clock::SharedClock, database::Database, engine::Engine};
use tokio::sync::mpsc;

pub use board::AlertBoard;
pub use desk::{Acknowledged, AlertDesk};
pub use figures::Figures;
pub(crate) use figures::OwnFigures;
pub use keeper::AlertKeeper;
pub(crate) use options::{AlertOptions, described, thresholds};
pub use options::{AlertsError, delivery};

/// What alerts are kept with.
#[derive(Debug)]
pub struct AlertParts {
    /// What runs the jobs that tell of them.
    pub engine: Engine,
    /// Where they are.
    pub database: Database,
    /// The time.
    pub clock: SharedClock,
    /// What brings them to their receivers.
    pub delivery: AlertDelivery,
    /// What is measured.
    pub figures: Arc<dyn Figures>,
    /// Where metrics find which are open.
    pub board: AlertBoard,
    /// Through which somebody says what must not happen, and its other end.
    pub sink: AlertSink,
    /// That end.
    pub heard: mpsc::Receiver<&'static Rule>,
}

/// What operators ask of alerts, and who keeps them, as `config` says.
pub fn kept(config: &Config, parts: AlertParts) -> Result<(AlertDesk, AlertKeeper), AlertsError> {
    let options = options::alert_options(config, &parts.delivery)?;
    let desk = AlertDesk {
        engine: parts.engine.clone(),
        database: parts.database.clone(),
        clock: Arc::clone(&parts.clock),
        habits: options.habits.clone(),
        sink: parts.sink.clone(),
    };
    Ok((desk.clone(), AlertKeeper::new(desk, options, parts, &config.state_dir)))
}
