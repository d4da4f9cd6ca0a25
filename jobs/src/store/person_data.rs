//! Contacts, safety plan, consent: the whole value as the app stated it last, sealed.
//!
//! Which of two values was stated last, the clocks of their senders say, and these can be wrong. The safety plan that
//! is older by them is dropped, and so is a consent. What takes a consent back is not: it may come from a device whose
//! clock is slow, and nobody is to be told because of that. Nor does it lose to what was recorded before it and is read
//! after it. A consent that was stated anew and came before an older one was taken back has to be stated once more. A
//! contact who is missing from an older list has taken back nothing: they may have been added since, and a list that a
//! sender repeats must not lose them. Whoever is missing from a newer list has.

use keepwell_workers::{
    clock::UnixMs,
    database::Transaction,
    id::JobId,
    on_connection,
    seal::{KeyRing, SealError},
};

use super::{audit::append_data_change, connected::Connected};
use crate::{
    care::contacts::{Contacts, agrees},
    json::Json,
    kinds,
};

/// What a person's data are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PersonDataKind {
    /// Whom to tell in an emergency.
    Contacts,
    /// What helps in a crisis.
    SafetyPlan,
    /// What the person agreed to.
    Consent,
}

impl PersonDataKind {
    /// Its name in SQL.
    pub const fn name(self) -> &'static str {
        match self {
            PersonDataKind::Contacts => "contacts",
            PersonDataKind::SafetyPlan => "safety_plan",
            PersonDataKind::Consent => "consent",
        }
    }

    /// What a signal of this type states.
    pub fn of_signal(signal_type: &str) -> Option<Self> {
        match signal_type {
            "contacts.updated" => Some(PersonDataKind::Contacts),
            "safety_plan.updated" => Some(PersonDataKind::SafetyPlan),
            "consent.updated" => Some(PersonDataKind::Consent),
            _ => None,
        }
    }
}

/// What a person stated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stated {
    /// When, by the sender's clock.
    pub(crate) at_ms: UnixMs,
    /// The whole value.
    pub(crate) value: Vec<u8>,
}

/// What binds sealed data to their row.
pub(super) fn context(customer: &str, kind: &str) -> Vec<u8> {
    format!("{kind}\0{customer}").into_bytes()
}

pub(super) fn encode(error: SealError) -> sqlx::Error {
    sqlx::Error::Encode(Box::new(error))
}

/// Keeps `value`, which was recorded as `job`, and answers whether it does: unless a newer one is known, by the
/// senders' clocks. What takes back a consent is kept whatever these say, and no consent from before it counts again,
/// whether it is known or only recorded. The customer's row must have been taken before.
pub async fn keep_person_data(
    transaction: &mut Transaction,
    keys: &KeyRing,
    customer: &str,
    kind: PersonDataKind,
    stated_ms: UnixMs,
    job: JobId,
    value: &[u8],
) -> Result<bool, sqlx::Error> {
    const SQL: &str = "INSERT INTO person_data (customer, kind, stated_ms, key_id, sealed) \
         VALUES ($1, $2, $3, $4, $5) ON CONFLICT (customer, kind) DO UPDATE SET \
         stated_ms = excluded.stated_ms, key_id = excluded.key_id, sealed = excluded.sealed";
    let mut stated = Stated { at_ms: stated_ms, value: value.to_vec() };
    let known_ms = stated_at(transaction, customer, kind).await?;
    let overtakes = overtakes(transaction, customer, stated_ms, job).await?;
    if overtakes || known_ms.is_some_and(|known_ms| stated_ms <= known_ms) {
        let known = person_data(transaction, keys, customer, kind).await?;
        let known = known.unwrap_or(Stated { at_ms: UnixMs::MIN, value: Vec::new() });
        if takes_back(kind, &known, &stated) {
            // What it takes back, told again or read only now, is older than this.
            let recorded_ms = if overtakes { job.created_ms() } else { stated_ms };
            stated.at_ms = recorded_ms.max(known.at_ms.saturating_add(1));
        } else if stated_ms < known.at_ms {
            return Ok(false);
        }
    }
    let stated_ms = stated.at_ms;
    let sealed = keys.seal(&context(customer, kind.name()), value).map_err(encode)?;
    on_connection!(transaction, |connection| {
        sqlx::query(SQL)
            .bind(customer)
            .bind(kind.name())
            .bind(stated_ms)
            .bind(&*sealed.key_id)
            .bind(&sealed.bytes)
            .execute(connection)
            .await
            .map(|_| ())
    })?;
    append_data_change(transaction, keys, customer, kind.name(), stated_ms)?;
    Ok(true)
}

