//! `report.due`: a report on the last hour, day or month is to be made. Whoever ticks says which in the payload:
//! `{"report":"crisis","period":"month","time_zone":"Europe/Berlin"}`, and for when in `scheduled_for`, which schedules
//! add by themselves.

use std::time::Duration;

use async_trait::async_trait;
use chrono_tz::Tz;
use keepwell_workers::{
    clock::UnixMs,
    database::Transaction,
    handler::{ApplyError, Handler, Prepared},
    job::Job,
    outcome::Outcome,
    policy::Policy,
};
use serde::Deserialize;

use crate::{
    Care,
    care::report::{period::Period, span::Span},
    kinds,
    report_delivered::report_delivery,
    reporting::ReportKind,
    scheduled::scheduled_ms,
    store::{
        audit::Actor,
        reports::{NewReport, ReportContent, keep_report_in},
    },
};

/// Makes a report and keeps it, under the id of its job.
pub(crate) struct ReportDue(pub(crate) Care);

/// A month of a large ledger is read an hour at a time, which may take minutes.
const POLICY: Policy = Policy { timeout_ms: 10 * 60 * 1_000, ..Policy::DEFAULT };

/// How long after a period has ended a report on it is made at the earliest, in milliseconds: by then how its last
/// crises were answered is noted.
const SETTLED_MS: i64 = 5_000;

#[derive(Deserialize)]
struct Due {
    report: String,
    period: String,
    time_zone: Option<String>,
    scheduled_for: Option<String>,
}

/// Which report, about which time.
fn asked(payload: &[u8], created_ms: UnixMs) -> Result<(ReportKind, Period), String> {
    let due: Due = serde_json::from_slice(payload)
        .map_err(|_| "the payload does not say which `report` of which `period` is due".to_owned())?;
    let kind = ReportKind::from_name(&due.report).ok_or("`report` is crisis or operations")?;
    let span = Span::from_name(&due.period).ok_or("`period` is hour, day or month")?;
    let zone: Tz =
        due.time_zone.as_deref().unwrap_or("UTC").parse().map_err(|_| "no `time_zone` is called so")?;
    let at_ms = scheduled_ms(due.scheduled_for.as_deref())?.unwrap_or(created_ms);
    let period = span.ended_by(at_ms, zone).ok_or("no calendar knows that time")?;
    Ok((kind, period))
}

#[async_trait]
impl Handler for ReportDue {
    fn kind(&self) -> &'static str {
        kinds::REPORT_DUE
    }

    fn policy(&self) -> Policy {
        POLICY
    }

    async fn prepare(&self, job: &Job) -> Result<Prepared, Outcome> {
        let (kind, period) = asked(&job.payload, job.created_ms).map_err(Outcome::dead)?;
        let Some(desk) = &self.0.reports else {
            return Err(Outcome::Cancel { reason: "this process makes no reports".to_owned() });
        };
        // Whoever ticks may have a clock that is ahead, and what ended last is still being noted.
        let due_ms = period.to_ms.saturating_add(SETTLED_MS);
        if let Ok(early_ms @ 1..) = u64::try_from(due_ms.saturating_sub(desk.now_ms())) {
            return Err(Outcome::Snooze { after: Duration::from_millis(early_ms) });
        }
        let content = desk.content(kind, period).await;
        let content =
            content.map_err(|error| Outcome::retry(format!("the report cannot be made: {error}")))?;
        Ok(Box::new((period, content)))
    }

    async fn apply(
        &self,
        job: &Job,
        prepared: &Prepared,
        transaction: &mut Transaction,
    ) -> Result<Outcome, ApplyError> {
        let Some((period, content)) = prepared.downcast_ref::<(Period, ReportContent)>() else {
            return Ok(Outcome::dead("nothing was prepared"));
        };
        let actor = Actor::System { job: format!("{} {}", kinds::REPORT_DUE, job.id) };
        let report = NewReport { id: job.id, period: *period, content, actor };
        keep_report_in(transaction, &self.0.keys, report).await?;
        if self.0.reports.as_ref().is_some_and(|desk| desk.delivers()) {
            let id = job.id.to_string();
            transaction.enqueue(report_delivery(&id).dedupe_key(format!("report delivered:{id}")));
        }
        Ok(Outcome::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_that_makes_no_sense_is_named() {
        let error = |payload: &str| asked(payload.as_bytes(), 0).unwrap_err();
        assert!(error("{}").contains("`report`"));
        assert!(error(r#"{"report":"weather","period":"day"}"#).contains("crisis or operations"));
        assert!(error(r#"{"report":"crisis","period":"week"}"#).contains("hour, day or month"));
        assert!(error(r#"{"report":"crisis","period":"day","time_zone":"Mars"}"#).contains("time_zone"));
        assert!(
            error(r#"{"report":"crisis","period":"day","scheduled_for":"now"}"#).contains("scheduled_for")
        );
    }

    #[test]
    fn the_time_it_was_due_counts_and_not_when_it_ran() {
        let payload =
            br#"{"report":"operations","period":"hour","scheduled_for":"1970-01-02T00:00:00.000Z"}"#;
        let day_ms = 86_400_000;
        let expected = Period { from_ms: day_ms - 3_600_000, to_ms: day_ms };
        assert_eq!(asked(payload, 99 * day_ms), Ok((ReportKind::Operations, expected)));
        let unscheduled = br#"{"report":"crisis","period":"day"}"#;
        let expected = Period { from_ms: 98 * day_ms, to_ms: 99 * day_ms };
        assert_eq!(asked(unscheduled, 99 * day_ms + 5), Ok((ReportKind::Crisis, expected)));
    }
}
