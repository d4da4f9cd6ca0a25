//! Looks every half minute whether everybody in need really has what that calls for (003: therapeutic access), as this
//! process would answer now. What is missing is given back at once, and said aloud.

use keepwell_jobs::{
    Care,
    access_held::{Held, look_after},
    store::marked_behind,
};
use keepwell_workers::{
    clock::SharedClock,
    database::{Database, turn::Urgency},
};
use tokio::time::{Instant, sleep};

use super::Look;
use crate::{
    telemetry::{Looked, Monitor},
    trail::TrailError,
};

/// People that are looked after before everybody else has their turn at the database.
const PEOPLE_PER_PAGE: u32 = 100;

/// Looks after everybody who is marked: in a crisis, or vulnerable after one.
pub(super) struct AccessMonitor {
    database: Database,
    care: Care,
    clock: SharedClock,
}

impl AccessMonitor {
    pub(super) fn new(database: Database, care: Care, clock: SharedClock) -> Self {
        Self { database, care, clock }
    }

    /// Looks after all of them; answers with how many lacked something.
    async fn look_at_all(&self) -> Result<u64, TrailError> {
        let (mut after, mut missing) = (String::new(), 0);
        loop {
            let started = Instant::now();
            let page = {
                let mut reader = self.database.reader(Urgency::General).await?;
                marked_behind(&mut reader, &after, self.clock.now_ms(), PEOPLE_PER_PAGE).await?
            };
            for customer in &page {
                missing += u64::from(self.look_at(customer).await?);
            }
            let Some(last) = page.into_iter().last() else { return Ok(missing) };
            after = last;
            // Half of the time belongs to everybody else.
            sleep(started.elapsed()).await;
        }
    }

    /// Whether `customer` lacked something.
    async fn look_at(&self, customer: &str) -> Result<bool, TrailError> {
        match look_after(&self.database, &self.care, customer, self.clock.now_ms()).await? {
            Held::All => Ok(false),
            Held::Missing { features, still } => {
                tracing::error!(
                    alert = "therapeutic_access",
                    subject = customer,
                    missing = ?features,
                    still_missing = ?still,
                    mended = still.is_empty(),
                    "somebody in need did not have what that calls for"
                );
                Ok(true)
            }
        }
    }
}

impl Look for AccessMonitor {
    const MONITOR: Monitor = Monitor::Access;

    async fn look(&mut self) -> Looked {
        match self.look_at_all().await {
            Ok(0) => Looked::Well,
            Ok(_) => Looked::Wrong,
            Err(error) => {
                tracing::debug!(%error, "it cannot be looked now whether everybody in need has what that calls for");
                Looked::Failed
            }
        }
    }
}
