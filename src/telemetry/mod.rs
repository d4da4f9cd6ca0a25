//! What keepwell says about itself: metrics and logs. Neither ever holds a secret or anything personal;
//! the log names a customer by the id at most, and metrics do not.

mod alert_metrics;
mod crisis_times;
mod emergency_metrics;
mod job_metrics;
mod lane_metrics;
mod logs;
mod metrics;
mod metrics_json;
mod panics;
mod process;
mod process_metrics;
mod schedule_metrics;
mod success;
mod webhook_metrics;

pub use crisis_times::CrisisSummary;
pub use logs::{LogError, init_logs};
pub use metrics::Metrics;
pub use metrics_json::JsonMetrics;
pub use process::ProcessUsage;

pub(crate) use crisis_times::milliseconds;

/// The version of keepwell.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
