//! The tables about people: all SQL of the rules is here.

pub mod alert_signs;
pub mod alerts;
pub mod audit;
mod audited;
pub mod backups;
mod changes;
mod confirmations;
mod connected;
mod contacts;
mod devices;
mod forgotten;
mod graces;
mod notice_audit;
mod person;
mod person_data;
mod person_rows;
mod rehearsal;
pub mod reports;
pub mod rotation;
mod rows;
mod scores;
mod sealed_pairs;
mod subscriptions;
mod switch_ends;
mod switch_memory;
mod switches;
mod violations;

use keepwell_workers::{
    clock::UnixMs,
    database::{Database, Reader, turn::Urgency},
    on_connection,
};

use crate::care::definitions::Definitions;

pub use contacts::{
    Before, NoticeCount, NoticeKey, NoticeResult, Telling, begin_telling, contact_number, keep_notice,
    keep_untold, not_yet_told, notice_counts,
};
pub use devices::keep_device;
pub use forgotten::forget;
pub use graces::{DueGrace, graces_ending};
pub use notice_audit::NoticeEntry;
pub use person::{FactsMemory, facts, facts_afresh, switches_and_facts, take, taught};
pub use person_data::{PersonDataKind, keep_person_data};
pub use scores::{keep_scores, scores};
pub use subscriptions::{KnownSubscription, known_subscriptions};
pub use switch_ends::{audit_ended, ended_by_itself};
pub use switch_memory::SwitchMemory;
pub use switches::{switch, switch_late, switches};
pub use violations::{Violation, keep_violation};

pub(crate) use connected::Connected;
pub(crate) use contacts::{QueuedNotice, contacts_told, queued_notices};
pub(crate) use person::note_past_signal;
pub(crate) use person_data::{Stated, person_data, takes_back};
pub(crate) use rehearsal::rehearsed;
pub(crate) use switches::switches_in;

/// Everybody whose events go through the crisis lane at `now_ms`, and until when. Somebody who was marked before
/// marks had an end stays marked until something is learned about them.
pub async fn marked(database: &Database, now_ms: UnixMs) -> Result<Vec<(String, UnixMs)>, sqlx::Error> {
    const SQL: &str = "SELECT id, marked_until_ms FROM customers \
         WHERE marked AND (marked_until_ms IS NULL OR marked_until_ms > $1)";
    let mut reader = database.reader(Urgency::General).await?;
    let rows: Vec<(String, Option<UnixMs>)> =
        on_connection!(reader, |connection| sqlx::query_as(SQL).bind(now_ms).fetch_all(connection).await)?;
    Ok(rows.into_iter().map(|(id, until_ms)| (id, until_ms.unwrap_or(UnixMs::MAX))).collect())
}

/// Everybody who is in a high-risk period at `now_ms`, and until when, as `definitions` mean it.
pub(crate) async fn at_risk(
    database: &Database,
    definitions: &Definitions,
    now_ms: UnixMs,
) -> Result<Vec<(String, UnixMs)>, sqlx::Error> {
    const SQL: &str = "SELECT customer, MAX(at_ms) FROM crisis_signals \
         WHERE source = 'high_risk' AND at_ms > $1 GROUP BY customer";
    let begun_ms = now_ms.saturating_sub(definitions.high_risk_ms());
    let mut reader = database.reader(Urgency::General).await?;
    let rows: Vec<(String, UnixMs)> =
        on_connection!(reader, |connection| sqlx::query_as(SQL).bind(begun_ms).fetch_all(connection).await)?;
    Ok(rows.into_iter().map(|(id, at_ms)| (id, definitions.high_risk_ends_ms(at_ms))).collect())
}

/// At most `count_max` of those who are [`marked`] behind `after`, by id.
pub async fn marked_behind(
    reader: &mut Reader,
    after: &str,
    now_ms: UnixMs,
    count_max: u32,
) -> Result<Vec<String>, sqlx::Error> {
    const SQL: &str = "SELECT id FROM customers WHERE marked AND id > $1 \
         AND (marked_until_ms IS NULL OR marked_until_ms > $2) ORDER BY id LIMIT $3";
    let rows: Vec<(String,)> = on_connection!(reader, |connection| {
        sqlx::query_as(SQL).bind(after).bind(now_ms).bind(i64::from(count_max)).fetch_all(connection).await
    })?;
    Ok(rows.into_iter().map(|(id,)| id).collect())
}
