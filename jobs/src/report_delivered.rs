//! `report.delivered`: a report goes where reports go.

use async_trait::async_trait;
use keepwell_workers::{
    database::Transaction,
    handler::{ApplyError, Handler, Prepared},
    job::{Job, NewJob},
    lane::Lane,
    outcome::Outcome,
};
use serde::Deserialize;
use serde_json::json;

use crate::{Care, kinds};

/// Brings a report to a directory, to an address, or both.
pub(crate) struct ReportDelivered(pub(crate) Care);

/// The job that brings the report `id` wherever reports go.
pub fn report_delivery(id: &str) -> NewJob {
    NewJob::new(kinds::REPORT_DELIVERED, Lane::Background, json!({ "report": id }).to_string())
}

#[derive(Deserialize)]
struct Delivery {
    report: String,
}

#[async_trait]
impl Handler for ReportDelivered {
    fn kind(&self) -> &'static str {
        kinds::REPORT_DELIVERED
    }

    async fn prepare(&self, job: &Job) -> Result<Prepared, Outcome> {
        let delivery: Delivery = serde_json::from_slice(&job.payload)
            .map_err(|_| Outcome::dead("the job does not say which report to deliver"))?;
        let Some(desk) = self.0.reports.as_ref().filter(|desk| desk.delivers()) else {
            let reason = "neither `reports.directory` nor `reports.url` is configured".to_owned();
            return Err(Outcome::Cancel { reason });
        };
        desk.deliver(&delivery.report, job.id).await?;
        Ok(Box::new(()))
    }

    async fn apply(&self, _: &Job, _: &Prepared, _: &mut Transaction) -> Result<Outcome, ApplyError> {
        Ok(Outcome::Done)
    }
}
