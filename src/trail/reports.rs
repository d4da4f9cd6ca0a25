//! Reports, made of what the trail and the tables beside it hold.

use keepwell_jobs::{
    care::report::{crisis::CrisisReport, operations::OperationsReport, period::Period},
    reporting::ReportKind,
    signature::{Document, Signature, SignatureError, sign},
    store::{
        audit::Actor,
        reports::{self, FoundReport, KeptReport, ReportContent, ReportSettings},
    },
};

use super::{Trail, TrailError};

impl Trail {
    /// What a report of this kind says about `period`.
    pub async fn report_content(
        &self,
        settings: &ReportSettings,
        kind: ReportKind,
        period: Period,
    ) -> Result<ReportContent, TrailError> {
        let (database, now_ms) = (&self.database, self.clock.now_ms());
        match kind {
            ReportKind::Crisis => {
                let witness = self.witness.read()?;
                let facts =
                    reports::read_facts(database, &self.keys, settings, period, witness.as_ref(), now_ms);
                Ok(ReportContent::Crisis(Box::new(CrisisReport::of(&facts.await?))))
            }
            ReportKind::Operations => {
                let facts = reports::read_operations(database, settings, period, now_ms).await?;
                Ok(ReportContent::Operations(Box::new(OperationsReport::of(&facts))))
            }
        }
    }

    /// Makes a report about `period`, asked for by `actor`, and keeps it.
    pub async fn make_report(
        &self,
        settings: &ReportSettings,
        kind: ReportKind,
        period: Period,
        actor: Actor,
    ) -> Result<KeptReport, TrailError> {
        let content = self.report_content(settings, kind, period).await?;
        let now_ms = self.clock.now_ms();
        Ok(reports::keep_report(&self.database, &self.keys, period, &content, actor, now_ms).await?)
    }

    /// At most `limit` reports older than `before`, the newest first, and how many there are in all.
    pub async fn reports(
        &self,
        before: Option<&str>,
        limit: u32,
    ) -> Result<(Vec<KeptReport>, u64), TrailError> {
        Ok(reports::reports(&self.database, before, limit).await?)
    }

    /// What the report `id` says.
    pub async fn report(&self, id: &str) -> Result<FoundReport, TrailError> {
        Ok(reports::report(&self.database, &self.keys, id).await?)
    }

    /// Signs the bytes of a report.
    pub fn sign(&self, report: &[u8]) -> Result<Signature, SignatureError> {
        sign(&self.keys, Document::Report, report)
    }
}
