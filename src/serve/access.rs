//! What stands behind [`AccessReader`]: the API asks what a person may use, and the database knows, by the rules of
//! care.

use std::error::Error;

use async_trait::async_trait;
use keepwell_jobs::{
    Care, access_query,
    care::{document::AccessDocument, facts::REMEMBERED_MS},
    store::{NoticeCount, notice_counts},
};
use keepwell_workers::{
    clock::SharedClock,
    database::{Database, turn::Urgency},
};

use crate::api::AccessReader;

/// Reads a person's facts and applies the rules to them.
pub(super) struct CareAccess {
    pub(super) database: Database,
    pub(super) care: Care,
    pub(super) clock: SharedClock,
}

#[async_trait]
impl AccessReader for CareAccess {
    async fn access(&self, customer: &str) -> Result<AccessDocument, Box<dyn Error + Send + Sync>> {
        Ok(access_query::ask(&self.database, &self.care, customer, self.clock.now_ms()).await?)
    }

    async fn contact_counts(&self) -> Result<Vec<NoticeCount>, Box<dyn Error + Send + Sync>> {
        let mut reader = self.database.reader(Urgency::General).await?;
        Ok(notice_counts(&mut reader, self.clock.now_ms().saturating_sub(REMEMBERED_MS)).await?)
    }
}
