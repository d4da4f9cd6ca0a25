//! Devices: which a person has, and how each can be reached (sealed).

use keepwell_workers::{clock::UnixMs, database::Transaction, on_connection, seal::KeyRing};

use super::person_data::{context, encode};

/// Keeps what was stated about a device unless something newer is known. The customer's row must have been taken
/// before.
pub async fn keep_device(
    transaction: &mut Transaction,
    keys: &KeyRing,
    (customer, device): (&str, &str),
    removed: bool,
    stated_ms: UnixMs,
    details: &[u8],
) -> Result<(), sqlx::Error> {
    const SQL: &str = "INSERT INTO devices (customer, id, removed, stated_ms, key_id, sealed) \
         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (customer, id) DO UPDATE SET removed = excluded.removed, \
         stated_ms = excluded.stated_ms, key_id = excluded.key_id, sealed = excluded.sealed \
         WHERE devices.stated_ms < excluded.stated_ms \
         OR (devices.stated_ms = excluded.stated_ms AND excluded.removed)";
    let sealed = keys.seal(&context(customer, device), details).map_err(encode)?;
    on_connection!(transaction, |connection| {
        sqlx::query(SQL)
            .bind(customer)
            .bind(device)
            .bind(removed)
            .bind(stated_ms)
            .bind(&*sealed.key_id)
            .bind(&sealed.bytes)
            .execute(connection)
            .await
            .map(|_| ())
    })
}
