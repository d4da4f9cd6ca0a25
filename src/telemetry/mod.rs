//! What keepwell says about itself: metrics and logs. Neither ever holds a secret or anything personal;
//! the log names a customer by the id at most, and metrics do not.

mod alert_metrics;
mod canary;
mod compliance;
mod crisis_times;
mod emergency_metrics;
mod job_metrics;
mod lane_metrics;
mod logs;
mod metrics;
mod metrics_json;
mod monitor_runs;
mod panics;
mod process;
mod process_metrics;
mod response_windows;
mod schedule_metrics;
mod stripe_metrics;
mod success;
mod webhook_metrics;

pub use canary::{CanaryMetrics, CanaryResult, CanaryStanding};
pub use compliance::{Compliance, ComplianceFigures};
pub use crisis_times::CrisisSummary;
pub use logs::{LogError, init_logs};
pub use metrics::Metrics;
pub use metrics_json::JsonMetrics;
pub use monitor_runs::{Looked, Monitor, MonitorRuns};
pub use process::ProcessUsage;
pub use response_windows::{ResponseWindows, WindowSummary};

pub(crate) use crisis_times::milliseconds;

/// The version of keepwell.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
