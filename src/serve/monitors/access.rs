//! Looks every half minute whether everybody in need really has what that calls for (003: therapeutic access), as this
//! process would answer now. What is missing is given back at once, and said aloud.

use keepwell_jobs::{
    Care,
    access_held::{Held, look_after},
    store::{
        audit::{Actor, AuditEntry},
        marked_behind,
    },
};
use keepwell_workers::{
    clock::SharedClock,
    database::{Database, turn::Urgency},
};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::Look;
use crate::{
    telemetry::{Looked, Monitor},
    trail::{Trail, TrailError},
};

/// People that are looked after before everybody else has their turn at the database.
const PEOPLE_PER_PAGE: u32 = 100;

/// People who lacked something of whom a look tells the trail; of the others it only says how many they were.
const TOLD_MAX: u64 = 20;

/// Looks after everybody who is marked: in a crisis, or vulnerable after one.
pub(super) struct AccessMonitor {
    database: Database,
    care: Care,
    clock: SharedClock,
    trail: Trail,
}

impl AccessMonitor {
    pub(super) fn new(database: Database, care: Care, clock: SharedClock, trail: Trail) -> Self {
        Self { database, care, clock, trail }
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
                missing += u64::from(self.look_at(customer, missing < TOLD_MAX).await?);
            }
            let Some(last) = page.into_iter().last() else { return Ok(missing) };
            after = last;
            // Half of the time belongs to everybody else.
            sleep(started.elapsed()).await;
        }
    }

    /// Whether `customer` lacked something; who that was is told to the trail if it is `told`.
    async fn look_at(&self, customer: &str, told: bool) -> Result<bool, TrailError> {
        match look_after(&self.database, &self.care, customer, self.clock.now_ms()).await? {
            Held::All => Ok(false),
            Held::Missing { features, still } => {
                tracing::error!(
                    alert = "therapeutic_access",
                    missing = ?features,
                    still_missing = ?still,
                    mended = still.is_empty(),
                    "somebody in need did not have what that calls for; `keepwell audit list --action access.missing` \
                     says who"
                );
                if told && let Err(error) = self.tell(customer, &features, &still).await {
                    tracing::warn!(
                        error,
                        "who did not have what that calls for cannot be written to the audit trail"
                    );
                }
                Ok(true)
            }
        }
    }
}

impl AccessMonitor {
    /// The log names nobody; the trail does.
    async fn tell(&self, customer: &str, features: &[String], still: &[String]) -> Result<(), TrailError> {
        let entry = AuditEntry {
            at_ms: self.clock.now_ms(),
            actor: Actor::System { job: "access monitor".to_owned() },
            action: "access.missing",
            subject: Some(customer.to_owned()),
            reason: "somebody in need did not have what that calls for".to_owned(),
            before: Some(json!({ "missing": features })),
            after: Some(json!({ "missing": still })),
        };
        self.trail.record(&entry).await
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
