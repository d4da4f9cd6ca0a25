//! Bringing words to people: the gateway, and the database that is asked, right before something is sent, whether it is
//! still to be sent. A gateway may have been away for hours, and what is told late is told as it is by then or not at
//! all.

use keepwell_workers::{
    clock::{SharedClock, UnixMs},
    database::{Database, Reader, turn::Urgency},
    outcome::Outcome,
};

use crate::{
    Care,
    care::facts::Facts,
    outbound::notify::Notifier,
    store::{facts, switches},
};

/// What brings words to people. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Outreach {
    /// The gateway.
    pub notifier: Notifier,
    /// What is known about people.
    pub database: Database,
    /// What says how late it is.
    pub clock: SharedClock,
}

impl Outreach {
    pub(crate) fn now_ms(&self) -> UnixMs {
        self.clock.now_ms()
    }

    /// What is known about `customer` at `now_ms`, and the connection that said so. It is not one of those that are
    /// kept for crises: nobody's access waits for a message.
    pub(crate) async fn known(
        &self,
        care: &Care,
        customer: &str,
        now_ms: UnixMs,
    ) -> Result<(Reader, Facts), sqlx::Error> {
        let mut reader = self.database.reader(Urgency::General).await?;
        let switches = switches(&mut reader, &care.switches).await?;
        let waived_until_ms = switches.waives_payment(now_ms).map(|switch| switch.until_ms);
        let known = facts(&mut reader, customer, &care.memory).await?;
        Ok((reader, Facts { definitions: care.definitions, waived_until_ms, ..known }))
    }
}

/// Nobody knows whether it is still to be sent, so it is not.
pub(crate) fn unasked(error: &sqlx::Error) -> Outcome {
    Outcome::retry(format!("whether it is still to be sent cannot be asked: {error}"))
}