/// Whether `stated` takes back something that the person, or a contact, had agreed to in `known`. A no takes back every
/// yes, also one that nobody has read yet.
pub(crate) fn takes_back(kind: PersonDataKind, known: &Stated, stated: &Stated) -> bool {
    let contacts = |stated: &Stated| Json::parse(&stated.value).map(Contacts::read).unwrap_or_default();
    match kind {
        PersonDataKind::SafetyPlan => false,
        PersonDataKind::Consent => !Json::parse(&stated.value).is_ok_and(agrees),
        PersonDataKind::Contacts => {
            let (before, now) = (contacts(known), contacts(stated));
            now.takes_back(&before) || stated.at_ms >= known.at_ms && now.leaves_out(&before)
        }
    }
}

/// Whether something that `customer` said before `job` was recorded, and may have said after `stated_ms`, is not read
/// yet. Nothing was stated after it was recorded, so that with clocks that are right next to no jobs are looked at.
async fn overtakes(
    transaction: &mut Transaction,
    customer: &str,
    stated_ms: UnixMs,
    job: JobId,
) -> Result<bool, sqlx::Error> {
    // Written so that no database takes the index of what is owed for it.
    const SQL: &str = "SELECT 1 FROM jobs WHERE subject = $1 AND kind = $2 AND state || '' <> 'done' \
         AND id >= $3 AND id < $4 LIMIT 1";
    let found: Option<(i32,)> = on_connection!(transaction, |connection| {
        let statement = sqlx::query_as(SQL).bind(customer).bind(kinds::PERSON_DATA_UPDATED);
        statement.bind(JobId::earliest_at(stated_ms).0).bind(job.0).fetch_optional(connection).await
    })?;
    Ok(found.is_some())
}

/// Whether `customer` has stated anything of this kind; whether it can be opened is another matter.
pub(super) async fn is_stated(
    transaction: &mut Transaction,
    customer: &str,
    kind: PersonDataKind,
) -> Result<bool, sqlx::Error> {
    Ok(stated_at(transaction, customer, kind).await?.is_some())
}

async fn stated_at(
    transaction: &mut Transaction,
    customer: &str,
    kind: PersonDataKind,
) -> Result<Option<UnixMs>, sqlx::Error> {
    const SQL: &str = "SELECT stated_ms FROM person_data WHERE customer = $1 AND kind = $2";
    let found: Option<(UnixMs,)> = on_connection!(transaction, |connection| {
        sqlx::query_as(SQL).bind(customer).bind(kind.name()).fetch_optional(connection).await
    })?;
    Ok(found.map(|(stated_ms,)| stated_ms))
}

/// What `customer` stated last of `kind`.
pub(crate) async fn person_data(
    connected: &mut impl Connected,
    keys: &KeyRing,
    customer: &str,
    kind: PersonDataKind,
) -> Result<Option<Stated>, sqlx::Error> {
    const SQL: &str = "SELECT stated_ms, key_id, sealed FROM person_data WHERE customer = $1 AND kind = $2";
    let found: Option<(UnixMs, String, Vec<u8>)> = on_connection!(connected, |connection| {
        sqlx::query_as(SQL).bind(customer).bind(kind.name()).fetch_optional(connection).await
    })?;
    let Some((at_ms, key_id, sealed)) = found else { return Ok(None) };
    let opened = keys.open(&context(customer, kind.name()), &key_id, &sealed);
    let value = opened.map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
    Ok(Some(Stated { at_ms, value }))
}
