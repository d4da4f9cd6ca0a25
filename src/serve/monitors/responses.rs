//! Looks every second how crises were answered of late (003). Each one that is late is alerted by the watch over it
//! ([`super::super::watchers`]); this says when they are too many.

use std::sync::Arc;

use keepwell_jobs::care::report::RESPONSE_TARGET_PERCENT;

use super::{
    Look,
    alarm::{Alarm, News},
};
use crate::telemetry::{Looked, Metrics, Monitor};

/// Looks at the windows of the metrics.
pub(super) struct ResponseMonitor {
    metrics: Arc<Metrics>,
    alarm: Alarm,
}

impl ResponseMonitor {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics, alarm: Alarm::default() }
    }
}

impl Look for ResponseMonitor {
    const MONITOR: Monitor = Monitor::Responses;

    async fn look(&mut self) -> Looked {
        // Long enough for more than one crisis, short enough to be now.
        let [_, of_late, _] = self.metrics.windows().summaries();
        let percent = of_late.in_time_share() * 100.0;
        let is_wrong = percent < RESPONSE_TARGET_PERCENT as f64;
        match self.alarm.turn(is_wrong) {
            News::Begins => tracing::error!(
                alert = "crisis_response_compliance",
                window = of_late.window,
                percent,
                target_percent = RESPONSE_TARGET_PERCENT,
                answered = of_late.answered,
                in_time = of_late.in_time,
                failed = of_late.failed,
                "fewer crises are answered within their time than have to be"
            ),
            News::Ends => tracing::info!(percent, "crises are answered within their time again"),
            News::None => {}
        }
        if is_wrong { Looked::Wrong } else { Looked::Well }
    }
}
