//! Makes the compliance figures of the last hour, every hour (003), by the code that makes reports; nothing is kept.

use std::{sync::Arc, time::Duration};

use keepwell_jobs::{
    care::report::period::Period,
    reporting::ReportKind,
    store::reports::{ReportContent, ReportSettings},
};
use keepwell_workers::clock::SharedClock;
use tokio::time::timeout;

use super::{
    COMPLIANCE_EVERY_MS, Look,
    alarm::{Alarm, News},
};
use crate::{
    telemetry::{ComplianceFigures, Looked, Metrics, Monitor},
    trail::{Trail, TrailError},
};

/// How long it may take: a report reads for as long as there is something, an hour of a flood for a minute or so.
const MADE_WITHIN: Duration = Duration::from_secs(600);

/// Makes them.
pub(super) struct ComplianceMonitor {
    trail: Trail,
    settings: ReportSettings,
    clock: SharedClock,
    metrics: Arc<Metrics>,
    alarm: Alarm,
}

impl ComplianceMonitor {
    pub(super) fn new(
        trail: Trail,
        settings: ReportSettings,
        clock: SharedClock,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self { trail, settings, clock, metrics, alarm: Alarm::default() }
    }

    async fn figures(&self) -> Result<Option<ComplianceFigures>, TrailError> {
        let to_ms = self.clock.now_ms();
        let period = Period { from_ms: to_ms.saturating_sub(COMPLIANCE_EVERY_MS), to_ms };
        let made = self.trail.report_content(&self.settings, ReportKind::Crisis, period);
        Ok(match timeout(MADE_WITHIN, made).await?? {
            ReportContent::Crisis(report) => Some(ComplianceFigures::of(&report)),
            ReportContent::Operations(_) => None,
        })
    }
}

impl Look for ComplianceMonitor {
    const MONITOR: Monitor = Monitor::Compliance;

    async fn look(&mut self) -> Looked {
        let figures = match self.figures().await {
            Ok(Some(figures)) => figures,
            Ok(None) => return Looked::Failed,
            Err(error) => {
                tracing::warn!(error = %error, "the compliance figures of the last hour cannot be made");
                return Looked::Failed;
            }
        };
        let (is_wrong, short) = (figures.is_wrong(), figures.short());
        self.metrics.compliance().set(figures);
        match self.alarm.turn(is_wrong) {
            News::Begins => tracing::error!(
                alert = "crisis_compliance",
                ?short,
                "the last hour was not as the crisis safety protocols ask for; `keepwell report crisis` says more"
            ),
            News::Ends => tracing::info!("the last hour was as the crisis safety protocols ask for again"),
            News::None => {}
        }
        if is_wrong { Looked::Wrong } else { Looked::Well }
    }
}
