//! Contacts, safety plan, consent: the whole value as the app stated it last, sealed.

use keepwell_workers::{
    clock::UnixMs,
    database::Transaction,
    on_connection,
    seal::{KeyRing, SealError},
};

use super::audit::append_data_change;

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
}

/// What binds sealed data to their row.
pub(super) fn context(customer: &str, kind: &str) -> Vec<u8> {
    format!("{kind}\0{customer}").into_bytes()
}

pub(super) fn encode(error: SealError) -> sqlx::Error {
    sqlx::Error::Encode(Box::new(error))
}

/// Keeps `value` unless a newer one is known. The customer's row must have been taken before.
pub async fn keep_person_data(
    transaction: &mut Transaction,
    keys: &KeyRing,
    customer: &str,
    kind: PersonDataKind,
    stated_ms: UnixMs,
    value: &[u8],
) -> Result<(), sqlx::Error> {
    const SQL: &str = "INSERT INTO person_data (customer, kind, stated_ms, key_id, sealed) \
         VALUES ($1, $2, $3, $4, $5) ON CONFLICT (customer, kind) DO UPDATE SET \
         stated_ms = excluded.stated_ms, key_id = excluded.key_id, sealed = excluded.sealed \
         WHERE person_data.stated_ms <= excluded.stated_ms";
    let sealed = keys.seal(&context(customer, kind.name()), value).map_err(encode)?;
    let kept = on_connection!(transaction, |connection| {
        sqlx::query(SQL)
            .bind(customer)
            .bind(kind.name())
            .bind(stated_ms)
            .bind(&*sealed.key_id)
            .bind(&sealed.bytes)
            .execute(connection)
            .await
            .map(|done| done.rows_affected())
    })?;
    if kept == 0 {
        return Ok(());
    }
    append_data_change(transaction, keys, customer, kind.name(), stated_ms)
}

/// Whether `customer` has stated anything of this kind; whether it can be opened is another matter.
pub(super) async fn is_stated(
    transaction: &mut Transaction,
    customer: &str,
    kind: PersonDataKind,
) -> Result<bool, sqlx::Error> {
    const SQL: &str = "SELECT 1 FROM person_data WHERE customer = $1 AND kind = $2";
    let found: Option<(i32,)> = on_connection!(transaction, |connection| {
        sqlx::query_as(SQL).bind(customer).bind(kind.name()).fetch_optional(connection).await
    })?;
    Ok(found.is_some())
}

/// The newest value of `kind` about `customer`.
pub async fn person_data(
    transaction: &mut Transaction,
    keys: &KeyRing,
    customer: &str,
    kind: PersonDataKind,
) -> Result<Option<Vec<u8>>, sqlx::Error> {
    const SQL: &str = "SELECT key_id, sealed FROM person_data WHERE customer = $1 AND kind = $2";
    let found: Option<(String, Vec<u8>)> = on_connection!(transaction, |connection| {
        sqlx::query_as(SQL).bind(customer).bind(kind.name()).fetch_optional(connection).await
    })?;
    let Some((key_id, sealed)) = found else { return Ok(None) };
    let opened = keys.open(&context(customer, kind.name()), &key_id, &sealed);
    opened.map(Some).map_err(|error| sqlx::Error::Decode(Box::new(error)))
}
