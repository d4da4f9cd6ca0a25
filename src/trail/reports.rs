//! Compliance reports, made of what the trail and the tables beside it hold.

use keepwell_jobs::{
    care::report::{crisis::CrisisReport, period::Period},
    signature::{Signature, SignatureError, sign},
    store::{
        audit::Actor,
        reports::{self, FoundReport, KeptReport, ReportContent, ReportSettings},
    },
};

use super::{Trail, TrailError};

impl Trail {
    /// Makes a crisis report about `period`, asked for by `actor`, and keeps it.
    pub async fn make_crisis_report(
        &self,
        settings: &ReportSettings,
        period: Period,
        actor: Actor,
    ) -> Result<KeptReport, TrailError> {
        let witness = self.witness.read();
        let now_ms = self.clock.now_ms();
        let facts =
            reports::read_facts(&self.database, &self.keys, settings, period, witness.as_ref(), now_ms);
        let content = ReportContent::Crisis(Box::new(CrisisReport::of(&facts.await?)));
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
        sign(&self.keys, report)
    }
}
