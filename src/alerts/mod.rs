//! Alerts as the daemon runs them: [`keeper`] holds what is measured against the rules and carries out what follows,
//! [`desk`] does what operators ask for. The rules, the decisions and the words are in `jobs/src/alerts/`.

mod board;
mod desk;
mod direct;
mod keeper;
mod options;

pub(crate) use board::AlertBoard;
pub(crate) use desk::{Acknowledged, AlertDesk};
pub(crate) use keeper::AlertKeeper;
pub use options::AlertsError;
pub(crate) use options::{AlertOptions, alert_options, delivery, described};
